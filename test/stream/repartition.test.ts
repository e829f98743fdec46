/** Owns the tests of the first stage: payments from any topic, keyed by card, each once, with the place they came from. */
import { beforeEach, describe, expect, it } from 'vitest';
import { tokeniseCard } from '../../src/fraud/payments/card-token.js';
import { jsonDecoder } from '../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../src/fraud/payments/encode-json.js';
import type { Payment } from '../../src/fraud/payments/payment.js';
import { paymentSource } from '../../src/fraud/payments/payment-source.js';
import { cardRepartition } from '../../src/fraud/repartition.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { DEAD_LETTER_HEADERS } from '../../src/stream/pipeline/dead-letters.js';
import { repartitionPipeline } from '../../src/stream/pipeline/repartition.js';
import type { RecordHeader } from '../../src/stream/records.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { Task } from '../../src/stream/runtime/task.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { kitOptions, track, until } from './task-world.js';

const BY_CARD = 'by-card';
const KEYED_PARTITIONS = 3;
const PAN = '4111111111111111';
const NOW = Date.UTC(2026, 0, 5);

let log: ReturnType<typeof makeMemoryLog>;
let disk: MemoryDisk;
const decoder = jsonDecoder({ tokenise: tokeniseCard('a-secret-of-many-bytes') });

beforeEach(async () => {
  log = makeMemoryLog({ maxRecordBytes: 600 });
  disk = new MemoryDisk();
  const admin = await log.open().openAdmin();
  await admin.ensure([
    { name: 'pay.eu', partitions: 2, cleanup: 'delete' },
    { name: BY_CARD, partitions: KEYED_PARTITIONS, cleanup: 'delete' },
    { name: 'dead', partitions: 1, cleanup: 'delete' },
    { name: 'log', partitions: 2, cleanup: 'delete' },
  ]);
});

/** Texts beyond ASCII are decoded into a buffer that the next batch uses again. */
const payment = (i: number, cardId = i % 3 === 0 ? `kärtchen-${i % 41}` : `card-${i % 40}`): Payment =>
  ({
    paymentId: `p-${i}`,
    cardId,
    merchantId: `m-${i % 7}`,
    amountMinor: 100 + i,
    currency: 'EUR',
    occurredAt: NOW + i,
  }) as Payment;

async function write(values: readonly Buffer[], partition: number, headers: readonly RecordHeader[] = []) {
  const writer = await log.open().openWriter();
  await writer.write(
    values.map((value, i) => ({ topic: 'pay.eu', partition, key: null, value, headers, timestampMs: NOW + i })),
  );
}

const taskParts = (partition: number) => ({
  partition,
  worker: 0,
  backend: log.open(),
  openStore: memoryStateStore({ disk }),
  snapshots: memorySnapshotStore(disk),
  disk: disk.local,
  clock: systemClock,
  options: { ...kitOptions, stateLogTopic: 'log' },
  say: () => {},
});

function firstStage(partition: number) {
  const definition = cardRepartition({
    pipeline: 'fraud',
    topic: 'pay.eu',
    byCardTopic: BY_CARD,
    decoder,
    deadLettersTopic: 'dead',
    deadLetterLimits: { burst: 50, share: 0.9, shareWindow: 1_000 },
  });
  return new Task({ ...taskParts(partition), definition });
}

/** Runs tasks of a partition, one after another, until all of it is committed. */
async function runToEnd(partition: number): Promise<void> {
  const [, end] = await ends(partition);
  for (;;) {
    const task = firstStage(partition);
    const running = track(task.run());
    await until(() => running.ended !== null || task.status().committedOffset >= end);
    if (running.ended === 'fenced') continue;
    task.stop();
    await running.promise;
    return;
  }
}

async function ends(partition: number): Promise<[number, number]> {
  const { start, end } = (await (await log.open().openAdmin()).ranges('pay.eu'))[partition];
  return [start, end];
}

const textOf = (headers: readonly RecordHeader[], name: string) =>
  headers.filter(([header]) => header === name).map(([, value]) => value.toString());

describe('the first stage', () => {
  it('passes each payment on once, byte for byte, where its card belongs, in the order of its partition', async () => {
    const values = [0, 1].map((partition) =>
      Array.from({ length: 300 }, (_, i) => encodePayment(payment(i * 2 + partition))),
    );
    await write(values[0], 0);
    await write(values[1], 1);
    for (let i = 0; i < 3; i++) log.faults.failNextCommit(i === 1 ? 'after' : 'before');
    await runToEnd(0);
    await runToEnd(1);
    const passed = log.records(BY_CARD);
    expect(passed).toHaveLength(600);
    for (const { key, value, partition, headers } of passed) {
      const { cardId } = JSON.parse(String(value));
      expect(String(key)).toBe(cardId);
      expect(partition).toBe(partitionOfKey(Buffer.from(cardId), KEYED_PARTITIONS));
      const [from] = textOf(headers, 'origin.partition');
      const [offset] = textOf(headers, 'origin.offset');
      expect(textOf(headers, 'origin.topic')).toEqual(['pay.eu']);
      expect(value).toEqual(values[Number(from)][Number(offset)]);
    }
    for (const from of ['0', '1']) {
      for (let partition = 0; partition < KEYED_PARTITIONS; partition++) {
        const offsets = passed
          .filter((record) => record.partition === partition && textOf(record.headers, 'origin.partition')[0] === from)
          .map(({ headers }) => Number(textOf(headers, 'origin.offset')[0]));
        expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
      }
    }
  });

  it('keeps headers and the record’s own time, and trusts nobody else’s word on where it came from', async () => {
    const headers: RecordHeader[] = [
      ['traceparent', Buffer.from('00-11111111111111111111111111111111-2222222222222222-01')],
      ['origin.offset', Buffer.from('77')],
      ['blob', Buffer.from([0, 255, 254])],
    ];
    await write([encodePayment(payment(1))], 1, headers);
    await runToEnd(1);
    const [record] = log.records(BY_CARD);
    expect(record.headers.slice(0, 2)).toEqual([headers[0], headers[2]]);
    expect(textOf(record.headers, 'origin.offset')).toEqual(['0']);
    expect(record.timestampMs).toBe(NOW);
  });

  it('keys a card number in clear by its token, and leaves the payment as it came', async () => {
    const value = encodePayment(payment(1, PAN));
    await write([value, encodePayment(payment(2)), encodePayment(payment(3, PAN))], 0);
    await runToEnd(0);
    const tokens = log.records(BY_CARD).filter(({ key }) => String(key).startsWith('tok_'));
    expect(tokens).toHaveLength(2);
    expect(new Set(tokens.map(({ key }) => String(key))).size).toBe(1);
    expect(log.records(BY_CARD).some((record) => record.value?.equals(value))).toBe(true);
  });

  it('makes a dead letter of what has no card to be read, with its true place', async () => {
    await write([encodePayment(payment(1)), Buffer.from('{"no":"payment"}'), encodePayment(payment(2))], 1);
    await runToEnd(1);
    expect(log.records(BY_CARD)).toHaveLength(2);
    const [letter] = log.records('dead');
    expect(String(letter.value)).toBe('{"no":"payment"}');
    expect(textOf(letter.headers, DEAD_LETTER_HEADERS.topic)).toEqual(['pay.eu']);
    expect(textOf(letter.headers, DEAD_LETTER_HEADERS.offset)).toEqual(['1']);
  });

  it('goes on where it was after each restart', async () => {
    for (let round = 0; round < 4; round++) {
      await write(
        Array.from({ length: 200 }, (_, i) => encodePayment(payment(round * 200 + i))),
        0,
      );
      await runToEnd(0);
      expect(log.records(BY_CARD)).toHaveLength((round + 1) * 200);
    }
    const ids = log.records(BY_CARD).map(({ value }) => JSON.parse(String(value)).paymentId);
    expect(new Set(ids).size).toBe(800);
  });
});

describe('what reads payments that a first stage has keyed', () => {
  it('names the original place in dead letters of its own', async () => {
    const pass = { reject: 'second-stage' };
    await write([encodePayment(payment(5))], 1);
    await runToEnd(1);
    const records = log.records(BY_CARD);
    const { partition } = records[0];
    const source = paymentSource({ topic: BY_CARD, decoder, isRekeyed: true });
    const definition = repartitionPipeline({
      name: 'second',
      version: '1',
      source: {
        ...source,
        decode: (batch, batchRecords, rejects) => {
          batch.count = 0;
          for (let i = 0; i < batchRecords.count; i++) rejects.reject(i, pass.reject, 'refused here');
        },
      },
      to: 'dead',
      deadLetters: { topic: 'dead', limits: { burst: 50, share: 1, shareWindow: 1_000 } },
    });
    const admin = await log.open().openAdmin();
    await admin.ensure([{ name: 'log-2', partitions: KEYED_PARTITIONS, cleanup: 'delete' }]);
    const parts = taskParts(partition);
    const task = new Task({ ...parts, options: { ...parts.options, stateLogTopic: 'log-2' }, definition });
    const run = task.run();
    await until(() => log.records('dead').length > 0);
    task.stop();
    await run;
    const [letter] = log.records('dead');
    expect(textOf(letter.headers, DEAD_LETTER_HEADERS.topic)).toEqual(['pay.eu']);
    expect(textOf(letter.headers, DEAD_LETTER_HEADERS.partition)).toEqual(['1']);
    expect(textOf(letter.headers, DEAD_LETTER_HEADERS.offset)).toEqual(['0']);
  });
});
