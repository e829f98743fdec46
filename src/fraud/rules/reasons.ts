/**
 * Owns why a rule fired, in plain words with the values: "score 0.93 is at or above 0.90". Neighbours: `condition.ts`
 * decides, this tells; both read the same tree. Runs for alerts alone.
 */
import type { PatternFinding } from '../alerts/alert.js';
import { formatMoney } from '../alerts/money.js';
import { type Compare, type Comparison, type Condition, compare } from './condition.js';
import type { Signal, Signals, SignalValues } from './signals.js';

/** What the words are about. */
export interface ReasonSubject {
  readonly signals: Signals;
  readonly values: SignalValues;
  /** Null where the payment is not known (timers). */
  readonly amountMinor: number | null;
  readonly currency: string | null;
  readonly patterns: readonly PatternFinding[];
}

const WORDS: Readonly<Record<Comparison, string>> = {
  '>=': 'at or above',
  '>': 'above',
  '<=': 'at or below',
  '<': 'below',
  '==': 'exactly',
  '!=': 'not',
};
const OPPOSITE: Readonly<Record<Comparison, Comparison>> = {
  '>=': '<',
  '>': '<=',
  '<=': '>',
  '<': '>=',
  '==': '!=',
  '!=': '==',
};

/** The comparisons that made a condition hold, joined by "and". */
export function reasonOf(condition: Condition, subject: ReasonSubject): string {
  return [...new Set(phrases(condition, false, subject))].join(' and ');
}

/** Phrases of the parts that hold; `negated` carries a `not` down to the comparisons (De Morgan). */
function phrases(condition: Condition, negated: boolean, subject: ReasonSubject): string[] {
  if ('not' in condition) return phrases(condition.not, !negated, subject);
  if ('all' in condition) return parts(condition.all, !negated, negated, subject);
  if ('any' in condition) return parts(condition.any, negated, negated, subject);
  const signal = subject.signals.get(condition.signal);
  const value = subject.values[condition.signal] ?? Number.NaN;
  if (signal === undefined || Number.isNaN(value)) return negated ? [`${condition.signal} is not known`] : [];
  if (compare(value, condition.op, Number(condition.value)) === negated) return [];
  return [
    signal.unit === 'flag'
      ? flagPhrase(signal, value === 1, subject)
      : numberPhrase(signal, value, condition, negated, subject),
  ];
}

/** `every`: all parts hold and all are told; else only those that hold. */
function parts(conditions: readonly Condition[], every: boolean, negated: boolean, subject: ReasonSubject): string[] {
  const told = conditions.map((condition) => phrases(condition, negated, subject));
  return every && told.some((part) => part.length === 0) ? [] : told.flat();
}

function numberPhrase(
  signal: Signal,
  value: number,
  condition: Compare,
  negated: boolean,
  subject: ReasonSubject,
): string {
  const op = negated ? OPPOSITE[condition.op] : condition.op;
  const write = (n: number) => writeNumber(n, signal, subject.currency);
  if (signal.unit === 'count') return `${write(value)} ${signal.words}, ${WORDS[op]} ${write(Number(condition.value))}`;
  return `${signal.words} ${write(value)} is ${WORDS[op]} ${write(Number(condition.value))}`;
}

function writeNumber(value: number, signal: Signal, currency: string | null): string {
  switch (signal.unit) {
    case 'money':
      return currency === null ? `${value} minor units` : formatMoney(value, currency);
    case 'share':
      return writeShare(value);
    case 'km/h':
    case 'km':
      return `${Math.round(value)} ${signal.unit}`;
    default:
      return String(Number(value.toPrecision(6)));
  }
}

/** Two to four decimals, as many as the value needs, so that no threshold seems to be met that is not. */
function writeShare(value: number): string {
  const four = value.toFixed(4);
  return four.replace(/0{1,2}$/, '');
}

function flagPhrase(signal: Signal, set: boolean, subject: ReasonSubject): string {
  if (!set) return `not: ${signal.words}`;
  const told = subject.patterns
    .filter((finding) => SIGNAL_OF_PATTERN[finding.pattern] === signal.name)
    .map((finding) => describePattern(finding, subject.amountMinor, subject.currency));
  return told[0] ?? signal.words;
}

const SIGNAL_OF_PATTERN: Readonly<Record<PatternFinding['pattern'], string>> = {
  'card-testing': 'cardTesting',
  'velocity-burst': 'velocityBurst',
  'impossible-travel': 'impossibleTravel',
};

/** A finding in one sentence part. Amounts are left out where the currency is not known. */
export function describePattern(finding: PatternFinding, amountMinor: number | null, currency: string | null): string {
  switch (finding.pattern) {
    case 'card-testing':
      return describeCardTesting(finding, amountMinor, currency);
    case 'velocity-burst':
      return `${finding.count} payments within ${writeDuration(finding.windowMs)}`;
    case 'impossible-travel':
      return describeTravel(finding);
  }
}

function describeTravel(finding: Extract<PatternFinding, { pattern: 'impossible-travel' }>): string {
  const { distanceKm, speedKmh } = finding;
  const within = writeDuration(finding.elapsedMs);
  if (speedKmh !== null) return `${Math.round(distanceKm)} km in ${within}, which takes ${Math.round(speedKmh)} km/h`;
  return distanceKm === 0
    ? `another country than ${within} before`
    : `${Math.round(distanceKm)} km from a payment at the same time`;
}

function describeCardTesting(
  finding: Extract<PatternFinding, { pattern: 'card-testing' }>,
  amountMinor: number | null,
  currency: string | null,
): string {
  const amounts = finding.matched.map((payment) => payment.amountMinor);
  const times = finding.matched.map((payment) => payment.occurredAt);
  const most =
    currency === null || amounts.length === 0 ? '' : ` of at most ${formatMoney(Math.max(...amounts), currency)}`;
  const small = most === '' ? 'small payments' : 'payments';
  const tookMs = times.length === 0 ? null : Math.max(...times) - finding.startedAt;
  const took = tookMs === null || tookMs < 0 ? '' : ` in ${writeDuration(tookMs)}`;
  const first = `${finding.smallCount} ${small}${most}${took}`;
  if (!finding.completed) return `${first}, and no large one after them`;
  return amountMinor === null || currency === null
    ? `${first}, then a large one`
    : `${first}, then ${formatMoney(amountMinor, currency)}`;
}

/** As `45 s`, `3 min`, `2 h 10 min`, `3 d`. */
export function writeDuration(durationMs: number): string {
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} d`;
  return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
}
