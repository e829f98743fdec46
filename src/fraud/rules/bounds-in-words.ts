/**
 * Owns the words for comparisons with numbers: "score 0.76 is between 0.50 and 0.90". Neighbour: `reasons.ts` finds
 * the comparisons that hold.
 *
 * Invariants
 * 1. Bounds are never rounded: they are what the rule says.
 * 2. Values are, as far as the sentence stays true of the numbers it shows: 0.8999 is not written as 0.90 where it is
 *    told to be below 0.90.
 */
import { formatMoney } from '../alerts/money.js';
import { type Comparison, compare } from './condition.js';
import type { Variable } from './variables.js';

/** A comparison of a variable with a number, which holds. */
export interface Bound {
  readonly op: Comparison;
  readonly value: number;
}

const WORDS: Readonly<Record<Comparison, string>> = {
  '>=': 'at or above',
  '>': 'above',
  '<=': 'at or below',
  '<': 'below',
  '==': 'exactly',
  '!=': 'not',
};

/**
 * One sentence part for all bounds of a variable. Of several lower or upper bounds the tightest is told, and one of each
 * as "between". `currency` null: amounts are told in minor units.
 */
export function boundsInWords(
  variable: Variable,
  value: number,
  bounds: readonly Bound[],
  currency: string | null,
): string {
  const lower = tightest(bounds, '>=', '>');
  const upper = tightest(bounds, '<=', '<');
  const others = bounds.filter(({ op }) => op === '==' || op === '!=');
  const limits = [lower, upper].filter((bound) => bound !== null);
  const write = (number: number) => writeBound(number, variable, currency);
  const tell = (bound: Bound) => `${WORDS[bound.op]} ${write(bound.value)}`;
  const range =
    lower !== null && upper !== null ? [`between ${write(lower.value)} and ${write(upper.value)}`] : limits.map(tell);
  const words = [...new Set([...range, ...others.map(tell)])].join(' and ');
  const shown = writeValue(value, [...limits, ...others], variable, currency);
  return variable.unit === 'count' ? `${shown} ${variable.words}, ${words}` : `${variable.words} ${shown} is ${words}`;
}

/** The bound that leaves least room; at the same number the one that leaves the number itself out. */
function tightest(bounds: readonly Bound[], including: Comparison, excluding: Comparison): Bound | null {
  let best: Bound | null = null;
  for (const bound of bounds) {
    if (bound.op !== including && bound.op !== excluding) continue;
    const isTighter =
      best === null ||
      (bound.value === best.value ? bound.op === excluding : !compare(best.value, including, bound.value));
    if (isTighter) best = bound;
  }
  return best;
}

function writeBound(value: number, variable: Variable, currency: string | null): string {
  switch (variable.unit) {
    case 'money':
      return currency === null ? `${value} minor units` : formatMoney(value, currency);
    case 'seconds':
      return isWhole(value) ? writeDuration(value * 1_000) : `${value} s`;
    case 'share': {
      const two = value.toFixed(2);
      return Number(two) === value ? two : String(value);
    }
    case 'km/h':
    case 'km':
      return `${value} ${variable.unit}`;
    default:
      return String(value);
  }
}

/** Upholds invariant 2. */
function writeValue(value: number, bounds: readonly Bound[], variable: Variable, currency: string | null): string {
  switch (variable.unit) {
    case 'money':
      return writeBound(value, variable, currency);
    case 'seconds': {
      const told = writeDuration(value * 1_000);
      const isTrue = bounds.every(
        (bound) => isWhole(bound.value) && (bound.value === value || writeDuration(bound.value * 1_000) !== told),
      );
      return isTrue ? told : `${roundTruly(value, bounds, 0)} s`;
    }
    case 'share':
      return roundTruly(value, bounds, 2);
    case 'km/h':
    case 'km':
      return `${roundTruly(value, bounds, 0)} ${variable.unit}`;
    default:
      return Number.isInteger(value) ? String(value) : roundTruly(value, bounds, Math.abs(value) >= 100 ? 0 : 2);
  }
}

/** The value with so many decimals, or as many more as it takes for every bound to hold of what is shown. */
function roundTruly(value: number, bounds: readonly Bound[], decimals: number): string {
  for (let digits = decimals; digits <= 6; digits++) {
    const shown = value.toFixed(digits);
    if (bounds.every((bound) => compare(Number(shown), bound.op, bound.value))) return shown;
  }
  return String(value);
}

/** Whether a duration says these seconds exactly. */
function isWhole(seconds: number): boolean {
  const step = seconds < 60 ? 1 : seconds < 2 * 86_400 ? 60 : 86_400;
  return seconds % step === 0;
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
