/**
 * Owns messages that are no payments, of every kind that a broken producer sends, each made out of a good one and with
 * the code under which it must be refused. Pure and seeded. Neighbours: `input.ts` strews them among payments, the test
 * of dead letters sends a thousand of them.
 */
import type { Random } from '../../src/fraud/world/random.js';

export interface GoodMessage {
  readonly key: Buffer;
  /** The payment's JSON. */
  readonly value: Buffer;
}

export interface BadMessage {
  readonly kind: string;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** The dead letter's `error.code`. */
  readonly code: string;
}

interface Kind {
  readonly name: string;
  readonly code: string;
  readonly spoil: (good: GoodMessage, random: Random) => Buffer | null;
  /** In place of the payment's own key, which so many bad messages share with good ones. */
  readonly key?: (random: Random) => Buffer | null;
}

const OVERSIZED_FROM = 64 * 1024 + 1;

type Json = Record<string, unknown>;
const rewritten =
  (change: (payment: Json) => unknown): Kind['spoil'] =>
  ({ value }) =>
    Buffer.from(JSON.stringify(change(JSON.parse(value.toString('utf8')) as Json)));
const having = (fields: Json): Kind['spoil'] => rewritten((payment) => ({ ...payment, ...fields }));
const bytes = (random: Random, length: number) => Buffer.from(Array.from({ length }, () => random.whole(0, 255)));
const truncated: Kind['spoil'] = ({ value }, random) => value.subarray(0, random.whole(1, value.length - 1));

/** A payment with so much padding that the value has `length` bytes: well-formed, and too large. */
function padded(value: Buffer, length: number): Buffer {
  const head = Buffer.concat([value.subarray(0, value.length - 1), Buffer.from(',"note":"')]);
  return Buffer.concat([head, Buffer.alloc(length - head.length - 2, 'x'), Buffer.from('"}')]);
}

/** The payment with more text before its closing brace. */
const withField =
  (text: string): Kind['spoil'] =>
  ({ value }) =>
    Buffer.concat([value.subarray(0, value.length - 1), Buffer.from(`,${text}}`)]);

const KINDS: readonly Kind[] = [
  { name: 'truncated', code: 'malformed-json', spoil: truncated },
  { name: 'empty', code: 'malformed-json', spoil: () => Buffer.alloc(0) },
  { name: 'no JSON', code: 'malformed-json', spoil: ({ key }) => Buffer.from(`paid by ${key.toString('latin1')}`) },
  { name: 'two payments', code: 'malformed-json', spoil: ({ value }) => Buffer.concat([value, value]) },
  { name: 'null value', code: 'null-value', spoil: () => null },
  { name: 'null key and value', code: 'null-value', spoil: () => null, key: () => null },
  {
    name: 'not UTF-8',
    code: 'not-utf8',
    spoil: ({ value }, random) => {
      const spoiled = Buffer.from(value);
      spoiled[random.whole(2, 9)] = 0xff;
      return spoiled;
    },
  },
  {
    name: 'random bytes under a binary key',
    code: 'not-utf8',
    spoil: (_good, random) => Buffer.concat([Buffer.of(0xc0), bytes(random, random.whole(0, 300))]),
    key: (random) => bytes(random, random.whole(1, 80)),
  },
  { name: 'array', code: 'not-an-object', spoil: rewritten((payment) => [payment]) },
  { name: 'number', code: 'not-an-object', spoil: () => Buffer.from('42') },
  { name: 'missing field', code: 'missing-field', spoil: rewritten(({ merchantId: _, ...rest }) => rest) },
  { name: 'amount as text', code: 'wrong-type', spoil: having({ amountMinor: '1200' }) },
  { name: 'card as number', code: 'wrong-type', spoil: having({ cardId: 4711 }) },
  { name: 'negative amount', code: 'out-of-range', spoil: having({ amountMinor: -1 }) },
  { name: 'fraction of a cent', code: 'bad-format', spoil: having({ amountMinor: 12.5 }) },
  { name: 'time before 2000', code: 'out-of-range', spoil: having({ occurredAt: 1_000 }) },
  { name: 'no currency code', code: 'bad-format', spoil: having({ currency: 'euro' }) },
  { name: 'field given twice', code: 'duplicate-field', spoil: withField('"amountMinor":1') },
  { name: 'unknown field given twice', code: 'duplicate-field', spoil: withField('"note":1,"n\\u006fte":2') },
  { name: 'long id', code: 'too-long', spoil: having({ merchantId: 'm'.repeat(65) }) },
  { name: 'null key, truncated', code: 'malformed-json', spoil: truncated, key: () => null },
  { name: 'empty key, truncated', code: 'malformed-json', spoil: truncated, key: () => Buffer.alloc(0) },
  {
    name: 'oversized',
    code: 'too-large',
    spoil: ({ value }, random) => padded(value, random.whole(OVERSIZED_FROM, OVERSIZED_FROM + 20_000)),
  },
];

export const BAD_KINDS: readonly string[] = KINDS.map(({ name }) => name);

/** The bad message of kind number `kind` (any whole number from 0: kinds go round) made out of `good`. */
export function badMessage(kind: number, good: GoodMessage, random: Random): BadMessage {
  const { name, code, spoil, key } = KINDS[kind % KINDS.length];
  return { kind: name, code, value: spoil(good, random), key: key === undefined ? good.key : key(random) };
}

/** As large a message as a topic takes that is too large for a payment. `length` bytes of value. */
export function oversized(good: GoodMessage, length: number): BadMessage {
  return { kind: 'oversized', code: 'too-large', key: good.key, value: padded(good.value, length) };
}
