/**
 * Owns numbers worked out of columns, as in `payment.amountMinor > 3 * features.decayedMean30dMinor`: a tree of doubles
 * and its loops over a batch. Neighbours: `compile-condition.ts` makes it, `condition.ts` compares the results.
 */
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { ValueSource } from './language.js';
import type { ColumnPlace, Variable } from './variables.js';

export const ARITHMETIC = ['+', '-', '*', '/', '%'] as const;
export type Arithmetic = (typeof ARITHMETIC)[number];

export type Calculation =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'column'; readonly variable: Variable; readonly place: ColumnPlace }
  | { readonly kind: 'negated'; readonly part: Calculation }
  | {
      readonly kind: 'arithmetic';
      readonly op: Arithmetic;
      readonly left: Calculation;
      readonly right: Calculation;
      /** Of the right side; grows to the largest batch seen and stays. */
      readonly scratch: { values: Float64Array };
    };

/** Writes the value of rows 0 to `batch.count` - 1 to `out`. */
export function calculate(calculation: Calculation, batch: PaymentBatch, out: Float64Array): void {
  const { count } = batch;
  switch (calculation.kind) {
    case 'constant':
      out.fill(calculation.value, 0, count);
      return;
    case 'column': {
      const { place } = calculation;
      const values = place.column(batch);
      const stride = place.stride(batch);
      for (let row = 0, i = place.offset; row < count; row++, i += stride) out[row] = values[i];
      return;
    }
    case 'negated':
      calculate(calculation.part, batch, out);
      for (let row = 0; row < count; row++) out[row] = -out[row];
      return;
    case 'arithmetic': {
      const { op, left, right, scratch } = calculation;
      if (scratch.values.length < batch.capacity) scratch.values = new Float64Array(batch.capacity);
      calculate(left, batch, out);
      calculate(right, batch, scratch.values);
      combine(op, out, scratch.values, count);
    }
  }
}

/** The same for the values of one payment. */
export function calculateAt(calculation: Calculation, values: ValueSource): number {
  switch (calculation.kind) {
    case 'constant':
      return calculation.value;
    case 'column':
      return values.number(calculation.variable.name);
    case 'negated':
      return -calculateAt(calculation.part, values);
    case 'arithmetic': {
      const out = Float64Array.of(calculateAt(calculation.left, values));
      combine(calculation.op, out, Float64Array.of(calculateAt(calculation.right, values)), 1);
      return out[0];
    }
  }
}

/** One loop an operator, so that the operator is chosen once a batch. */
function combine(op: Arithmetic, into: Float64Array, values: Float64Array, count: number): void {
  switch (op) {
    case '+':
      for (let row = 0; row < count; row++) into[row] += values[row];
      return;
    case '-':
      for (let row = 0; row < count; row++) into[row] -= values[row];
      return;
    case '*':
      for (let row = 0; row < count; row++) into[row] *= values[row];
      return;
    case '/':
      for (let row = 0; row < count; row++) into[row] /= values[row];
      return;
    case '%':
      for (let row = 0; row < count; row++) into[row] %= values[row];
      return;
  }
}
