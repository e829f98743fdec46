/**
 * Owns why a rule fired, in plain words with the values: "score 0.93 is at or above 0.90". What the author wrote beyond
 * comparisons of columns is quoted, with the values in it. Neighbours: `condition.ts` decides, this tells; both read the
 * same tree. `bounds-in-words.ts` writes the numbers. Runs for alerts alone.
 */
import type { PatternFinding } from '../alerts/alert.js';
import { formatMoney } from '../alerts/money.js';
import { type Bound, boundsInWords, writeDuration } from './bounds-in-words.js';
import { type Comparison, type Condition, compare, holdsAt, type SourceText } from './condition.js';
import type { ValueSource } from './language.js';
import type { Text } from './text-loops.js';
import type { Variable } from './variables.js';

/** What the words are about. */
export interface ReasonSubject {
  readonly values: ValueSource;
  readonly amountMinor: number;
  readonly currency: string;
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

/** Longer ones are cut: a reason is read in a list. */
const MAX_QUOTED = 300;

/** A comparison that holds: in words already, or a bound to be told with the others of its variable. */
type Told = { readonly words: string } | { readonly variable: Variable; readonly value: number; readonly bound: Bound };

/** The comparisons that made a condition hold, joined by "and"; all bounds of one variable are one part. */
export function reasonOf(condition: Condition, subject: ReasonSubject): string {
  const told = comparisons(condition, false, subject);
  const parts = told.map((part) => {
    if ('words' in part) return part.words;
    const { variable, value } = part;
    const bounds = told.flatMap((other) => ('variable' in other && other.variable === variable ? [other.bound] : []));
    return boundsInWords(variable, value, bounds, subject.currency);
  });
  return [...new Set(parts)].join(' and ');
}

/** The comparisons of the parts that hold; `negated` carries a `!` down to them (De Morgan). */
function comparisons(condition: Condition, negated: boolean, subject: ReasonSubject): readonly Told[] {
  const { values } = subject;
  switch (condition.kind) {
    case 'not':
      return comparisons(condition.part, !negated, subject);
    case 'all':
      return ofParts(condition.parts, !negated, negated, subject);
    case 'any':
      return ofParts(condition.parts, negated, negated, subject);
    case 'constant':
      return condition.value === negated ? [] : [{ words: 'always' }];
    case 'flag': {
      const isSet = values.flag(condition.variable.name);
      return isSet === negated ? [] : [{ words: flagPhrase(condition.variable, isSet, subject) }];
    }
    case 'compare': {
      const { variable, op, value: bound } = condition;
      const value = values.number(variable.name);
      if (Number.isNaN(value)) return negated ? [{ words: `${variable.words} is not known` }] : [];
      if (compare(value, op, bound) === negated) return [];
      return [{ variable, value, bound: { op: negated ? OPPOSITE[op] : op, value: bound } }];
    }
    case 'text':
      return holdsAt(condition, values) === negated ? [] : [{ words: textTold(condition, negated, values) }];
    case 'calculated': {
      if (holdsAt(condition, values) === negated) return [];
      const quote = quoted(condition.source, values);
      return [{ words: negated ? `not: ${quote}` : quote }];
    }
    case 'written':
      return [{ words: quoted(condition.source, values) }];
  }
}

/** `every`: all parts hold and all are told; else only those that hold. */
function ofParts(
  conditions: readonly Condition[],
  every: boolean,
  negated: boolean,
  subject: ReasonSubject,
): readonly Told[] {
  const told = conditions.map((condition) => comparisons(condition, negated, subject));
  return every && told.some((part) => part.length === 0) ? [] : told.flat();
}

const TEXT_WORDS: Readonly<Record<Exclude<Text['test'], 'among'>, readonly [holds: string, not: string]>> = {
  startsWith: ['starts with', 'does not start with'],
  endsWith: ['ends with', 'does not end with'],
  contains: ['contains', 'does not contain'],
};

function textTold({ variable, test, values: wanted }: Text, negated: boolean, values: ValueSource): string {
  const text = values.text(variable.name);
  if (text === '') return `${variable.words} is not known`;
  // What it is says enough: that it is among others, or not.
  return test === 'among'
    ? `${variable.words} is ${text}`
    : `${variable.words} ${text} ${TEXT_WORDS[test][negated ? 1 : 0]} ${wanted[0]}`;
}

/** The source with the values of its variables: `payment.channel != "pos" (payment.channel is "ecom")`. */
function quoted({ text, variables }: SourceText, values: ValueSource): string {
  const shown = variables.map((variable) => `${variable.name} is ${shownValue(variable, values)}`).join(', ');
  const whole = text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text;
  return shown === '' ? whole : `${whole} (${shown})`;
}

function shownValue({ name, type }: Variable, values: ValueSource): string {
  switch (type) {
    case 'bool':
      return values.flag(name) ? 'true' : 'false';
    case 'string':
      return JSON.stringify(values.text(name));
    case 'double': {
      const value = values.number(name);
      if (Number.isNaN(value)) return 'not known';
      return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
    }
  }
}

function flagPhrase(variable: Variable, isSet: boolean, subject: ReasonSubject): string {
  if (!isSet) return `not: ${variable.words}`;
  const told = subject.patterns
    .filter((finding) => VARIABLE_OF_PATTERN[finding.pattern] === variable.name)
    .map((finding) => describePattern(finding, subject.amountMinor, subject.currency));
  return told[0] ?? variable.words;
}

const VARIABLE_OF_PATTERN: Readonly<Record<PatternFinding['pattern'], string>> = {
  'card-testing': 'patterns.cardTesting',
  'velocity-burst': 'patterns.velocityBurst',
  'impossible-travel': 'patterns.impossibleTravel',
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
