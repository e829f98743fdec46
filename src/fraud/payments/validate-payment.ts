/**
 * Owns the rules that make a value a payment: the one place that refuses fields, whatever format they came in.
 * Neighbours: `decode-json.ts` and later decoders hand it parsed values. `scan-payment.ts` recognises plainly valid
 * payments faster, but refuses none: what it is unsure of ends here, and a fuzz test holds the two together.
 */
import { isIP } from 'node:net';
import { cardNumberDigits, type TokeniseCard } from './card-token.js';
import {
  type CardId,
  CHANNELS,
  type Channel,
  type MerchantId,
  PAYMENT_LIMITS,
  PAYMENT_STATUSES,
  type Payment,
  type PaymentId,
  type PaymentStatus,
} from './payment.js';
import { describeValue, Refusal } from './refusal.js';

const { maxIdBytes, maxAmountMinor, minOccurredAt, maxOccurredAt } = PAYMENT_LIMITS;

/**
 * The payment in a parsed message, unknown fields left out, or why there is none. Optional fields may be null.
 * A card number in clear is replaced by its token; without `tokenise` it is refused.
 */
export function validatePayment(value: unknown, tokenise: TokeniseCard | null): Payment | Refusal {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return new Refusal('not-an-object', `a payment must be an object, found ${describeValue(value)}`);
  }
  const fields = value as Record<string, unknown>;
  const refusal =
    idFault(fields, 'paymentId', true) ??
    cardFault(fields, tokenise) ??
    idFault(fields, 'merchantId', true) ??
    wholeFault(fields, 'amountMinor', 0, maxAmountMinor) ??
    formatFault(fields, 'currency', true, isCurrency, 'three capital letters (ISO 4217)') ??
    wholeFault(fields, 'occurredAt', minOccurredAt, maxOccurredAt) ??
    formatFault(fields, 'country', false, isCountry, 'two capital letters (ISO 3166-1)') ??
    formatFault(fields, 'mcc', false, isMcc, 'four digits (ISO 18245)') ??
    formatFault(fields, 'channel', false, isChannel, `one of ${CHANNELS.join(', ')}`) ??
    formatFault(fields, 'status', false, isStatus, `one of ${PAYMENT_STATUSES.join(', ')}`) ??
    idFault(fields, 'deviceId', false) ??
    formatFault(fields, 'ip', false, isAddress, 'an IPv4 or IPv6 address') ??
    placeFault(fields);
  return refusal ?? takeFields(fields, tokenise);
}

/** Copies validated fields. */
function takeFields(fields: Record<string, unknown>, tokenise: TokeniseCard | null): Payment {
  const cardId = fields.cardId as string;
  const digits = cardNumberDigits(cardId);
  const optional = <T>(name: string): T | undefined => (fields[name] ?? undefined) as T | undefined;
  const [country, mcc, channel, status] = [
    optional<string>('country'),
    optional<string>('mcc'),
    optional<Channel>('channel'),
    optional<PaymentStatus>('status'),
  ];
  const [deviceId, ip] = [optional<string>('deviceId'), optional<string>('ip')];
  const [latitude, longitude] = [optional<number>('latitude'), optional<number>('longitude')];
  return {
    paymentId: fields.paymentId as PaymentId,
    cardId: (digits !== null && tokenise !== null ? tokenise(digits) : cardId) as CardId,
    merchantId: fields.merchantId as MerchantId,
    // Adding 0 turns -0, which JSON can say, into 0.
    amountMinor: (fields.amountMinor as number) + 0,
    currency: fields.currency as string,
    occurredAt: fields.occurredAt as number,
    ...(country !== undefined && { country }),
    ...(mcc !== undefined && { mcc }),
    ...(channel !== undefined && { channel }),
    ...(status !== undefined && { status }),
    ...(deviceId !== undefined && { deviceId }),
    ...(ip !== undefined && { ip }),
    ...(latitude !== undefined && longitude !== undefined && { latitude: latitude + 0, longitude: longitude + 0 }),
  };
}

/** Refuses what is no text of 1 to 64 bytes free of control characters. */
function idFault(fields: Record<string, unknown>, name: string, required: boolean): Refusal | null {
  const value = fields[name];
  if (value === undefined || value === null) return absent(name, value, required);
  // A card's value is never shown: it may be a number in clear that fails the check by one typing error.
  const found = () =>
    name === 'cardId' && typeof value === 'string' ? `${value.length} characters` : describeValue(value);
  if (typeof value !== 'string') return new Refusal('wrong-type', `${name} must be a text, found ${found()}`);
  if (value === '') return new Refusal('bad-format', `${name} is empty`);
  if (value.length > maxIdBytes || Buffer.byteLength(value) > maxIdBytes) {
    return new Refusal('too-long', `${name} has ${Buffer.byteLength(value)} bytes, the limit is ${maxIdBytes}`);
  }
  if (!isClean(value)) {
    return new Refusal('bad-format', `${name} holds a control character or half a surrogate pair: ${found()}`);
  }
  return null;
}

function cardFault(fields: Record<string, unknown>, tokenise: TokeniseCard | null): Refusal | null {
  const fault = idFault(fields, 'cardId', true);
  if (fault !== null || tokenise !== null || cardNumberDigits(fields.cardId as string) === null) return fault;
  return new Refusal('pan-in-clear', 'cardId is a card number in clear; send a token, or set the card token secret');
}

function wholeFault(fields: Record<string, unknown>, name: string, min: number, max: number): Refusal | null {
  const value = fields[name];
  if (value === undefined || value === null) return absent(name, value, true);
  if (typeof value !== 'number') {
    return new Refusal('wrong-type', `${name} must be a whole number, found ${describeValue(value)}`);
  }
  if (value < min || value > max) {
    return new Refusal('out-of-range', `${name} must be from ${min} to ${max}, found ${describeValue(value)}`);
  }
  if (!Number.isInteger(value)) {
    return new Refusal('bad-format', `${name} must be a whole number, found ${describeValue(value)}`);
  }
  return null;
}

function formatFault(
  fields: Record<string, unknown>,
  name: string,
  required: boolean,
  accepts: (text: string) => boolean,
  form: string,
): Refusal | null {
  const value = fields[name];
  if (value === undefined || value === null) return absent(name, value, required);
  if (typeof value !== 'string') {
    return new Refusal('wrong-type', `${name} must be a text, found ${describeValue(value)}`);
  }
  return accepts(value) ? null : new Refusal('bad-format', `${name} must be ${form}, found ${describeValue(value)}`);
}

function placeFault(fields: Record<string, unknown>): Refusal | null {
  const fault = degreesFault(fields, 'latitude', 90) ?? degreesFault(fields, 'longitude', 180);
  if (fault !== null) return fault;
  const hasLatitude = (fields.latitude ?? null) !== null;
  const hasLongitude = (fields.longitude ?? null) !== null;
  if (hasLatitude === hasLongitude) return null;
  const [given, missing] = hasLatitude ? ['latitude', 'longitude'] : ['longitude', 'latitude'];
  return new Refusal('missing-field', `${missing} is missing though ${given} is given`);
}

function degreesFault(fields: Record<string, unknown>, name: string, limit: number): Refusal | null {
  const value = fields[name];
  if (value === undefined || value === null) return null;
  if (typeof value !== 'number') {
    return new Refusal('wrong-type', `${name} must be a number of degrees, found ${describeValue(value)}`);
  }
  if (value >= -limit && value <= limit) return null;
  return new Refusal('out-of-range', `${name} must be from -${limit} to ${limit}, found ${describeValue(value)}`);
}

function absent(name: string, value: unknown, required: boolean): Refusal | null {
  if (!required) return null;
  return value === null
    ? new Refusal('wrong-type', `${name} is null`)
    : new Refusal('missing-field', `${name} is missing`);
}

/** Control characters break databases and terminals downstream; half a surrogate pair has no UTF-8. */
function isClean(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x20 || unit === 0x7f) return false;
  }
  return text.isWellFormed();
}

const isCurrency = (text: string) => /^[A-Z]{3}$/.test(text);
const isCountry = (text: string) => /^[A-Z]{2}$/.test(text);
const isMcc = (text: string) => /^[0-9]{4}$/.test(text);
const isChannel = (text: string) => (CHANNELS as readonly string[]).includes(text);
const isStatus = (text: string) => (PAYMENT_STATUSES as readonly string[]).includes(text);
const isAddress = (text: string) => text.length <= maxIdBytes && isIP(text) !== 0;
