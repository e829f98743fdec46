/**
 * Owns the loops that compare a batch's texts: those held as numbers as numbers, the others by their bytes, without a
 * string being made. Neighbours: `condition.ts` joins these loops with those over numbers, `scope.ts` uses them too.
 *
 * Bytes say the same as characters here: UTF-8 keeps them apart, and neither a payment nor a checked condition holds half
 * a surrogate pair, which has no UTF-8.
 */
import { hash53 } from '../../stream/state/key-index.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { sameBytes } from '../payments/plain-payment.js';
import type { CodedText, TextBytes, Variable } from './variables.js';

export const TEXT_TESTS = ['startsWith', 'endsWith', 'contains'] as const;

/** A text of the payment that is one of some, or that begins with, ends with or contains one. "" where it is absent. */
export interface Text {
  readonly kind: 'text';
  readonly variable: Variable;
  readonly place: CodedText | TextBytes;
  readonly test: 'among' | (typeof TEXT_TESTS)[number];
  readonly values: readonly string[];
}

/**
 * Decides the rows at which `selected` is `open` (1 narrows a selection, 0 widens it) by writing 1 or 0 there; the
 * others stay as they are. Rows 0 to `batch.count` - 1.
 */
export type Refine = (batch: PaymentBatch, selected: Uint8Array, open: number) => void;

/** Lists up to here are gone through one by one; longer ones are looked up. */
const SHORT_LIST = 8;

/** `wanted`: what is written where the test holds, 1 or (for its negation) 0. */
export function refineText({ place, test, values }: Text, wanted: number): Refine {
  if (place.kind === 'bytes') return refineBytes(place, test, values, wanted);
  if (test === 'among') return refineCodes(place, values.map(place.codeOf), wanted);
  return refineSpelled(place, (text) => textHolds(test, values, text), wanted);
}

export function textHolds(test: Text['test'], values: readonly string[], text: string): boolean {
  switch (test) {
    case 'among':
      return values.includes(text);
    case 'startsWith':
      return text.startsWith(values[0]);
    case 'endsWith':
      return text.endsWith(values[0]);
    case 'contains':
      return text.includes(values[0]);
  }
}

function refineCodes({ column, shift, mask }: CodedText, codes: readonly number[], wanted: number): Refine {
  const other = 1 - wanted;
  const [only] = codes;
  if (codes.length === 1) {
    return (batch, selected, open) => {
      const values = column(batch);
      for (let row = 0; row < batch.count; row++) {
        if (selected[row] === open) selected[row] = ((values[row] >>> shift) & mask) === only ? wanted : other;
      }
    };
  }
  const listed = codes.length <= SHORT_LIST ? null : new Set(codes);
  return (batch, selected, open) => {
    const values = column(batch);
    for (let row = 0; row < batch.count; row++) {
      if (selected[row] !== open) continue;
      const code = (values[row] >>> shift) & mask;
      selected[row] = (listed === null ? codes.includes(code) : listed.has(code)) ? wanted : other;
    }
  };
}

/** Each code is spelled and asked about once; there are at most 26^3 of them. */
function refineSpelled(
  { column, shift, mask, textOf }: CodedText,
  holds: (text: string) => boolean,
  wanted: number,
): Refine {
  const known = new Map<number, number>();
  return (batch, selected, open) => {
    const values = column(batch);
    for (let row = 0; row < batch.count; row++) {
      if (selected[row] !== open) continue;
      const code = (values[row] >>> shift) & mask;
      let answer = known.get(code);
      if (answer === undefined) {
        answer = holds(textOf(code)) ? wanted : 1 - wanted;
        known.set(code, answer);
      }
      selected[row] = answer;
    }
  };
}

/** Long lists by hash first; equal hashes are settled by the bytes. */
function refineBytes(place: TextBytes, test: Text['test'], values: readonly string[], wanted: number): Refine {
  const { stride, startOffset, lengthOffset } = place;
  const texts = values.map((value) => Buffer.from(value, 'utf8'));
  const isLong = test === 'among' && texts.length > SHORT_LIST;
  const byHash = isLong ? Map.groupBy(texts, (text) => hash53(text, 0, text.length)) : null;
  return (batch, selected, open) => {
    const starts = place.start(batch);
    const lengths = place.length(batch);
    for (let row = 0, at = 0; row < batch.count; row++, at += stride) {
      if (selected[row] !== open) continue;
      const bytes = batch.textBytes(row);
      const start = starts[at + startOffset];
      const length = lengths[at + lengthOffset];
      const candidates = byHash === null ? texts : byHash.get(hash53(bytes, start, length));
      const holds = candidates !== undefined && bytesHold(test, candidates, bytes, start, length);
      selected[row] = holds ? wanted : 1 - wanted;
    }
  };
}

/** `textHolds` for a text of `length` bytes at `start`. */
function bytesHold(
  test: Text['test'],
  texts: readonly Buffer[],
  bytes: Uint8Array,
  start: number,
  length: number,
): boolean {
  const [first] = texts;
  switch (test) {
    case 'among':
      for (let i = 0; i < texts.length; i++) {
        if (texts[i].length === length && sameBytes(bytes, start, texts[i])) return true;
      }
      return false;
    case 'startsWith':
      return first.length <= length && sameBytes(bytes, start, first);
    case 'endsWith':
      return first.length <= length && sameBytes(bytes, start + length - first.length, first);
    case 'contains':
      for (let at = start; at <= start + length - first.length; at++) if (sameBytes(bytes, at, first)) return true;
      return false;
  }
}
