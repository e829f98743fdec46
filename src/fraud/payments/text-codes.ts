/**
 * Owns the payment's short texts as numbers, so that batches hold them in columns and rules compare them in loops:
 * country and currency by their letters, the merchant category by its digits, channel and status by their place in the
 * list. Neighbours: `payment-source.ts` writes the columns, `../rules/variables.ts` reads them.
 *
 * 0 is a text that is absent, -1 (never in a column) one that no payment can have.
 */
import { CHANNELS, PAYMENT_STATUSES } from './payment.js';

/** Two capitals as (first << 8 | second). */
export function countryCode(country: string): number {
  return capitalsCode(country, /^[A-Z]{2}$/);
}

/** Three capitals, 8 bits each. */
export function currencyCode(currency: string): number {
  return capitalsCode(currency, /^[A-Z]{3}$/);
}

function capitalsCode(text: string, form: RegExp): number {
  if (text === '') return 0;
  if (!form.test(text)) return -1;
  let code = 0;
  for (let i = 0; i < text.length; i++) code = (code << 8) | text.charCodeAt(i);
  return code;
}

/** The letters of a country or a currency. */
export function capitalsOf(code: number): string {
  if (code === 0) return '';
  return code > 0xffff
    ? String.fromCharCode(code >> 16, (code >> 8) & 0xff, code & 0xff)
    : String.fromCharCode(code >> 8, code & 0xff);
}

/** Four digits as a number and 1, since "0000" is one as well. */
export function mccCode(mcc: string): number {
  if (mcc === '') return 0;
  return /^[0-9]{4}$/.test(mcc) ? Number(mcc) + 1 : -1;
}

export function mccOf(code: number): string {
  return code === 0 ? '' : String(code - 1).padStart(4, '0');
}

/** Place in the list and 1. */
export const channelCode = (channel: string) => placeIn(CHANNELS, channel);
export const statusCode = (status: string) => placeIn(PAYMENT_STATUSES, status);
export const channelOf = (code: number) => CHANNELS[code - 1] ?? '';
export const statusOf = (code: number) => PAYMENT_STATUSES[code - 1] ?? '';

function placeIn(list: readonly string[], text: string): number {
  return text === '' ? 0 : list.indexOf(text) + 1 || -1;
}
