/**
 * Owns the reasons for which a message is no payment, and the words in which they are told. A refusal becomes a dead
 * letter; its text travels in headers, logs and pages, so no value in it may give away a card number.
 * Neighbours: `validate-payment.ts` refuses fields, `decode-json.ts` refuses bytes.
 */
import { StreamError } from '../../stream/errors.js';
import type { RejectDetails } from '../../stream/pipeline/pipeline.js';

/** Stable; documented for whoever reads dead letters. */
export type RefusalCode =
  | 'null-value'
  | 'too-large'
  | 'not-utf8'
  | 'malformed-json'
  | 'not-an-object'
  | 'duplicate-field'
  | 'missing-field'
  | 'wrong-type'
  | 'out-of-range'
  | 'too-long'
  | 'bad-format'
  | 'pan-in-clear'
  | 'malformed-framing'
  | 'malformed-avro'
  | 'schema-unknown'
  | 'schema-unusable'
  | 'schema-incompatible'
  | 'schema-unavailable';

/** Why a message is no payment. Not an Error: refusals are data on a path that must stay cheap. */
export class Refusal {
  constructor(
    readonly code: RefusalCode,
    readonly message: string,
    /** What else programs want to know, as headers of the dead letter. */
    readonly details?: RejectDetails,
  ) {}
}

/** Thrown where one payment was asked for and its bytes hold none. `code` is a {@link RefusalCode}. */
export class InvalidPaymentError extends StreamError {
  constructor(refusal: Refusal) {
    super(refusal.code, refusal.message);
  }
}

const SHOWN_CHARACTERS = 24;
/** Nine digits or more, with single blanks, dots or dashes between: could be part of a card number. */
const LONG_DIGITS = /\d(?:[ .-]?\d){8,}/g;

/** Says what was found in place of a value: its type, and so much of it as cannot be a card number. */
export function describeValue(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  switch (typeof value) {
    case 'string':
      return value === '' ? 'an empty text' : `text ${showText(value)}`;
    case 'number':
      if (!Number.isFinite(value)) return `number ${value}`;
      return Math.abs(value) < 1e9 ? `number ${value}` : `a number of ${Math.abs(value).toFixed(0).length} digits`;
    case 'boolean':
      return `${value}`;
    case 'object':
      return 'an object';
    default:
      return typeof value;
  }
}

/** The beginning of a text as JSON, long runs of digits masked. */
export function showText(text: string): string {
  // Masked before it is cut: a cut must not turn a card number into a run too short to be noticed.
  const masked = text.slice(0, 200).replace(LONG_DIGITS, '***');
  const shown = masked.slice(0, SHOWN_CHARACTERS);
  return JSON.stringify(shown) + (shown.length < masked.length || text.length > 200 ? '…' : '');
}
