import { expect, it } from 'vitest';
import { decodePosition, encodePosition } from '../../../src/fraud/outbox/position.js';
import { CorruptDataError } from '../../../src/stream/errors.js';

const position = { outboxId: '0d7a2a3e-4f5b-4d0e-9d4c-2b4c6f0a1b2c', sequence: 2 ** 53 - 1 };

it('a position comes back as it was written', () => {
  expect(decodePosition(encodePosition(position), 'record')).toEqual(position);
});

it('a position with any byte changed, or cut short, is refused', () => {
  const record = encodePosition(position);
  for (let index = 0; index < record.length; index++) {
    const damaged = Buffer.from(record);
    damaged[index] ^= 0x10;
    expect(() => decodePosition(damaged, 'record 7')).toThrow(CorruptDataError);
    expect(() => decodePosition(record.subarray(0, index), 'record 7')).toThrow('record 7');
  }
});
