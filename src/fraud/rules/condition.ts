/**
 * Owns conditions as they run: a small typed tree over columns, and its loops over a batch. `compile-condition.ts` makes
 * it from the text; what cannot run over columns runs row by row, as CEL ({@link Written}). Neighbours: `variables.ts`
 * says where values lie, `text-loops.ts` compares texts, `reasons.ts` reads the same tree to tell why a rule fired.
 *
 * Evaluated a column at a time, not a row at a time: one tight loop a comparison, no call and no allocation a payment.
 * Eight such rules cost about 0.06 µs a payment, measured by `scripts/rules/measure-rules.ts`.
 *
 * A number that is not known is NaN: every comparison with it is false, `!=` too, so an unknown value fires no rule
 * unless the rule says `!` of a comparison.
 */
import type { NumberColumn } from '../../stream/state/layout.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { type Calculation, calculate, calculateAt } from './calculation.js';
import type { ValueSource } from './language.js';
import { type Refine, refineText, type Text, textHolds } from './text-loops.js';
import type { ColumnPlace, Variable } from './variables.js';

export const COMPARISONS = ['>=', '>', '<=', '<', '==', '!='] as const;
export type Comparison = (typeof COMPARISONS)[number];

/** A column compared with a number. */
export interface Compare {
  readonly kind: 'compare';
  readonly variable: Variable;
  readonly place: ColumnPlace;
  readonly op: Comparison;
  readonly value: number;
}

/** A yes-or-no column. */
export interface Flag {
  readonly kind: 'flag';
  readonly variable: Variable;
  readonly place: ColumnPlace;
}

/** Numbers worked out of columns and compared. */
export interface Calculated {
  readonly kind: 'calculated';
  readonly left: Calculation;
  readonly op: Comparison;
  readonly right: Calculation;
  readonly source: SourceText;
}

/** Runs row by row as CEL. Only ever the whole condition, or a part of an `all` at its top. */
export interface Written {
  readonly kind: 'written';
  readonly source: SourceText;
}

/** As the author wrote it, and the variables in it. */
export interface SourceText {
  readonly text: string;
  readonly variables: readonly Variable[];
}

export type Condition =
  | Compare
  | Flag
  | Text
  | Calculated
  | Written
  | { readonly kind: 'constant'; readonly value: boolean }
  | { readonly kind: 'all' | 'any'; readonly parts: readonly Condition[] }
  | { readonly kind: 'not'; readonly part: Condition };

/** Writes 1 or 0 to `selected[row]` for rows 0 to `batch.count` - 1. */
export type Select = (batch: PaymentBatch, selected: Uint8Array) => void;

/** Whether `value op bound` holds; false where either is NaN. */
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

/** Whether it holds for the values of one payment. Not for {@link Written} ones: those are true here. */
export function holdsAt(condition: Condition, values: ValueSource): boolean {
  switch (condition.kind) {
    case 'constant':
      return condition.value;
    case 'written':
      return true;
    case 'compare':
      return compare(values.number(condition.variable.name), condition.op, condition.value);
    case 'flag':
      return values.flag(condition.variable.name);
    case 'text':
      return textHolds(condition.test, condition.values, values.text(condition.variable.name));
    case 'calculated': {
      const { left, op, right } = condition;
      return compare(calculateAt(left, values), op, calculateAt(right, values));
    }
    case 'not':
      return !holdsAt(condition.part, values);
    case 'all':
      for (const part of condition.parts) if (!holdsAt(part, values)) return false;
      return true;
    case 'any':
      for (const part of condition.parts) if (holdsAt(part, values)) return true;
      return false;
  }
}

/** The loops of a condition. What runs row by row selects every row: whoever runs it there decides. */
export function selectBy(condition: Condition): Select {
  switch (condition.kind) {
    case 'constant':
      return fill(condition.value ? 1 : 0);
    case 'text':
      return combine([condition], true);
    case 'written':
      return fill(1);
    case 'compare': {
      const { place, op, value } = condition;
      return (batch, selected) =>
        selectNumbers(place.column(batch), place.offset, place.stride(batch), batch.count, op, value, selected);
    }
    case 'flag':
      return selectFlag(condition.place);
    case 'calculated':
      return selectCalculated(condition);
    case 'not':
      return negate(selectBy(condition.part));
    case 'all':
      return combine(condition.parts, true);
    case 'any':
      return combine(condition.parts, false);
  }
}

function fill(value: number): Select {
  return (batch, selected) => {
    selected.fill(value, 0, batch.count);
  };
}

function selectFlag({ column, stride, offset, mask }: ColumnPlace): Select {
  return (batch, selected) => {
    const values = column(batch);
    const step = stride(batch);
    for (let row = 0, i = offset; row < batch.count; row++, i += step) selected[row] = (values[i] & mask) !== 0 ? 1 : 0;
  };
}

function selectCalculated({ left, op, right }: Calculated): Select {
  let scratch: readonly Float64Array[] = [];
  return (batch, selected) => {
    if ((scratch[0]?.length ?? 0) < batch.capacity) {
      scratch = [new Float64Array(batch.capacity), new Float64Array(batch.capacity)];
    }
    const [lefts, rights] = scratch;
    calculate(left, batch, lefts);
    calculate(right, batch, rights);
    for (let row = 0; row < batch.count; row++) selected[row] = compare(lefts[row], op, rights[row]) ? 1 : 0;
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

/**
 * All of (`every`) or any of the parts. Texts come last, and only where the others leave it open. Scratch grows to the
 * largest batch seen and stays.
 */
function combine(parts: readonly Condition[], every: boolean): Select {
  const refines = parts.map(asRefine).filter((refine) => refine !== null);
  const selects = parts.filter((part) => asRefine(part) === null).map(selectBy);
  const open = every ? 1 : 0;
  const [first = fill(open), ...rest] = selects;
  let scratch = new Uint8Array(0);
  return (batch, selected) => {
    first(batch, selected);
    if (rest.length > 0 && scratch.length < batch.capacity) scratch = new Uint8Array(batch.capacity);
    const { count } = batch;
    for (const select of rest) {
      select(batch, scratch);
      if (every) for (let row = 0; row < count; row++) selected[row] &= scratch[row];
      else for (let row = 0; row < count; row++) selected[row] |= scratch[row];
    }
    for (const refine of refines) refine(batch, selected, open);
  };
}

/** A comparison of a text, or its negation; null for anything else. */
function asRefine(condition: Condition): Refine | null {
  if (condition.kind === 'text') return refineText(condition, 1);
  return condition.kind === 'not' && condition.part.kind === 'text' ? refineText(condition.part, 0) : null;
}

function negate(inner: Select): Select {
  return (batch, selected) => {
    inner(batch, selected);
    for (let row = 0; row < batch.count; row++) selected[row] ^= 1;
  };
}
