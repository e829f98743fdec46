import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tokeniseCard } from '../../../src/fraud/payments/card-token.js';
import { anyDecoder } from '../../../src/fraud/payments/decode-any.js';
import { PAYMENT_AVRO } from '../../../src/fraud/payments/decode-avro-schema.js';
import { jsonDecoder } from '../../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import { DEAD_LETTER_HEADERS } from '../../../src/stream/pipeline/dead-letters.js';
import {
  AvroWorld,
  bodyOf,
  CANONICAL_SCHEMA,
  framed,
  only,
  recordSchema,
  required,
  varint,
  without,
} from './avro-fixtures.js';
import { FULL, PLAIN, recordsOf, rowOf } from './fixtures.js';

const NULLS = {
  country: null,
  mcc: null,
  channel: null,
  status: null,
  deviceId: null,
  ip: null,
  latitude: null,
  longitude: null,
};
const full = { ...FULL };
const plain = { ...NULLS, ...PLAIN };

describe('a payment in Avro', () => {
  it('has its canonical schema in schemas/payment.avsc, for producers', () => {
    const file = readFileSync(join(import.meta.dirname, '..', '..', '..', 'schemas', 'payment.avsc'), 'utf8');
    expect(JSON.parse(file)).toEqual(PAYMENT_AVRO);
  });

  it.each([
    ['with every field', full, FULL],
    ['with the required fields alone', plain, PLAIN],
  ])('is read %s, into columns and as a whole', async (_, value, payment) => {
    const world = new AvroWorld();
    const bytes = world.write(CANONICAL_SCHEMA, value);
    const { batch, refusals } = await world.decode(bytes);
    expect(refusals).toEqual([null]);
    expect(world.decoder.counters.strict).toBe(0);
    expect(world.decoder.parse(bytes)).toEqual(payment);
    expect([batch.paymentId(0), batch.cardId(0), batch.merchantId(0)]).toEqual(['tx-1', 'card-596', 'merchant-3156']);
    expect([batch.amountMinor[0], batch.eventTimeMs[0]]).toEqual([5716, 1_522_540_831_000]);
    expect([batch.latitude[0], batch.longitude[0]]).toEqual([
      payment.latitude ?? Number.NaN,
      payment.longitude ?? Number.NaN,
    ]);
    expect(batch.country[0]).toBe(payment.country === undefined ? 0 : 0x4245);
  });

  it('has the same columns as the same payment in JSON', async () => {
    const world = new AvroWorld();
    const { batch } = await world.decode(world.write(CANONICAL_SCHEMA, full));
    const records = recordsOf([encodePayment(FULL)]);
    const json = new PaymentBatch(1, 0);
    Object.assign(json, { records });
    expect(jsonDecoder().decode(records, 0, json, 0)).toBeNull();
    expect(rowOf(batch, 0)).toEqual(rowOf(json, 0));
  });

  it('may be named otherwise as far as the aliases go, and hold fields of any type that we do not know', async () => {
    const schema = recordSchema(
      [
        { name: 'tags', type: { type: 'array', items: 'string' } },
        { name: 'payment_id', type: 'string' },
        { name: 'extra', type: { type: 'map', values: ['null', 'long', { type: 'array', items: 'double' }] } },
        { name: 'card_id', type: 'string' },
        { name: 'risk', type: { type: 'enum', name: 'Risk', symbols: ['LOW', 'HIGH'] } },
        { name: 'merchant_id', type: 'bytes' },
        { name: 'amount_minor', type: 'int' },
        { name: 'hash', type: { type: 'fixed', name: 'Hash', size: 4 } },
        { name: 'currency', type: 'string' },
        { name: 'occurred_at', type: { type: 'long', logicalType: 'timestamp-millis' } },
        { name: 'ok', type: 'boolean' },
        {
          name: 'nested',
          type: recordSchema(
            [
              { name: 'f', type: 'float' },
              { name: 'none', type: 'null' },
            ],
            { name: 'Nested' },
          ),
        },
        { name: 'latitude', type: 'float' },
        { name: 'longitude', type: ['int', 'null'] },
      ],
      { namespace: 'com.shop' },
    );
    const world = new AvroWorld();
    const value = {
      tags: ['a', 'b'],
      payment_id: 'tx-1',
      extra: { a: null, b: { long: 2 ** 50 }, c: { array: [1, 2] } },
      card_id: 'card-596',
      risk: 'HIGH',
      merchant_id: Buffer.from('merchant-3156'),
      amount_minor: 5716,
      hash: Buffer.alloc(4, 1),
      currency: 'EUR',
      occurred_at: 1_522_540_831_000,
      ok: true,
      nested: { f: 1.5, none: null },
      latitude: 0.5,
      longitude: -3,
    };
    const wrapped = bodyWith(schema, value);
    const bytes = framed(world.registry.register(schema), wrapped);
    const { refusals } = await world.decode(bytes);
    expect(refusals).toEqual([null]);
    expect(world.decoder.counters.strict).toBe(0);
    expect(world.decoder.parse(bytes)).toEqual({ ...PLAIN, latitude: 0.5, longitude: -3 });
  });

  it('is read in several writer versions at once, and in one that comes up later', async () => {
    const world = new AvroWorld();
    const v1 = recordSchema(required);
    const v2 = recordSchema([...required, ...only('country')]);
    const one = world.write(v1, PLAIN);
    const two = world.write(v2, { ...PLAIN, country: 'BE' });
    const first = await world.decode(one, two, one);
    expect(first.refusals).toEqual([null, null, null]);
    expect([...first.batch.country]).toEqual([0, 0x4245, 0]);
    const three = world.write(
      recordSchema([{ name: 'loyalty', type: ['null', 'string'], default: null }, ...required]),
      {
        ...PLAIN,
        loyalty: 'gold',
      },
    );
    expect(await world.codes(three, one, two)).toEqual([null, null, null]);
    expect(world.registry.requests).toBe(3);
  });

  it('takes the strict path for texts that are not plain, with the same result', async () => {
    const world = new AvroWorld();
    const bytes = world.write(CANONICAL_SCHEMA, { ...full, merchantId: 'Café №5' });
    const { batch, refusals } = await world.decode(bytes);
    expect(refusals).toEqual([null]);
    expect([batch.merchantId(0), world.decoder.counters.strict]).toEqual(['Café №5', 1]);
  });

  it('has a card number in clear replaced by its token, or is refused', async () => {
    const value = { ...plain, cardId: '4111 1111 1111 1111' };
    const strict = new AvroWorld();
    expect(await strict.codes(strict.write(CANONICAL_SCHEMA, value))).toEqual(['pan-in-clear']);
    const tokenise = tokeniseCard('a secret of more than sixteen');
    const world = new AvroWorld({ tokenise });
    const bytes = world.write(CANONICAL_SCHEMA, value);
    const { batch } = await world.decode(bytes);
    expect(batch.cardId(0)).toBe(tokenise('4111111111111111'));
    expect(world.decoder.parse(bytes).cardId).toBe(tokenise('4111111111111111'));
    expect(world.decoder.counters.tokenised).toBe(1);
  });
});

/** As avsc writes it, whose unions are wrapped only where they are ambiguous. */
const bodyWith = (schema: object, value: Record<string, unknown>) => {
  const { extra, ...rest } = value;
  const loose = extra as Record<string, unknown>;
  const unwrapped = Object.fromEntries(
    Object.entries(loose).map(([key, entry]) => [key, entry === null ? null : Object.values(entry as object)[0]]),
  );
  return bodyOf(schema, { ...rest, extra: unwrapped });
};

describe('what is no payment in Avro', () => {
  it.each([
    ['amountMinor', { amountMinor: -1 }, 'out-of-range'],
    ['amountMinor', { amountMinor: 1_000_000_000_001 }, 'out-of-range'],
    ['occurredAt', { occurredAt: 5 }, 'out-of-range'],
    ['cardId', { cardId: '' }, 'bad-format'],
    ['paymentId', { paymentId: 'x'.repeat(65) }, 'too-long'],
    ['merchantId', { merchantId: 'a\u0000b' }, 'bad-format'],
    ['currency', { currency: 'eur' }, 'bad-format'],
    ['channel', { channel: 'fax' }, 'bad-format'],
    ['latitude', { latitude: Number.NaN, longitude: 1 }, 'out-of-range'],
    ['latitude', { latitude: 1e300, longitude: 1 }, 'out-of-range'],
    ['longitude', { latitude: 1 }, 'missing-field'],
  ])('is refused by the rules of all payments: %s %j', async (field, change, code) => {
    const world = new AvroWorld();
    const { refusals } = await world.decode(world.write(CANONICAL_SCHEMA, { ...plain, ...change }));
    expect(refusals[0]).toMatchObject({ code, message: expect.stringContaining(field) });
    expect(refusals[0]?.message).toContain('(schema 1)');
    expect(refusals[0]?.details).toEqual({ [DEAD_LETTER_HEADERS.schemaId]: '1' });
  });

  it('never rounds a whole number beyond 2^53: it is refused', async () => {
    const world = new AvroWorld();
    const id = world.registry.register(CANONICAL_SCHEMA);
    const marker = bodyOf(CANONICAL_SCHEMA, { ...plain, amountMinor: 0 });
    const at = marker.indexOf(0, 1 + 4 + 1 + 8 + 1 + 13);
    for (const big of [2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)]) {
      const body = Buffer.concat([marker.subarray(0, at), varint(big), marker.subarray(at + 1)]);
      const { refusals } = await world.decode(framed(id, body));
      expect(refusals[0], String(big)).toMatchObject({
        code: 'out-of-range',
        message: expect.stringContaining('2^53'),
      });
    }
    const body = Buffer.concat([marker.subarray(0, at), varint(10n ** 12n), marker.subarray(at + 1)]);
    const { batch, refusals } = await world.decode(framed(id, body));
    expect([refusals[0], batch.amountMinor[0]]).toEqual([null, 1e12]);
  });

  it('is refused when it is not framed', async () => {
    const world = new AvroWorld();
    const codes = await world.codes(Buffer.alloc(0), Buffer.from([0, 0, 0]), Buffer.from('{"paymentId":1}'), null);
    expect(codes).toEqual(['malformed-framing', 'malformed-framing', 'malformed-framing', 'null-value']);
  });

  it('is refused with the reason when its schema is of no use', async () => {
    const world = new AvroWorld();
    const { registry } = world;
    const body = bodyOf(CANONICAL_SCHEMA, full);
    const cases: [string, object | string, string, RegExp][] = [
      ['lacks a required field', recordSchema(without('cardId')), 'schema-incompatible', /cardId/],
      [
        'another type',
        recordSchema([...without('amountMinor'), { name: 'amountMinor', type: 'string' }]),
        'schema-incompatible',
        /cannot read/,
      ],
      [
        'nullable where it must be there',
        recordSchema([...without('cardId'), { name: 'cardId', type: ['null', 'string'] }]),
        'schema-incompatible',
        /cannot read/,
      ],
      [
        'microseconds',
        recordSchema([
          ...without('occurredAt'),
          { name: 'occurredAt', type: { type: 'long', logicalType: 'timestamp-micros' } },
        ]),
        'schema-incompatible',
        /timestamp-millis/,
      ],
      ['another record', recordSchema(without(), { name: 'Refund' }), 'schema-incompatible', /Refund/],
      ['no record', '"string"', 'schema-incompatible', /record/],
      [
        'one field twice',
        recordSchema([...without(), { name: 'card_id', type: 'string' }]),
        'schema-incompatible',
        /ambiguous/,
      ],
      ['no schema', '{"type":"recor"}', 'schema-unusable', /Avro/],
    ];
    for (const [what, schema, code, reason] of cases) {
      const id = registry.register(schema);
      const { refusals } = await world.decode(framed(id, body));
      expect(refusals[0], what).toMatchObject({ code, details: { 'schema.id': String(id) } });
      expect(refusals[0]?.message, what).toMatch(reason);
      expect(refusals[0]?.message, what).toContain(`(schema ${id})`);
    }
    registry.put({ kind: 'unusable', reason: 'it is of type PROTOBUF' });
    expect(await world.codes(framed(cases.length + 1, body))).toEqual(['schema-unusable']);
    expect(await world.codes(framed(77, body), framed(0xffff_ffff, body))).toEqual([
      'schema-unknown',
      'schema-unknown',
    ]);
  });

  it('is refused wherever it is cut off, and with bytes left over', async () => {
    const world = new AvroWorld();
    const bytes = world.write(CANONICAL_SCHEMA, full);
    const cuts = Array.from({ length: bytes.length - 5 }, (_, at) => bytes.subarray(0, at + 5));
    const codes = await world.codes(...cuts, Buffer.concat([bytes, Buffer.from([0])]));
    expect(new Set(codes)).toEqual(new Set(['malformed-avro']));
  });
});

describe('hostile messages', () => {
  const withField = (type: unknown) => recordSchema([{ name: 'bomb', type }, ...required]);
  const tail = bodyOf(recordSchema(required), PLAIN);
  const node = recordSchema([{ name: 'next', type: ['null', 'Node'] }], { name: 'Node' });
  const doubling = (depth: number): object => {
    let type: unknown = recordSchema([], { name: 'R0' });
    for (let level = 1; level <= depth; level++) {
      type = recordSchema(
        [
          { name: 'a', type },
          { name: 'b', type: `fraud.payments.R${level - 1}` },
        ],
        { name: `R${level}` },
      );
    }
    return type as object;
  };

  it.each([
    ['a billion empty items', { type: 'array', items: 'null' }, [varint(10n ** 9n), varint(0n)]],
    ['a billion items that are not there', { type: 'array', items: 'int' }, [varint(10n ** 9n)]],
    ['a block of negative size', { type: 'array', items: 'int' }, [varint(-1n), varint(-3n), varint(0n)]],
    [
      'blocks without items, one after the other',
      { type: 'array', items: 'int' },
      [Buffer.alloc(60_000, Buffer.from([1, 0]))],
    ],
    ['a text of 2^62 bytes', 'string', [varint(2n ** 62n)]],
    ['a text of negative length', 'bytes', [varint(-5n)]],
    ['a number of sixty thousand bytes', 'long', [Buffer.alloc(60_000, 0xff)]],
    ['a branch that the union does not have', ['null', 'int'], [varint(7n)]],
    ['a negative branch', ['null', 'int'], [varint(-1n)]],
    ['a chain sixty thousand deep', node, [Buffer.alloc(60_000, 2)]],
    ['a schema that doubles with each level', doubling(14), []],
  ])('%s: refused in no time', async (_, type, parts) => {
    const world = new AvroWorld();
    const id = world.registry.register(withField(type));
    const startedAt = performance.now();
    const { refusals } = await world.decode(framed(id, Buffer.concat([...parts, tail])));
    expect(refusals[0]?.code).toBe('malformed-avro');
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  it.each([
    ['too deep', `${'{"type":"array","items":'.repeat(50)}"int"${'}'.repeat(50)}`],
    ['too large', JSON.stringify(recordSchema(required, { doc: 'x'.repeat(70_000) }))],
    [
      'of too many types',
      JSON.stringify(recordSchema(Array.from({ length: 1_100 }, (_, i) => ({ name: `f${i}`, type: 'int' })))),
    ],
    ['with a name that is code', JSON.stringify(recordSchema([{ name: 'a;process.exit()', type: 'int' }]))],
  ])('a schema %s never reaches the Avro library', async (_, schema) => {
    const world = new AvroWorld();
    expect(await world.codes(framed(world.registry.register(schema), tail))).toEqual(['schema-unusable']);
  });
});

describe('Avro and JSON on one topic', () => {
  it('are told apart by their first byte', async () => {
    const world = new AvroWorld();
    const both = anyDecoder(jsonDecoder(), world.decoder);
    const values = [
      encodePayment(FULL),
      world.write(CANONICAL_SCHEMA, full),
      Buffer.from('{'),
      framed(9, Buffer.from('x')),
      null,
    ];
    const records = recordsOf(values);
    const batch = new PaymentBatch(values.length, 0);
    Object.assign(batch, { records });
    await both.prepare?.(records, () => false);
    const codes = values.map((_, index) => both.decode(records, index, batch, index)?.code ?? null);
    expect(codes).toEqual([null, null, 'malformed-json', 'schema-unknown', 'null-value']);
    expect(both.parse(values[0] as Buffer)).toEqual(both.parse(values[1] as Buffer));
  });
});
