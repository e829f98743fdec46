import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHANNELS, PAYMENT_STATUSES } from '../../../src/fraud/payments/payment.js';
import {
  capitalsOf,
  channelCode,
  channelOf,
  countryCode,
  currencyCode,
  mccCode,
  mccOf,
  statusCode,
  statusOf,
} from '../../../src/fraud/payments/text-codes.js';

const capitals = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'), minLength: length, maxLength: length });
const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 4, maxLength: 4 });

describe('a text held as a number', () => {
  it.each([
    ['country', countryCode, capitalsOf, capitals(2)],
    ['currency', currencyCode, capitalsOf, capitals(3)],
    ['merchant category', mccCode, mccOf, digits],
    ['channel', channelCode, channelOf, fc.constantFrom(...CHANNELS)],
    ['status', statusCode, statusOf, fc.constantFrom(...PAYMENT_STATUSES)],
  ] as const)('gives the %s back, 0 for an absent one and -1 for what is none', (_, codeOf, textOf, texts) => {
    fc.assert(
      fc.property(texts, (text) => {
        expect(codeOf(text)).toBeGreaterThan(0);
        expect(textOf(codeOf(text))).toBe(text);
      }),
    );
    expect([codeOf(''), textOf(0)]).toEqual([0, '']);
    expect(['x', 'de', 'EURO', '59', '59670', 'Pos', ' '].map(codeOf)).toEqual(Array(7).fill(-1));
  });
});
