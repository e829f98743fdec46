/** Holds the compiled reader and the Avro library together: what the one takes, the other takes with the same values. */
import avro from 'avsc';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AvroReader, READ } from '../../../src/fraud/payments/decode-avro-reader.js';
import { readableSchema } from '../../../src/fraud/payments/decode-avro-schema.js';
import { FIELD, FIRST_NUMBER } from '../../../src/fraud/payments/plain-payment.js';
import { Refusal } from '../../../src/fraud/payments/refusal.js';
import { validatePayment } from '../../../src/fraud/payments/validate-payment.js';
import { only, recordSchema, required, varint } from './avro-fixtures.js';
import { FULL, rowsOfBothPaths } from './fixtures.js';

/** How a writer may have declared a field: name and type. */
const named = (name: string, ...aliases: string[]) => fc.constantFrom(name, ...aliases);
const textType = fc.constantFrom('string', 'bytes');
const optionalOf = (types: readonly string[]) =>
  fc.constantFrom(...types, ...types.map((type) => ['null', type]), ...types.map((type) => [type, 'null']));
const field = (name: fc.Arbitrary<string>, type: fc.Arbitrary<unknown>) => fc.record({ name, type });

const knownFields = fc
  .tuple(
    field(named('paymentId', 'payment_id'), textType),
    field(named('cardId', 'card_id'), textType),
    field(named('merchantId', 'merchant_id'), textType),
    field(named('amountMinor', 'amount_minor'), fc.constantFrom('int', 'long')),
    field(named('currency'), textType),
    field(named('occurredAt', 'occurred_at'), fc.constant({ type: 'long', logicalType: 'timestamp-millis' })),
    field(named('country'), optionalOf(['string'])),
    field(named('mcc'), optionalOf(['string'])),
    field(named('channel'), optionalOf(['string'])),
    field(named('status'), optionalOf(['string'])),
    field(named('deviceId', 'device_id'), optionalOf(['string'])),
    field(named('ip'), optionalOf(['string'])),
    field(named('latitude'), optionalOf(['double', 'float', 'int', 'long'])),
    field(named('longitude'), optionalOf(['double', 'float', 'int', 'long'])),
  )
  .chain((fields) => fc.shuffledSubarray(fields.slice(6)).map((some) => [...fields.slice(0, 6), ...some]));

const foreignType = fc.constantFrom<unknown>(
  'boolean',
  'float',
  'double',
  'long',
  'string',
  ['null', 'string', 'long'],
  { type: 'array', items: 'string' },
  { type: 'array', items: { type: 'array', items: 'int' } },
  { type: 'map', values: ['null', 'double'] },
  { type: 'enum', name: 'E', symbols: ['A', 'B', 'C'] },
  { type: 'fixed', name: 'F', size: 7 },
  recordSchema(
    [
      { name: 'x', type: ['null', 'long'] },
      { name: 'next', type: ['null', 'Deep'] },
    ],
    { name: 'Deep' },
  ),
);
const writerSchema = fc
  .tuple(knownFields, fc.option(foreignType), fc.option(foreignType))
  .chain(([fields, ...foreign]) => {
    const more = foreign.flatMap((type, i) => (type === null ? [] : [{ name: `foreign${i}`, type }]));
    const distinct = JSON.stringify(more[0]?.type) === JSON.stringify(more[1]?.type) ? more.slice(0, 1) : more;
    return fc.shuffledSubarray([...fields, ...distinct], { minLength: fields.length + distinct.length });
  })
  .map((fields) => recordSchema(fields));

const ids = fc.oneof(
  fc.constantFrom(
    'tx-1',
    'card-9',
    '4111111111111111',
    '',
    'ü',
    '\ud83d\ude00',
    'a\nb',
    'x'.repeat(64),
    'x'.repeat(65),
  ),
  fc.string({ maxLength: 12 }),
);
const values = fc.record({
  ids,
  amountMinor: fc.oneof(fc.integer({ min: 0, max: 5_000_000 }), fc.constantFrom(-1, 0, 2 ** 31 - 1)),
  occurredAt: fc.oneof(fc.constantFrom(FULL.occurredAt, 0, -1, 2 ** 53 - 2), fc.integer({ min: 0, max: 4e12 })),
  currency: fc.constantFrom('EUR', 'USD', 'eur', 'EURO', ''),
  optional: fc.constantFrom('BE', '5411', 'pos', 'requested', '10.0.0.1', '::1', 'é', '', 'x'.repeat(80)),
  degrees: fc.oneof(fc.constantFrom(0, 1, -90, 91, 180, -181), fc.integer({ min: -200, max: 200 })),
  isSet: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
});
type Values = typeof values extends fc.Arbitrary<infer V> ? V : never;

function drawnValue(schema: ReturnType<typeof recordSchema>, drawn: Values): Record<string, unknown> {
  const camel = (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  let optional = 0;
  const known: Record<string, () => unknown> = {
    paymentId: () => drawn.ids,
    cardId: () => drawn.ids,
    merchantId: () => drawn.ids,
    amountMinor: () => drawn.amountMinor,
    occurredAt: () => drawn.occurredAt,
    currency: () => drawn.currency,
  };
  return Object.fromEntries(
    (schema.fields as { name: string; type: unknown }[]).map(({ name, type }) => {
      if (name.startsWith('foreign')) return [name, avro.Type.forSchema(type as avro.Schema).random()];
      const field = camel(name);
      const isNullable = Array.isArray(type);
      const draw = known[field] ?? (() => (field.endsWith('tude') ? drawn.degrees : drawn.optional));
      const value = isNullable && drawn.isSet[optional++ % 8] !== true ? null : draw();
      return [name, type === 'bytes' ? Buffer.from(String(value)) : value];
    }),
  );
}

/** Reads by both paths and compares; the verdict. */
function readByBoth(schema: object, body: Buffer): number {
  const readable = readableSchema(JSON.stringify(schema));
  if ('code' in readable) throw new Error(`${readable.reason}: ${JSON.stringify(schema)}`);
  const reader = new AvroReader(readable);
  const bytes = Buffer.concat([Buffer.from('ab'), body, Buffer.from('cd')]);
  const verdict = reader.read(bytes, 2, 2 + body.length);
  if (verdict === READ.malformed) return verdict;
  let whole: unknown;
  try {
    whole = readable.readValue(body);
  } catch (error) {
    if (verdict === READ.plain) throw error;
    return verdict;
  }
  const payment = validatePayment(whole, null);
  if (verdict !== READ.plain) return verdict;
  if (payment instanceof Refusal) throw new Error(`taken, though refused: ${payment.message}`);
  const read = Object.entries(FIELD).flatMap(([name, field]) => {
    if (!reader.has(field)) return [];
    return [[name, field < FIRST_NUMBER ? String(reader.textAt(field)) : reader.number[field]]];
  });
  expect(Object.fromEntries(read)).toEqual(payment);
  const [inPlace, copied] = rowsOfBothPaths(reader, bytes, payment);
  expect(inPlace).toEqual(copied);
  return verdict;
}

describe('the two ways of reading Avro', () => {
  it('give the same payments, whatever schema and values a writer has', () => {
    const verdicts: number[] = [];
    fc.assert(
      fc.property(writerSchema, values, (schema, drawn) => {
        const type = avro.Type.forSchema(schema as unknown as avro.Schema);
        const verdict = readByBoth(schema, type.toBuffer(drawnValue(schema, drawn)));
        expect(verdict).not.toBe(READ.malformed);
        verdicts.push(verdict);
      }),
      { numRuns: 1_500 },
    );
    expect(new Set(verdicts)).toEqual(new Set([READ.plain, READ.unsure]));
  });

  it('take the same of bytes that were changed on the way', () => {
    const verdicts: number[] = [];
    const change = fc.tuple(fc.nat(400), fc.nat(255), fc.nat(3));
    fc.assert(
      fc.property(writerSchema, values, fc.array(change, { minLength: 1, maxLength: 3 }), (schema, drawn, changes) => {
        const type = avro.Type.forSchema(schema as unknown as avro.Schema);
        let body = type.toBuffer(drawnValue(schema, drawn));
        for (const [place, byte, how] of changes) {
          const at = place % body.length;
          const end = how === 3 ? at + 1 : how === 2 ? at : at + 1;
          body = Buffer.concat([body.subarray(0, at), Buffer.from(how === 1 ? [] : [byte]), body.subarray(end)]);
        }
        verdicts.push(readByBoth(schema, body));
      }),
      { numRuns: 2_000 },
    );
    expect(new Set(verdicts).size).toBeGreaterThanOrEqual(3);
  });

  it('hold every whole number up to 2^53 exactly, of either sign', () => {
    const schema = recordSchema([...required.filter(({ name }) => name !== 'amountMinor'), ...only('amountMinor')]);
    const readable = readableSchema(JSON.stringify(schema));
    if ('code' in readable) throw new Error(readable.reason);
    const reader = new AvroReader(readable);
    const type = avro.Type.forSchema(schema as unknown as avro.Schema);
    const head = type.toBuffer({ ...FULL, amountMinor: 0 }).subarray(0, -1);
    const whole = fc.oneof(
      fc.maxSafeInteger(),
      fc.integer(),
      fc.nat(52).map((power) => -(2 ** power) - 1),
    );
    fc.assert(
      fc.property(whole, (amountMinor) => {
        // The library writes and reads whole numbers below -2^52 wrongly: the bytes are made here.
        const body = Buffer.concat([head, varint(BigInt(amountMinor))]);
        expect(reader.read(body, 0, body.length)).toBeLessThan(READ.malformed);
        expect(reader.number[FIELD.amountMinor]).toBe(amountMinor);
      }),
      { numRuns: 1_000 },
    );
  });

  it('never spend long on any bytes', () => {
    fc.assert(
      fc.property(writerSchema, fc.uint8Array({ maxLength: 400 }), (schema, noise) => {
        const startedAt = performance.now();
        readByBoth(schema, Buffer.from(noise));
        expect(performance.now() - startedAt).toBeLessThan(1_000);
      }),
      { numRuns: 1_000 },
    );
  });
});
