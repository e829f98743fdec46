/** Owns messages that are no payments: what broken producers send, made out of a good payment's bytes. */
import type { Random } from './random.js';

type Spoil = (value: Buffer, random: Random) => Buffer | null;

const replacing =
  (pattern: RegExp, by: string): Spoil =>
  (value) =>
    Buffer.from(value.toString('utf8').replace(pattern, by));

const SPOILS: readonly Spoil[] = [
  (value, random) => value.subarray(0, random.whole(1, value.length - 1)),
  (value, random) => {
    const spoiled = Buffer.from(value);
    spoiled[random.whole(2, 9)] = 0xff;
    return spoiled;
  },
  () => null,
  () => Buffer.alloc(0),
  () => Buffer.from('[]'),
  replacing(/"merchantId":"[^"]*",/, ''),
  replacing(/"amountMinor":(\d+)/, '"amountMinor":"$1"'),
  replacing(/"amountMinor":/, '"amountMinor":-1'),
  // Valid JSON, and two amounts: which one counts depends on the parser.
  replacing(/^\{/, '{"amountMinor":1,'),
  replacing(/"currency":"[^"]*"/, '"currency":"euro"'),
  replacing(/"occurredAt":\d+/, '"occurredAt":"yesterday"'),
];

/** Something in place of a payment's bytes that no decoder may take; null is a record without a value. */
export function spoilMessage(value: Buffer, random: Random): Buffer | null {
  return random.pick(SPOILS)(value, random);
}
