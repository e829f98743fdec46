/** Payments in Avro on a real broker and a real registry, through real processes of the service. */
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { joinLarge, readAlerts, readTopic, text } from '../../scripts/prove/outputs.js';
import { startService } from '../../scripts/prove/service.js';
import { type RunPlace, type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { StateFollower } from '../../scripts/prove/state-follower.js';
import { parsePayment } from '../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../src/fraud/payments/encode-json.js';
import type { Payment } from '../../src/fraud/payments/payment.js';
import { cardWorld } from '../../src/fraud/world/card-world.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { DEAD_LETTER_HEADERS } from '../../src/stream/pipeline/dead-letters.js';
import {
  bodyOf,
  CANONICAL_SCHEMA,
  framed,
  only,
  recordSchema,
  required,
  without,
} from '../unit/payments/avro-fixtures.js';

const root = join(import.meta.dirname, '..', '..');
const script = pathToFileURL(join(root, 'scripts', 'registry', 'apicurio.ts')).href;
const { startRegistry, registerSchema } = (await import(script)) as typeof import('../../scripts/registry/apicurio.js');

const PARTITIONS = 2;
const CARDS = 300;
const WAIT_MS = 45_000;

const V1 = recordSchema([...required, ...only('latitude', 'longitude')]);
const V2 = recordSchema([...required, ...only('latitude', 'longitude', 'country', 'deviceId')]);
const V3 = recordSchema([
  { name: 'tiers', type: { type: 'array', items: 'string' }, default: [] },
  ...only(
    'paymentId',
    'cardId',
    'amountMinor',
    'currency',
    'occurredAt',
    'latitude',
    'longitude',
    'country',
    'deviceId',
  ),
  { name: 'merchant_id', type: 'string', aliases: ['merchantId'] },
]);

/** Payments of a small world with much fraud in it. */
function somePayments(seed: number, count: number): Payment[] {
  const world = cardWorld({
    seed,
    cards: CARDS,
    merchants: 120,
    startMs: Date.UTC(2025, 0, 1),
    rhythm: 'even',
    fraudPerThousand: 20,
  });
  const payments: Payment[] = [];
  while (payments.length < count) {
    for (const { value } of world.next(Number.MAX_SAFE_INTEGER, 100)) {
      if (value === null || payments.length === count) continue;
      payments.push(parsePayment(Buffer.from(value)));
    }
  }
  return payments;
}

const inVersion = (schema: object, payment: Payment): Buffer => {
  const nulls = { latitude: null, longitude: null, country: null, deviceId: null };
  return bodyOf(schema, { ...nulls, tiers: ['gold'], merchant_id: payment.merchantId, ...payment });
};

describe('payments in Avro on Kafka', () => {
  let surroundings: Surroundings;
  let registry: Awaited<ReturnType<typeof startRegistry>>;

  beforeAll(async () => {
    surroundings = await setUp({ port: 19_571, partitions: PARTITIONS });
    registry = await startRegistry({ port: 18_084, output: surroundings.path('registry.log') });
  });
  afterAll(async () => {
    await registry?.kill();
    await surroundings?.close();
  });

  /** A service on `topic`, followed as far as it has committed. */
  async function startOn(name: string, topic: string, ...flags: string[]) {
    const place = await surroundings.place(name, topic, flags);
    const log = surroundings.path(name, 'service.log');
    const follower = await StateFollower.open(surroundings.backend, place.configuration.topics.stateLog, [
      CARDS,
      CARDS,
    ]);
    const service = startService([...place.flags, `--data-dir=${surroundings.path(name, 'data')}`], log);
    const committed = () => follower.committed.reduce((sum, offset) => sum + offset, 0);
    return {
      place,
      committed,
      said: () => readFileSync(log, 'utf8'),
      until: (count: number) =>
        follower.when(() => committed() >= count, WAIT_MS, `${count} of ${name}`, service.unexpectedEnd),
      end: async (gently = true) => {
        if (gently) expect((await service.stop()).code).toBe(0);
        await service.kill();
        await follower.close();
      },
    };
  }
  const avroFlags = () => [`--registry-url=${registry.url}`, '--registry-timeout-ms=500'];

  async function write(topic: string, messages: readonly { readonly key: string; readonly value: Buffer }[]) {
    const writer = await surroundings.backend.openWriter();
    for (let at = 0; at < messages.length; at += 500) {
      await writer.write(
        messages.slice(at, at + 500).map(({ key, value }) => ({
          topic,
          partition: partitionOfKey(Buffer.from(key), PARTITIONS),
          key: Buffer.from(key),
          value,
          headers: [],
          timestampMs: Date.now(),
        })),
      );
    }
    await writer.close();
  }
  const outcomes = async ({ configuration }: RunPlace) =>
    (await readAlerts(surroundings.backend, configuration.topics.alerts))
      .map(({ id, digest }) => `${id} ${digest}`)
      .sort();

  it('go on without the registry as far as their schemas are known, wait where not, and lose nothing', async () => {
    const topic = await surroundings.inputTopic('versions');
    const ids: number[] = [];
    for (const version of [V1, V2, V3]) ids.push(await registerSchema(registry.url, 'versions-value', version));
    const schemas = [V1, V2, V3];
    const payments = somePayments(5, 6_000);
    const message = (payment: Payment, version: number) => ({
      key: payment.cardId as string,
      value: framed(ids[version], inVersion(schemas[version], payment)),
    });
    const run = await startOn('outage', topic, '--payments-format=avro', ...avroFlags());
    try {
      await write(
        topic,
        payments.slice(0, 2_000).map((payment, i) => message(payment, i % 2)),
      );
      await run.until(2_000);
      registry.suspend();
      await write(
        topic,
        payments.slice(2_000, 4_000).map((payment, i) => message(payment, i % 2)),
      );
      await run.until(4_000);
      await write(
        topic,
        payments.slice(4_000, 6_000).map((payment, i) => message(payment, i % 3)),
      );
      await expect
        .poll(() => run.said(), { timeout: 30_000, interval: 100 })
        .toMatch(/not known here and .*; payments are held back/);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(run.committed()).toBeLessThan(6_000);
      registry.resume();
      await run.until(6_000);
    } finally {
      registry.resume();
      await run.end();
    }
    const undisturbed = await startOn('calm', topic, '--payments-format=avro', ...avroFlags());
    await undisturbed.until(6_000).finally(() => undisturbed.end());
    const alerts = await outcomes(run.place);
    expect(alerts.length).toBeGreaterThan(20);
    expect(await outcomes(undisturbed.place)).toEqual(alerts);
    expect(await readTopic(surroundings.backend, run.place.configuration.topics.deadLetters)).toEqual([]);
  });

  it('stand beside payments in JSON, on one topic and on two; what cannot be read keeps its schema id', async () => {
    const mixed = await surroundings.inputTopic('mixed');
    const plain = await surroundings.inputTopic('plain');
    const good = await registerSchema(registry.url, 'mixed-value', CANONICAL_SCHEMA);
    const other = await registerSchema(registry.url, 'other-value', recordSchema(without('amountMinor')));
    const payments = somePayments(6, 1_000);
    const json = payments.map((payment) => ({ key: payment.cardId as string, value: encodePayment(payment) }));
    const both = payments.map((payment, i) => {
      const full = { country: null, mcc: null, channel: null, status: null, deviceId: null, ip: null };
      const body = bodyOf(CANONICAL_SCHEMA, { ...full, latitude: null, longitude: null, ...payment });
      return i % 2 === 0 ? json[i] : { key: payment.cardId as string, value: framed(good, body) };
    });
    const body = both[1].value.subarray(5);
    const bad = [
      ['schema-unknown', '1999999', framed(1_999_999, body)],
      ['schema-incompatible', String(other), framed(other, body)],
      ['malformed-avro', String(good), framed(good, body.subarray(0, body.length - 3))],
      ['malformed-framing', '', Buffer.from([0, 1])],
    ] as const;
    const messages = [...both, ...bad.map(([, , value], i) => ({ key: `bad-${i}`, value }))];
    const [auto, alone] = await Promise.all([
      startOn('auto', mixed, '--payments-format=auto', ...avroFlags()),
      startOn('alone', plain),
    ]);
    try {
      await write(mixed, messages);
      await write(plain, json);
      await Promise.all([auto.until(messages.length), alone.until(json.length)]);
    } finally {
      await auto.end();
      await alone.end();
    }
    const letters = joinLarge(await readTopic(surroundings.backend, auto.place.configuration.topics.deadLetters));
    const told = letters.map(({ headers, value }) => ({
      code: text(headers, DEAD_LETTER_HEADERS.code),
      id: text(headers, DEAD_LETTER_HEADERS.schemaId),
      message: text(headers, DEAD_LETTER_HEADERS.message),
      value: value?.toString('hex'),
    }));
    expect(told).toHaveLength(bad.length);
    for (const [code, id, value] of bad) {
      const letter = told.find((one) => one.code === code);
      expect(letter, code).toMatchObject({ id, value: value.toString('hex') });
      if (id !== '') expect(letter?.message).toContain(`schema ${id}`);
    }
    // Ids name the topic and place; the rest of what is found must not depend on the format.
    const found = async ({ configuration }: RunPlace) =>
      (await readAlerts(surroundings.backend, configuration.topics.alerts)).map(({ summary }) => summary).sort();
    const alerts = await found(alone.place);
    expect(alerts.length).toBeGreaterThan(3);
    expect(await found(auto.place)).toEqual(alerts);
  });

  it('past the time to wait the service stops with the reason', async () => {
    const topic = await surroundings.inputTopic('patience');
    const id = await registerSchema(registry.url, 'patience-value', V2);
    const messages = somePayments(7, 50).map((payment) => ({
      key: payment.cardId as string,
      value: framed(id, inVersion(V2, payment)),
    }));
    await write(topic, messages);
    registry.suspend();
    try {
      const run = await startOn('patience', topic, '--payments-format=avro', '--registry-wait-ms=1000', ...avroFlags());
      await expect(run.until(50)).rejects.toThrow(/ended by itself \(code 1/);
      expect(run.said()).toMatch(/registry-unavailable/);
      expect(run.said()).toMatch(/Nothing is lost/);
      expect(run.committed()).toBe(0);
      await run.end(false);
    } finally {
      registry.resume();
    }
  });

  it.skipIf(!hasPythonClient())('come from Python in three schema versions', async () => {
    const topic = await surroundings.inputTopic('python');
    const file = surroundings.path('payments.ndjson');
    const payments = somePayments(8, 3_000);
    writeFileSync(file, payments.map((payment) => JSON.stringify(payment)).join('\n'));
    const run = await startOn('python', topic, '--payments-format=avro', ...avroFlags());
    try {
      const produce = join(root, 'examples', 'produce-avro', 'produce.py');
      const args = [produce, '--brokers', surroundings.brokers.join(','), '--registry', registry.url, '--topic', topic];
      const { stdout } = await promisify(execFile)(
        'python3',
        [...args, '--file', file, '--count', '3000', '--versions', '1,2', '--later', '3@1500'],
        { timeout: 30_000 },
      );
      expect(stdout).toContain('written 3000 of 3000 payments');
      await run.until(3_000);
    } finally {
      await run.end();
    }
    expect(await readTopic(surroundings.backend, run.place.configuration.topics.deadLetters)).toEqual([]);
    expect((await outcomes(run.place)).length).toBeGreaterThan(10);
  });
});

function hasPythonClient(): boolean {
  try {
    execFileSync('python3', ['-c', 'import confluent_kafka.schema_registry.avro'], {
      stdio: 'ignore',
      timeout: 20_000,
    });
    return true;
  } catch {
    // Not installed: the example cannot run here.
    return false;
  }
}
