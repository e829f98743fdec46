/**
 * Owns conditions: a small typed tree over signals, and its compilation to loops over a batch's columns. A rule
 * language may replace {@link compileCondition} alone; everything else knows {@link CompiledCondition} only.
 * Neighbours: `signals.ts` names the values, `rule-set.ts` validates the tree, `compile-rules.ts` runs it.
 *
 * Evaluated a column at a time, not a row at a time: one tight loop a comparison, no call and no allocation a payment.
 * Ten rules cost 0.04 µs a payment, measured and watched by `test/unit/rules/compile-rules.test.ts`.
 *
 * A signal that is not known is NaN: every comparison with it is false, `!=` too, so an unknown value fires no rule
 * unless the rule says `not` of a comparison.
 */
import type { NumberColumn } from '../../stream/state/layout.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { type Signal, type Signals, type SignalValues } from './signals.js';

export const COMPARISONS = ['>=', '>', '<=', '<', '==', '!='] as const;
export type Comparison = (typeof COMPARISONS)[number];

export interface Compare {
  readonly signal: string;
  readonly op: Comparison;
  /** A number in the signal's unit, or true/false for flags (which take `==` and `!=` alone). */
  readonly value: number | boolean;
}

export type Condition =
  | Compare
  | { readonly all: readonly Condition[] }
  | { readonly any: readonly Condition[] }
  | { readonly not: Condition };

/** What a condition language must give. */
export interface CompiledCondition {
  /** Writes 1 or 0 to `selected[row]` for rows 0 to `batch.count` - 1. */
  select(batch: PaymentBatch, selected: Uint8Array): void;
  /** The same for values outside a batch. */
  test(values: SignalValues): boolean;
}

export type ConditionCompiler = (condition: Condition, signals: Signals) => CompiledCondition;

/** Whether `value op bound` holds; false where `value` is NaN. */
export function compare(value: number, op: Comparison, bound: number): boolean {
  switch (op) {
    case '>=':
      return value >= bound;
    case '>':
      return value > bound;
    case '<=':
      return value <= bound;
    case '<':
      return value < bound;
    case '==':
      return value === bound;
    case '!=':
      return value < bound || value > bound;
  }
}

/** Compiles a validated condition. `parseRuleSet` has checked signals, types, depth and size. */
export const compileCondition: ConditionCompiler = (condition, signals) => {
  if ('all' in condition) return combine(condition.all, signals, true);
  if ('any' in condition) return combine(condition.any, signals, false);
  if ('not' in condition) return negate(compileCondition(condition.not, signals));
  const signal = signals.get(condition.signal);
  if (signal === undefined) throw new TypeError(`no signal is called '${condition.signal}'`);
  return signal.mask === 0 ? compareNumber(condition, signal) : compareFlag(condition, signal);
};

function compareNumber(condition: Compare, signal: Signal): CompiledCondition {
  const bound = Number(condition.value);
  const { op } = condition;
  const { offset } = signal;
  return {
    select: (batch, selected) =>
      selectNumbers(signal.column(batch), offset, signal.stride(batch), batch.count, op, bound, selected),
    test: (values) => compare(values[signal.name] ?? Number.NaN, op, bound),
  };
}

function compareFlag(condition: Compare, signal: Signal): CompiledCondition {
  const { mask, offset } = signal;
  const wanted = (condition.op === '==') === Boolean(condition.value) ? 1 : 0;
  return {
    select: (batch, selected) => {
      const column = signal.column(batch);
      const stride = signal.stride(batch);
      for (let row = 0, i = offset; row < batch.count; row++, i += stride)
        selected[row] = (column[i] & mask) !== 0 ? wanted : 1 - wanted;
    },
    test: (values) => compare(values[signal.name] ?? Number.NaN, '==', wanted),
  };
}

/** One loop an operator, so that the operator is chosen once a batch. */
function selectNumbers(
  column: NumberColumn,
  offset: number,
  stride: number,
  count: number,
  op: Comparison,
  bound: number,
  selected: Uint8Array,
): void {
  let i = offset;
  switch (op) {
    case '>=':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] >= bound ? 1 : 0;
      return;
    case '>':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] > bound ? 1 : 0;
      return;
    case '<=':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] <= bound ? 1 : 0;
      return;
    case '<':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] < bound ? 1 : 0;
      return;
    case '==':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] === bound ? 1 : 0;
      return;
    case '!=':
      for (let row = 0; row < count; row++, i += stride) selected[row] = column[i] < bound || column[i] > bound ? 1 : 0;
      return;
  }
}

/** All of (`every`) or any of the parts. Scratch grows to the largest batch seen and stays. */
function combine(parts: readonly Condition[], signals: Signals, every: boolean): CompiledCondition {
  const [first, ...rest] = parts.map((part) => compileCondition(part, signals));
  let scratch = new Uint8Array(0);
  return {
    select: (batch, selected) => {
      first.select(batch, selected);
      if (rest.length === 0) return;
      if (scratch.length < batch.capacity) scratch = new Uint8Array(batch.capacity);
      const { count } = batch;
      for (const part of rest) {
        part.select(batch, scratch);
        if (every) for (let row = 0; row < count; row++) selected[row] &= scratch[row];
        else for (let row = 0; row < count; row++) selected[row] |= scratch[row];
      }
    },
    test: (values) =>
      every
        ? first.test(values) && rest.every((part) => part.test(values))
        : first.test(values) || rest.some((part) => part.test(values)),
  };
}

function negate(inner: CompiledCondition): CompiledCondition {
  return {
    select: (batch, selected) => {
      inner.select(batch, selected);
      for (let row = 0; row < batch.count; row++) selected[row] ^= 1;
    },
    test: (values) => !inner.test(values),
  };
}
