/** Owns the tests of the check that a source is keyed as its reader trusts it to be, alone and in a task. */
import { crc32 } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import { StreamError } from '../../src/stream/errors.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { StepBatch } from '../../src/stream/pipeline/batch.js';
import { SourceKeys, type SourceKeysOptions } from '../../src/stream/runtime/source-keys.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { Task } from '../../src/stream/runtime/task.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { kitPipeline, makeInputs, reference, seeded, TOPICS } from './kit.js';
import { kitOptions, until } from './task-world.js';

const PARTITIONS = 4;
const BATCH = 256;
/** How long each takes, for the check. */
const BATCH_MS = 10_000;
const PAYMENTS = 40_000;

interface Paid {
  readonly paymentId: string;
  readonly cardId: string;
  readonly merchantId: string;
  readonly pan: string;
}

function payments(cards = 2_000): Paid[] {
  const random = seeded(3);
  return Array.from({ length: PAYMENTS }, (_, i) => {
    const card = Math.floor(random() * cards);
    const merchantId = `merchant-${Math.floor(random() * 300)}`;
    return { paymentId: `p-${i}`, cardId: `tok_${card * 7919}`, merchantId, pan: `4${String(card).padStart(15, '0')}` };
  });
}

type KeyOf = (paid: Paid) => string | null;
type PlaceOf = (key: Buffer | null, index: number) => number;

const murmur2: PlaceOf = (key, index) => (key === null ? index % PARTITIONS : partitionOfKey(key, PARTITIONS));

/** What partition 1 of a topic written like this does to the check. */
async function checked(
  keyOf: KeyOf,
  placeOf: PlaceOf = murmur2,
  overrides: Partial<SourceKeysOptions> = {},
  paid = payments(),
) {
  const counters: Record<string, number> = {};
  const options = {
    partitions: PARTITIONS,
    misplacedShare: 0.01,
    misplacedWindow: 10_000,
    partitionsNow: async () => PARTITIONS,
    ...overrides,
  };
  const count = (name: string, by: number) => {
    counters[name] = (counters[name] ?? 0) + by;
  };
  const warned: string[] = [];
  let batches = 0;
  const keys = new SourceKeys({ topic: 'in', partition: 1 }, options, count, {
    clock: { monotonic: () => batches * BATCH_MS },
    warn: (message) => warned.push(message),
  });
  const mine = paid
    .map((payment, i) => ({ payment, key: bufferOf(keyOf(payment)), i }))
    .filter(({ key, i }) => placeOf(key, i) === 1);
  let processed = 0;
  for (let at = 0; at < mine.length && keys.stop === null; at += BATCH) {
    const batch = filled(mine.slice(at, at + BATCH), at);
    batches++;
    await keys.look(batch.records);
    batch.count = batch.records.count;
    if (batch.records.count > 0 && keys.compare(batch)) processed += batch.records.count;
  }
  return { stop: keys.stop, counters, processed, of: mine.length, warned, batches };
}

const bufferOf = (text: string | null) => (text === null ? null : Buffer.from(text));

function filled(records: readonly { readonly payment: Paid; readonly key: Buffer | null }[], from: number): StepBatch {
  const batch = new StepBatch(BATCH);
  const bytes: Buffer[] = [];
  let length = 0;
  const put = (part: Buffer) => {
    bytes.push(part);
    length += part.length;
    return length - part.length;
  };
  records.forEach(({ payment, key }, i) => {
    batch.records.keyStart[i] = put(key ?? Buffer.alloc(0));
    batch.records.keyLength[i] = key === null ? -1 : key.length;
    batch.records.offset[i] = from + i;
    const card = Buffer.from(payment.cardId);
    batch.recordIndex[i] = i;
    batch.keyStart[i] = put(card);
    batch.keyLength[i] = card.length;
  });
  batch.records.bytes = Buffer.concat(bytes);
  batch.records.count = records.length;
  batch.count = records.length;
  batch.records.nextOffset = from + records.length;
  return batch;
}

describe('a source that is keyed by card', () => {
  it('passes where the key is the card, or anything else that each card has one of', async () => {
    const pan = await checked(({ pan }) => pan);
    expect(pan).toMatchObject({ stop: null, counters: {}, processed: pan.of });
    const card = await checked(({ cardId }) => cardId);
    expect(card).toMatchObject({ stop: null, counters: {}, processed: card.of });
    const customer = await checked(({ cardId }) => `customer-${cardId.length}-${cardId.slice(0, 7)}`);
    expect(customer).toMatchObject({ stop: null, counters: {}, processed: customer.of });
    expect(customer.of).toBeGreaterThan(5_000);
  });

  it('passes with any keys, and none, while it has one partition', async () => {
    const { stop, processed } = await checked(
      () => null,
      () => 1,
      { partitions: 1 },
    );
    expect({ stop, processed }).toEqual({ stop: null, processed: PAYMENTS });
  });

  it('is counted and goes on while few records are wrong', async () => {
    let nth = 0;
    const { stop, counters, processed, of } = await checked(
      ({ cardId }) => cardId,
      (key, i) => (nth++ % 500 === 0 ? 1 : murmur2(key, i)),
    );
    expect({ stop, processed }).toEqual({ stop: null, processed: of });
    expect(counters['keying.misplaced']).toBeGreaterThan(20);
    expect(Object.keys(counters)).toEqual(['keying.misplaced']);
  });

  it('is warned of at the first wrong record, and then once a minute with how many there were', async () => {
    const few = await checked(
      ({ cardId }) => cardId,
      (key, i) => (i === 5_000 ? 1 : murmur2(key, i)),
    );
    expect(few.warned).toHaveLength(few.counters['keying.misplaced'] ?? 0);
    let nth = 0;
    const { warned, batches } = await checked(
      ({ cardId, merchantId }) => (nth++ % 400 === 0 ? merchantId : cardId),
      (key, i) => (i % 500 === 0 ? 1 : murmur2(key, i)),
    );
    expect(warned.length).toBeGreaterThan(3);
    expect(warned.length).toBeLessThanOrEqual(1 + (batches * BATCH_MS) / 60_000);
    expect(warned[1]).toMatch(/in-1 .* [1-9]\d* on another partition/);
  });
});

describe('a source that is not keyed by card', () => {
  const expectStop = (stop: StreamError | null, message: RegExp) => {
    expect(stop?.code).toBe('source-not-keyed-by-card');
    expect(stop?.message).toMatch(message);
    expect(stop?.message).toContain('keying.mode');
  };

  it('stops the task without a single payment where records have no key', async () => {
    const { stop, processed, counters } = await checked(() => null);
    expectStop(stop, /without a key/);
    expectStop(stop, /101 of the 101 looked at in this window were wrong, and 1 % of 10000 is the limit/);
    expect(processed).toBe(0);
    expect(counters['keying.keyless']).toBe(101);
  });

  it('stops it where each is keyed by its merchant, though every key lies where it belongs', async () => {
    const { stop, processed, counters } = await checked(({ merchantId }) => merchantId);
    expectStop(stop, /one and the same card comes under several keys/);
    expect(processed).toBeLessThan(2_000);
    expect(counters['keying.misplaced']).toBeUndefined();
  });

  it('stops it where each is keyed by its own id, with many more cards than are remembered as well', async () => {
    expectStop((await checked(({ paymentId }) => paymentId)).stop, /several keys/);
    const many = await checked(({ paymentId }) => paymentId, murmur2, {}, payments(60_000));
    expectStop(many.stop, /several keys/);
    expect(many.processed).toBeLessThan(10_000);
  });

  it("names librdkafka's partitioner and its cure", async () => {
    const { stop, processed } = await checked(
      ({ cardId }) => cardId,
      (key) => crc32(key ?? '') % PARTITIONS,
    );
    expectStop(stop, /librdkafka.*murmur2_random/);
    expect(processed).toBe(0);
  });

  it('says no more than it knows of a partitioner nobody has heard of', async () => {
    const { stop } = await checked(
      ({ cardId }) => cardId,
      (key) => [...(key ?? [])].reduce((sum, byte) => sum + byte, 0) % PARTITIONS,
    );
    expectStop(stop, /another partition than Kafka's default partitioner .* the first at offset \d+/);
  });
});

describe('a task whose source gets more partitions', () => {
  const inputs = makeInputs(600, 60, seeded(9)).filter((input) => typeof input !== 'string');
  const AFTER = 6;
  let log: ReturnType<typeof makeMemoryLog>;
  let disk: MemoryDisk;

  beforeEach(async () => {
    log = makeMemoryLog({ maxRecordBytes: 600 });
    disk = new MemoryDisk();
    const admin = await log.open().openAdmin();
    await admin.ensure(Object.values(TOPICS).map((name) => ({ name, partitions: PARTITIONS, cleanup: 'delete' })));
  });

  const write = async (some: typeof inputs, partition?: number) => {
    const writer = await log.open().openWriter();
    await writer.write(
      some.map((input) => ({
        topic: TOPICS.source,
        ...(partition !== undefined && { partition }),
        key: Buffer.from(input.key),
        value: Buffer.from(JSON.stringify(input)),
        headers: [],
        timestampMs: 2_000_000,
      })),
    );
  };

  const task = (partition: number, partitions = PARTITIONS) =>
    new Task({
      partition,
      worker: 0,
      definition: kitPipeline(),
      backend: log.open(),
      openStore: memoryStateStore({ disk }),
      snapshots: memorySnapshotStore(disk),
      disk: disk.local,
      clock: systemClock,
      options: { ...kitOptions, hotKeys: 128 },
      say: () => {},
      sourceKeys: {
        partitions,
        misplacedShare: 0.01,
        misplacedWindow: 10_000,
        partitionsNow: async () => (await (await log.open().openAdmin()).partitionCount(TOPICS.source)) ?? 0,
      },
    });

  const partitionIn = (input: { readonly key: string }, partitions: number) =>
    partitionOfKey(Buffer.from(input.key), partitions);

  it('commits all before the first record of the new placement, stops there, and does so again', async () => {
    await write(inputs.slice(0, 300));
    await (await log.open().openAdmin()).grow(TOPICS.source, AFTER);
    await write(inputs.slice(300));
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const before = inputs.slice(0, 300).filter((input) => partitionIn(input, PARTITIONS) === partition);
      const after = inputs.slice(300).filter((input) => partitionIn(input, AFTER) === partition);
      const right = after.findIndex((input) => partitionIn(input, PARTITIONS) !== partition);
      expect(right).toBeGreaterThanOrEqual(0);
      for (let start = 0; start < 2; start++) {
        const stopped = task(partition);
        await expect(stopped.run()).rejects.toMatchObject({ code: 'partitions-added' });
        expect(stopped.status()).toMatchObject({ state: 'failed', committedOffset: before.length + right });
        expect(stopped.status().error?.message).toContain('fraud rescale');
      }
    }
    const counted = log.records(TOPICS.out).filter(({ value }) => JSON.parse(String(value)).seen !== undefined).length;
    expect(counted).toBe(await committed());
  });

  /** Records that all four tasks were to process: each once. */
  const committed = async () => {
    let sum = 0;
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const after = inputs.slice(300).filter((input) => partitionIn(input, AFTER) === partition);
      sum += inputs.slice(0, 300).filter((input) => partitionIn(input, PARTITIONS) === partition).length;
      sum += after.findIndex((input) => partitionIn(input, PARTITIONS) !== partition);
    }
    return sum;
  };

  it('goes on where no card moved to its partition', async () => {
    await write(inputs);
    await (await log.open().openAdmin()).grow(TOPICS.source, AFTER);
    const running = task(2);
    const run = running.run();
    const placed = inputs.filter((input) => partitionIn(input, PARTITIONS) === 2);
    // By hand: it belongs here under neither count, so it tells nothing of partitions that were added.
    const stray = inputs.find((input) => partitionIn(input, PARTITIONS) === 0 && partitionIn(input, AFTER) !== 2);
    const strays = stray === undefined ? [] : [stray];
    await write(strays, 2);
    const mine = [...placed, ...strays];
    await until(() => running.status().committedOffset === mine.length);
    running.stop();
    expect(await run).toBe('stopped');
    expect(running.status().counters['keying.misplaced']).toBe(1);
    const { out } = reference(mine);
    expect(
      log
        .records(TOPICS.out)
        .map(({ value }) => String(value))
        .sort(),
    ).toEqual(out);
  });

  it('stops before a batch in which a source turns out not to be keyed, with nothing of it processed', async () => {
    const writer = await log.open().openWriter();
    const wrong = inputs.map((input) => ({
      topic: TOPICS.source,
      partition: 0,
      key: null,
      value: Buffer.from(JSON.stringify(input)),
      headers: [],
      timestampMs: 2_000_000,
    }));
    await writer.write(wrong);
    const stopped = task(0);
    await expect(stopped.run()).rejects.toMatchObject({ code: 'source-not-keyed-by-card' });
    // 101 are one too many; batches hold 16.
    expect(stopped.status().committedOffset).toBe(96);
    expect(log.records(TOPICS.out).length).toBeGreaterThanOrEqual(96);
    expect(stopped.status().counters['keying.keyless']).toBe(101);
  });
});
