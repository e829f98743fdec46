/**
 * Owns why a rule fired, in plain words with the values: "score 0.93 is at or above 0.90". Neighbours: `condition.ts`
 * decides, this tells; both read the same tree. `bounds-in-words.ts` writes the numbers. Runs for alerts alone.
 */
import type { PatternFinding } from '../alerts/alert.js';
import { formatMoney } from '../alerts/money.js';
import { type Bound, boundsInWords, writeDuration } from './bounds-in-words.js';
import { type Comparison, type Condition, compare } from './condition.js';
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

const OPPOSITE: Readonly<Record<Comparison, Comparison>> = {
  '>=': '<',
  '>': '<=',
  '<=': '>',
  '<': '>=',
  '==': '!=',
  '!=': '==',
};

/** A comparison that holds: in words already, or a bound to be told with the others of its signal. */
type Told = { readonly words: string } | { readonly signal: Signal; readonly value: number; readonly bound: Bound };

/** The comparisons that made a condition hold, joined by "and"; all bounds of one signal are one part. */
export function reasonOf(condition: Condition, subject: ReasonSubject): string {
  const told = comparisons(condition, false, subject);
  const parts = told.map((part) => {
    if ('words' in part) return part.words;
    const { signal, value } = part;
    const bounds = told.flatMap((other) => ('signal' in other && other.signal === signal ? [other.bound] : []));
    return boundsInWords(signal, value, bounds, subject.currency);
  });
  return [...new Set(parts)].join(' and ');
}

/** The comparisons of the parts that hold; `negated` carries a `not` down to them (De Morgan). */
function comparisons(condition: Condition, negated: boolean, subject: ReasonSubject): Told[] {
  if ('not' in condition) return comparisons(condition.not, !negated, subject);
  if ('all' in condition) return ofParts(condition.all, !negated, negated, subject);
  if ('any' in condition) return ofParts(condition.any, negated, negated, subject);
  const signal = subject.signals.get(condition.signal);
  const value = subject.values[condition.signal] ?? Number.NaN;
  if (signal === undefined || Number.isNaN(value))
    return negated ? [{ words: `${condition.signal} is not known` }] : [];
  if (compare(value, condition.op, Number(condition.value)) === negated) return [];
  if (signal.unit === 'flag') return [{ words: flagPhrase(signal, value === 1, subject) }];
  const op = negated ? OPPOSITE[condition.op] : condition.op;
  return [{ signal, value, bound: { op, value: Number(condition.value) } }];
}

/** `every`: all parts hold and all are told; else only those that hold. */
function ofParts(conditions: readonly Condition[], every: boolean, negated: boolean, subject: ReasonSubject): Told[] {
  const told = conditions.map((condition) => comparisons(condition, negated, subject));
  return every && told.some((part) => part.length === 0) ? [] : told.flat();
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
