/**
 * Owns card numbers in clear: knowing one, and replacing it by a token before anything else sees it. Neighbours: both
 * paths of `decode-json.ts` and `labelled-file.ts`. A token is the same for the same number and secret, in every
 * process, and cannot be turned back without the secret.
 */
import { createHmac } from 'node:crypto';
import { StreamError } from '../../stream/errors.js';

/** Replaces a card number in clear (its digits alone) by a token. */
export type TokeniseCard = (digits: string) => string;

const MIN_SECRET_BYTES = 16;
/** 22 base64url characters carry 132 bits of the HMAC. */
const TOKEN_CHARACTERS = 22;

/**
 * Tokens are `tok_` and 22 base64url characters of HMAC-SHA256(secret, digits) (RFC 2104).
 * Errors: code `weak-secret` for a secret under 16 bytes.
 */
export function tokeniseCard(secret: string | Uint8Array): TokeniseCard {
  const key = typeof secret === 'string' ? Buffer.from(secret, 'utf8') : Buffer.from(secret);
  if (key.length < MIN_SECRET_BYTES) {
    throw new StreamError(
      'weak-secret',
      `the card token secret has ${key.length} bytes; give at least ${MIN_SECRET_BYTES} random ones`,
    );
  }
  return (digits) =>
    `tok_${createHmac('sha256', key).update(digits, 'ascii').digest('base64url').slice(0, TOKEN_CHARACTERS)}`;
}

const ZERO = 0x30;
const NINE = 0x39;
const BLANK = 0x20;
const DASH = 0x2d;

/**
 * True where the bytes read as a card number: 13 to 19 digits (ISO/IEC 7812) that pass the Luhn check, alone or with
 * blanks and dashes between them. Allocates nothing; ordinary tokens leave at their first letter.
 */
export function isCardNumber(bytes: Uint8Array, start: number, length: number): boolean {
  if (length < 13) return false;
  let digits = 0;
  let evenSum = 0;
  let oddSum = 0;
  for (let i = start, end = start + length; i < end; i++) {
    const byte = bytes[i];
    if (byte === BLANK || byte === DASH) continue;
    if (byte < ZERO || byte > NINE) return false;
    const digit = byte - ZERO;
    const doubled = digit < 5 ? digit * 2 : digit * 2 - 9;
    // Which digits are doubled depends on their count, which is not known yet: keep both sums.
    if ((digits & 1) === 0) {
      evenSum += doubled;
      oddSum += digit;
    } else {
      evenSum += digit;
      oddSum += doubled;
    }
    digits += 1;
  }
  if (digits < 13 || digits > 19) return false;
  return ((digits & 1) === 0 ? evenSum : oddSum) % 10 === 0;
}

/** The digits of a card number in clear, or null where the text is none. */
export function cardNumberDigits(text: string): string | null {
  const bytes = Buffer.from(text, 'utf8');
  return isCardNumber(bytes, 0, bytes.length) ? text.replace(/[ -]/g, '') : null;
}
