/**
 * Owns payments written as JSON. Two paths give the same verdict and values: the byte scanner for plain messages, whose
 * texts stay where they are in the record, and the strict one (UTF-8 check, JSON.parse, validation) for everything
 * else, whose texts go to the batch's side buffer. Neighbours: `scan-payment.ts`, `validate-payment.ts`,
 * `payment-source.ts`.
 *
 * What both do alike: unknown fields are passed over, null in an optional field means absent, whole numbers may be
 * written in any way JSON has for them. A name that comes twice is refused, known or not, as parsers differ on which
 * value counts: two systems would see two payments in one message.
 */
import { isUtf8 } from 'node:buffer';
import type { RecordBatch } from '../../stream/records.js';
import type { TokeniseCard } from './card-token.js';
import { PAYMENT_LIMITS, type Payment } from './payment.js';
import type { PaymentBatch } from './payment-batch.js';
import { type PaymentDecoder, type PaymentSource, paymentSource, putPayment, putPlaces } from './payment-source.js';
import { InvalidPaymentError, Refusal, showText } from './refusal.js';
import { repeatedName } from './repeated-name.js';
import { PaymentScan } from './scan-payment.js';
import { validatePayment } from './validate-payment.js';

export interface JsonDecoderOptions {
  /** Replaces card numbers in clear; without it, messages that hold one are refused (`pan-in-clear`). */
  readonly tokenise?: TokeniseCard;
}

/** The source step for JSON payments. `featureCount`: model inputs a row. */
export function jsonPayments(
  options: { readonly topic: string; readonly featureCount?: number } & JsonDecoderOptions,
): PaymentSource {
  const { tokenise, ...rest } = options;
  return paymentSource({ ...rest, decoder: jsonDecoder(tokenise === undefined ? {} : { tokenise }) });
}

/** The whole payment in a JSON message, validated. Throws {@link InvalidPaymentError}. */
export function parsePayment(value: Uint8Array, options: JsonDecoderOptions = {}): Payment {
  const payment = readStrictly(value, options.tokenise ?? null);
  if (payment instanceof Refusal) throw new InvalidPaymentError(payment);
  return payment;
}

export function jsonDecoder(options: JsonDecoderOptions = {}): PaymentDecoder {
  const { tokenise } = options;
  const scan = new PaymentScan();
  const counters = { strict: 0, tokenised: 0 };
  const tokeniseCounted: TokeniseCard | null =
    tokenise === undefined
      ? null
      : (digits) => {
          counters.tokenised += 1;
          return tokenise(digits);
        };
  return {
    format: 'json',
    counters,
    decode(records: RecordBatch, index: number, batch: PaymentBatch, row: number): Refusal | null {
      const length = records.valueLength[index];
      if (length < 0) return new Refusal('null-value', 'the record has no value');
      const start = records.valueStart[index];
      if (length <= PAYMENT_LIMITS.maxBytes && scan.read(records.bytes, start, start + length)) {
        putPlaces(scan, records.bytes, batch, row);
        return null;
      }
      counters.strict += 1;
      const payment = readStrictly(records.bytes.subarray(start, start + length), tokeniseCounted);
      if (payment instanceof Refusal) return payment;
      putPayment(payment, batch, row);
      return null;
    },
    parse: (value) => parsePayment(value, options),
  };
}

/** The strict path: any bytes to a payment, or the reason why not. Exported for the fuzz test that compares the paths. */
export function readStrictly(value: Uint8Array, tokenise: TokeniseCard | null): Payment | Refusal {
  if (value.length > PAYMENT_LIMITS.maxBytes) {
    return new Refusal('too-large', `the value has ${value.length} bytes, the limit is ${PAYMENT_LIMITS.maxBytes}`);
  }
  if (!isUtf8(value)) return new Refusal('not-utf8', `the value's ${value.length} bytes are not UTF-8`);
  const text = Buffer.from(value.buffer, value.byteOffset, value.length).toString('utf8');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return new Refusal('malformed-json', describeSyntaxError(error, text.length));
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
    const repeated = repeatedName(text, parsed);
    if (repeated !== null) {
      return new Refusal('duplicate-field', `the field ${showText(repeated)} comes twice; send each field once`);
    }
  }
  return validatePayment(parsed, tokenise);
}

/** Where JSON.parse stopped. Its own message quotes the input, which may hold a card number: only the place is kept. */
function describeSyntaxError(error: unknown, length: number): string {
  if (length === 0) return 'the value is empty';
  const message = error instanceof Error ? error.message : '';
  if (/end of JSON|Unterminated/.test(message))
    return `the value is cut off: JSON ends too early, after ${length} characters`;
  const place = /at position (\d+)/.exec(message);
  return place === null
    ? `the value's ${length} characters are not JSON`
    : `the value is not JSON: unexpected character at ${place[1]} of ${length}`;
}
