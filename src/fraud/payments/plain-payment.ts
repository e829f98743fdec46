/**
 * Owns a payment as places and numbers: texts stay in the bytes they came in, and one pass says whether the payment is
 * plainly valid. Readers of a format fill it (`scan-payment.ts` for JSON, `decode-avro-reader.ts` for Avro) and
 * `putPlaces` of `payment-source.ts` writes it to a batch. Neighbour: `validate-payment.ts` decides whatever this
 * is not sure of.
 *
 * Invariants
 * 1. It never refuses: "not plainly valid" means that the strict path decides.
 * 2. What is plainly valid here, the strict path accepts too, with the same values. Fuzz tests hold both together.
 */
import { isIP } from 'node:net';
import { isCardNumber } from './card-token.js';
import { CHANNELS, PAYMENT_LIMITS, PAYMENT_STATUSES } from './payment.js';

/** Fields by number: texts first, then numbers. */
export const FIELD = {
  paymentId: 0,
  cardId: 1,
  merchantId: 2,
  currency: 3,
  country: 4,
  mcc: 5,
  channel: 6,
  status: 7,
  deviceId: 8,
  ip: 9,
  amountMinor: 10,
  occurredAt: 11,
  latitude: 12,
  longitude: 13,
} as const;

/** Texts have lower numbers, numbers these and higher ones. */
export const FIRST_NUMBER = FIELD.amountMinor;
export const FIELD_COUNT = Object.keys(FIELD).length;
export const bit = (field: number) => 1 << field;
const REQUIRED =
  bit(FIELD.paymentId) |
  bit(FIELD.cardId) |
  bit(FIELD.merchantId) |
  bit(FIELD.currency) |
  bit(FIELD.amountMinor) |
  bit(FIELD.occurredAt);
const PLACE = bit(FIELD.latitude) | bit(FIELD.longitude);
const { maxIdBytes, maxAmountMinor, minOccurredAt, maxOccurredAt } = PAYMENT_LIMITS;

const POINT = 0x2e;
const ZERO = 0x30;

const asciiTexts = (texts: readonly string[]) => texts.map((text) => Buffer.from(text, 'ascii'));
const CHANNEL_TEXTS = asciiTexts(CHANNELS);
const STATUS_TEXTS = asciiTexts(PAYMENT_STATUSES);

/** One payment, reused from message to message. Its texts must be printable ASCII: whoever fills it sees to that. */
export class PlainPayment {
  readonly start = new Int32Array(FIRST_NUMBER);
  readonly length = new Int32Array(FIRST_NUMBER);
  /** By field number. Without -0. */
  readonly number = new Float64Array(FIELD_COUNT);
  /** The codes of `text-codes.ts`, known once `isPlainlyValid` said yes: what it looks at is not read twice. */
  currency = 0;
  country = 0;
  mcc = 0;
  channel = 0;
  status = 0;
  /** Bits of the fields that are there. */
  protected present = 0;

  has(field: number): boolean {
    return (this.present & bit(field)) !== 0;
  }

  /** True where nothing is left for the strict path to refuse, and no card number to tokenise. */
  isPlainlyValid(bytes: Buffer): boolean {
    const { number, start, length, present } = this;
    if ((present & REQUIRED) !== REQUIRED) return false;
    if (!this.isId(FIELD.paymentId) || !this.isId(FIELD.cardId) || !this.isId(FIELD.merchantId)) return false;
    if (isCardNumber(bytes, start[FIELD.cardId], length[FIELD.cardId])) return false;
    const amountMinor = number[FIELD.amountMinor];
    if (!(amountMinor >= 0 && amountMinor <= maxAmountMinor && Number.isInteger(amountMinor))) return false;
    const occurredAt = number[FIELD.occurredAt];
    if (!(occurredAt >= minOccurredAt && occurredAt <= maxOccurredAt && Number.isInteger(occurredAt))) return false;
    this.currency = this.capitals(FIELD.currency, bytes, 3);
    this.country = this.has(FIELD.country) ? this.capitals(FIELD.country, bytes, 2) : 0;
    this.mcc = this.has(FIELD.mcc) ? this.fourDigits(FIELD.mcc, bytes) : 0;
    if (this.currency < 0 || this.country < 0 || this.mcc < 0) return false;
    this.channel = this.has(FIELD.channel) ? this.placeIn(FIELD.channel, bytes, CHANNEL_TEXTS) : 0;
    this.status = this.has(FIELD.status) ? this.placeIn(FIELD.status, bytes, STATUS_TEXTS) : 0;
    if (this.channel < 0 || this.status < 0) return false;
    if (this.has(FIELD.deviceId) && !this.isId(FIELD.deviceId)) return false;
    if (this.has(FIELD.ip) && !this.isAddress(bytes)) return false;
    const place = present & PLACE;
    if (place === 0) return true;
    return place === PLACE && Math.abs(number[FIELD.latitude]) <= 90 && Math.abs(number[FIELD.longitude]) <= 180;
  }

  private isId(field: number): boolean {
    const length = this.length[field];
    return length > 0 && length <= maxIdBytes;
  }

  /** The capitals' code, or -1. */
  private capitals(field: number, bytes: Uint8Array, length: number): number {
    if (this.length[field] !== length) return -1;
    let code = 0;
    for (let i = this.start[field], end = i + length; i < end; i++) {
      if (bytes[i] < 0x41 || bytes[i] > 0x5a) return -1;
      code = (code << 8) | bytes[i];
    }
    return code;
  }

  /** The merchant category's code, or -1. */
  private fourDigits(field: number, bytes: Uint8Array): number {
    if (this.length[field] !== 4) return -1;
    let value = 0;
    for (let i = this.start[field], end = i + 4; i < end; i++) {
      if (!isDigit(bytes[i])) return -1;
      value = value * 10 + bytes[i] - ZERO;
    }
    return value + 1;
  }

  /** Place in the list and 1, or -1. */
  private placeIn(field: number, bytes: Uint8Array, texts: readonly Uint8Array[]): number {
    const start = this.start[field];
    const length = this.length[field];
    for (let i = 0; i < texts.length; i++) {
      if (texts[i].length === length && sameBytes(bytes, start, texts[i])) return i + 1;
    }
    return -1;
  }

  /** IPv4 by hand; what it does not know (IPv6) costs one short string. */
  private isAddress(bytes: Buffer): boolean {
    const start = this.start[FIELD.ip];
    const length = this.length[FIELD.ip];
    if (isPlainIpv4(bytes, start, start + length)) return true;
    if (length > maxIdBytes) return false;
    return isIP(asciiText(bytes, start, start + length)) !== 0;
  }
}

export function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}

/** A short text as a string; callers have bounded it. */
export function asciiText(bytes: Buffer, start: number, end: number): string {
  return bytes.toString('latin1', start, end);
}

/** Four groups of one to three digits up to 255 without leading zeros. */
function isPlainIpv4(bytes: Uint8Array, start: number, end: number): boolean {
  let groups = 0;
  let at = start;
  for (;;) {
    const groupStart = at;
    let value = 0;
    while (at < end && isDigit(bytes[at])) value = value * 10 + bytes[at++] - ZERO;
    const digits = at - groupStart;
    if (digits === 0 || digits > 3 || value > 255 || (digits > 1 && bytes[groupStart] === ZERO)) return false;
    groups += 1;
    if (at === end) return groups === 4;
    if (bytes[at] !== POINT) return false;
    at += 1;
  }
}

/** Whether `bytes` at `start` are those of `text`. The caller has compared the lengths. */
export function sameBytes(bytes: Uint8Array, start: number, text: Uint8Array): boolean {
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text[i]) return false;
  return true;
}
