/**
 * The contract of `LogBackend` in `src/stream/ports.ts`: one suite, run by every backend. It knows no backend: offsets
 * may have gaps and start anywhere, visibility may come some time after an acknowledgement, topics get unique names,
 * every wait has an end. What a backend promises beyond the ports is tested beside it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CommitDoubtfulError, FencedError, OffsetOutOfRangeError, StreamError } from '../../src/stream/errors.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import type { EpochLog, LogBackend, PartitionReader, StartPosition, TopicSpec } from '../../src/stream/ports.js';
import { type OutputRecord, RecordBatch, type RecordHeader } from '../../src/stream/records.js';

/** What a suite run gets: a log that several backends can be opened on, as threads or processes would. */
export interface BackendUnderTest {
  open(): Promise<LogBackend>;
  close(): Promise<void>;
}

/** Longest that anything may take to become visible, ms. Generous: a broker shares its machine. */
const VISIBLE_MS = 20_000;

interface Seen {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly offset: number;
  readonly timestampMs: number;
}

const text = (seen: readonly Seen[]) => seen.map((record) => record.value?.toString() ?? null);

let uniqueNumber = 0;
const unique = (name: string) => `contract.${name}.${process.pid}.${Date.now().toString(36)}.${uniqueNumber++}`;

function record(topic: string, value: string | Buffer | null, more: Partial<OutputRecord> = {}): OutputRecord {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return { topic, partition: 0, key: null, value: bytes, headers: [], timestampMs: 1_700_000_000_000, ...more };
}

/** Reads until `count` records came; fails with what it has when they do not come. */
async function take(reader: PartitionReader, count: number, capacity = 512, waitMs = VISIBLE_MS): Promise<Seen[]> {
  const batch = new RecordBatch(capacity);
  const seen: Seen[] = [];
  const deadline = Date.now() + waitMs;
  while (seen.length < count) {
    if (Date.now() > deadline) throw new Error(`${seen.length} of ${count} records came: ${text(seen).slice(0, 20)}`);
    if (reader.read(batch) === 0) await reader.whenReadable(100);
    for (let i = 0; i < batch.count; i++) {
      const { key, value } = { key: batch.key(i), value: batch.value(i) };
      seen.push({ key, value, offset: batch.offset[i], timestampMs: batch.timestampMs[i] });
    }
  }
  return seen;
}

/** What reading runs into, wherever it shows: on opening, reading or waiting. */
async function readingFails(open: () => Promise<PartitionReader>): Promise<unknown> {
  let reader: PartitionReader | null = null;
  const batch = new RecordBatch(16);
  const deadline = Date.now() + VISIBLE_MS;
  try {
    reader = await open();
    while (Date.now() < deadline) {
      const count = reader.read(batch);
      if (count > 0) return new Error(`got ${count} records from offset ${batch.offset[0]} instead of an error`);
      await reader.whenReadable(100);
    }
    return new Error('reading went on without an error');
  } catch (error) {
    return error;
  } finally {
    await reader?.close();
  }
}

async function stateLogOf(log: EpochLog, from?: number): Promise<string[]> {
  const values: string[] = [];
  const start = from ?? (await log.stateLogRange()).start;
  await log.readStateLog(start, (value) => void values.push(value.toString()));
  return values;
}

export function describeLogBackend(name: string, makeBackend: () => Promise<BackendUnderTest>): void {
  describe(`log backend ${name}`, () => {
    let under: BackendUnderTest;
    let backend: LogBackend;
    /** A second backend on the same log, as another thread or process has it. */
    let other: LogBackend;
    const cleanUps: (() => Promise<void>)[] = [];

    beforeAll(async () => {
      under = await makeBackend();
      backend = await under.open();
      other = await under.open();
    });

    afterAll(async () => {
      for (const cleanUp of cleanUps.reverse()) await cleanUp();
      await backend?.close();
      await other?.close();
      await under?.close();
    });

    async function topic(label: string, spec: Partial<TopicSpec> = {}): Promise<string> {
      const admin = await backend.openAdmin();
      const name = unique(label);
      await admin.ensure([{ name, partitions: 1, cleanup: 'delete', ...spec }]);
      await admin.close();
      return name;
    }

    async function write(records: readonly OutputRecord[]): Promise<void> {
      const writer = await backend.openWriter();
      await writer.write(records);
      await writer.close();
    }

    async function reader(topic: string, from: StartPosition = 'earliest', partition = 0, on = backend) {
      const opened = await on.openReader({ topic, partition, from });
      cleanUps.push(() => opened.close());
      return opened;
    }

    async function epochLog(taskId: string, stateLogTopic: string, on = backend): Promise<EpochLog> {
      const opened = await on.openEpochLog({ taskId, stateLog: { topic: stateLogTopic, partition: 0 } });
      cleanUps.push(() => opened.close());
      return opened;
    }

    /** A fenced epoch log with a state log of its own. */
    async function freshTask() {
      const stateLog = await topic('state', { retentionMs: -1 });
      const taskId = unique('task');
      const log = await epochLog(taskId, stateLog);
      await log.fence();
      return { taskId, stateLog, log };
    }

    const epoch = (stateLog: string[], outputs: OutputRecord[] = []) => ({
      outputs,
      stateLog: stateLog.map((value) => Buffer.from(value)),
    });

    describe('reading', () => {
      it('gives records in the order they were written, with their keys, values and times', async () => {
        const t = await topic('order');
        const sent = Array.from({ length: 300 }, (_, i) =>
          record(t, `value ${i}`, { key: Buffer.from(`key ${i}`), timestampMs: 1_700_000_000_000 + i }),
        );
        await write(sent.slice(0, 100));
        await write(sent.slice(100));
        const seen = await take(await reader(t), 300);
        expect(text(seen)).toEqual(sent.map((r) => r.value?.toString()));
        expect(seen.map((r) => r.key?.toString())).toEqual(sent.map((r) => r.key?.toString()));
        expect(seen.map((r) => r.timestampMs)).toEqual(sent.map((r) => r.timestampMs));
        const offsets = seen.map((r) => r.offset);
        expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
        expect(new Set(offsets).size).toBe(300);
      });

      it('keeps null apart from empty, and every byte of binary keys and values', async () => {
        const t = await topic('bytes', { cleanup: 'delete' });
        const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
        const pairs: [Buffer | null, Buffer | null][] = [
          [null, null],
          [Buffer.alloc(0), null],
          [null, Buffer.alloc(0)],
          [Buffer.alloc(0), Buffer.alloc(0)],
          [binary, binary],
          [Buffer.from([0xff, 0xfe, 0xc0, 0x00]), Buffer.from([0xed, 0xa0, 0x80])],
        ];
        await write(pairs.map(([key, value]) => record(t, value, { key })));
        const seen = await take(await reader(t), pairs.length);
        expect(seen.map(({ key, value }) => [key, value])).toEqual(pairs);
      });

      it('gives headers to who asks: repeated, empty and binary ones, in order, on either way in', async () => {
        const t = await topic('headers');
        const headers = [
          ['ce_type', Buffer.from('fraud.alert')],
          ['empty', Buffer.alloc(0)],
          ['ce_type', Buffer.from([0, 255, 128])],
          ['größe', Buffer.alloc(3_000, 7)],
        ] as const;
        await write([record(t, 'plain'), record(t, 'with headers', { headers }), record(t, 'after')]);
        const { log } = await freshTask();
        await log.commit(epoch(['x'], [record(t, 'from an epoch', { headers }), record(t, 'last')]));
        expect(text(await take(await reader(t), 5))).toEqual([
          'plain',
          'with headers',
          'after',
          'from an epoch',
          'last',
        ]);

        const r = await reader(t);
        const batch = new RecordBatch(16, { withHeaders: true });
        const seen: (readonly RecordHeader[])[] = [];
        const deadline = Date.now() + VISIBLE_MS;
        while (seen.length < 5 && Date.now() < deadline) {
          if (r.read(batch) === 0) await r.whenReadable(100);
          for (let i = 0; i < batch.count; i++) seen.push(batch.headers?.[i] ?? []);
        }
        expect(seen).toEqual([[], headers, [], headers, []]);
        expect(new RecordBatch(1).headers).toBeNull();
      });

      it('carries a value of 1 MB between small ones', async () => {
        const t = await topic('large', { maxRecordBytes: 2_000_000 });
        const large = Buffer.alloc(1_000_000);
        for (let i = 0; i < large.length; i++) large[i] = (i * 31) ^ (i >> 8);
        await write([record(t, 'before'), record(t, large), record(t, 'after')]);
        const seen = await take(await reader(t), 3);
        expect(seen[1].value?.equals(large)).toBe(true);
        expect([seen[0], seen[2]].map((r) => r.value?.toString())).toEqual(['before', 'after']);
      });

      it('fills a batch to its capacity at most and leaves the bytes of earlier batches alone', async () => {
        const t = await topic('capacity');
        await write(Array.from({ length: 100 }, (_, i) => record(t, `value ${i}`)));
        const r = await reader(t);
        const batch = new RecordBatch(7);
        const held: { view: Buffer; text: string }[] = [];
        const deadline = Date.now() + VISIBLE_MS;
        let next = r.position;
        while (held.length < 100 && Date.now() < deadline) {
          if (r.read(batch) === 0) await r.whenReadable(100);
          expect(batch.count).toBeLessThanOrEqual(7);
          expect(batch.fromOffset).toBe(next);
          expect(batch.nextOffset).toBe(r.position);
          next = batch.nextOffset;
          for (let i = 0; i < batch.count; i++) {
            const view = batch.value(i) as Buffer;
            // One buffer a batch: the places of all records are in `bytes`.
            expect(view.buffer).toBe(batch.bytes.buffer);
            held.push({ view, text: view.toString() });
          }
        }
        expect(held.map(({ text }) => text)).toEqual(Array.from({ length: 100 }, (_, i) => `value ${i}`));
        expect(held.every(({ view, text }) => view.toString() === text)).toBe(true);
      });

      it('moves its position over records and the gaps that commits leave, up to the end', async () => {
        const t = await topic('gaps');
        const { log } = await freshTask();
        for (let i = 0; i < 5; i++) await log.commit(epoch([`e${i}`], [record(t, `${i}`)]));
        const r = await reader(t);
        const seen = await take(r, 5);
        expect(text(seen)).toEqual(['0', '1', '2', '3', '4']);
        const batch = new RecordBatch(8);
        const deadline = Date.now() + VISIBLE_MS;
        while (r.position < (await r.endOffset()) && Date.now() < deadline) {
          expect(r.read(batch)).toBe(0);
          await r.whenReadable(50);
        }
        expect(r.position).toBe(await r.endOffset());
        expect(r.position).toBeGreaterThan(seen[4].offset);
      });

      it('goes on from any position it has named, with nothing twice and nothing missed', async () => {
        const t = await topic('resume');
        const { log } = await freshTask();
        for (let i = 0; i < 6; i++) await log.commit(epoch(['s'], [record(t, `${i}a`), record(t, `${i}b`)]));
        const all = text(await take(await reader(t), 12));
        const r = await reader(t);
        const batch = new RecordBatch(1);
        const before: (string | null)[] = [];
        const deadline = Date.now() + VISIBLE_MS;
        while (before.length < 12 && Date.now() < deadline) {
          if (r.read(batch) === 0) await r.whenReadable(100);
          if (batch.count > 0) before.push(batch.value(0)?.toString() ?? null);
          if (before.length === 12) break;
          const resumed = await reader(t, r.position);
          expect([...before, ...text(await take(resumed, 12 - before.length))]).toEqual(all);
          await resumed.close();
        }
        expect(before).toEqual(all);
      });

      it("starts at the oldest record for 'earliest', behind the newest for 'latest'", async () => {
        const t = await topic('start');
        await write([record(t, 'old')]);
        await take(await reader(t), 1);
        const latest = await reader(t, 'latest');
        const earliest = await reader(t, 'earliest');
        await write([record(t, 'new')]);
        expect(text(await take(latest, 1))).toEqual(['new']);
        expect(text(await take(earliest, 2))).toEqual(['old', 'new']);
      });

      it('waits at the end of an empty partition, and tells that end', async () => {
        const r = await reader(await topic('empty'));
        expect(r.read(new RecordBatch(8))).toBe(0);
        expect(await r.endOffset()).toBe(r.position);
        const started = performance.now();
        await r.whenReadable(120);
        expect(performance.now() - started).toBeGreaterThan(80);
      });

      it('wakes for a new record long before its time is over', async () => {
        const t = await topic('wake');
        const r = await reader(t, 'earliest', 0, other);
        r.read(new RecordBatch(8));
        await sleep(100);
        const woken = take(r, 1);
        await write([record(t, 'wake up')]);
        const written = performance.now();
        expect(text(await woken)).toEqual(['wake up']);
        expect(performance.now() - written).toBeLessThan(2_000);
      });

      it('stops waiting when it is closed, and closes twice in peace', async () => {
        const r = await reader(await topic('close'));
        const started = performance.now();
        const waiting = r.whenReadable(30_000);
        await sleep(20);
        await r.close();
        await waiting;
        expect(performance.now() - started).toBeLessThan(10_000);
        await r.close();
      });

      it('learns the end of the log in passing', async () => {
        const t = await topic('known-end');
        await write([record(t, 'a'), record(t, 'b')]);
        const r = await reader(t);
        await take(r, 2);
        expect(r.knownEndOffset).toBeGreaterThanOrEqual(r.position);
        expect(r.knownEndOffset).toBeLessThanOrEqual(await r.endOffset());
      });

      it('reads each partition apart', async () => {
        const t = await topic('partitions', { partitions: 3 });
        await write([0, 1, 2, 0].map((partition, i) => record(t, `p${partition} ${i}`, { partition })));
        expect(text(await take(await reader(t, 'earliest', 0), 2))).toEqual(['p0 0', 'p0 3']);
        expect(text(await take(await reader(t, 'earliest', 1), 1))).toEqual(['p1 1']);
        expect(text(await take(await reader(t, 'earliest', 2), 1))).toEqual(['p2 2']);
      });

      it('refuses an offset above the end', async () => {
        const t = await topic('above');
        await write([record(t, 'a')]);
        const end = await (await reader(t)).endOffset();
        const failure = await readingFails(() => backend.openReader({ topic: t, partition: 0, from: end + 1_000 }));
        expect(failure).toBeInstanceOf(OffsetOutOfRangeError);
      });

      it('refuses an offset that truncation took away', async () => {
        const { log, stateLog } = await freshTask();
        const { start } = await log.stateLogRange();
        let keep = start;
        for (let i = 0; i < 6; i++) {
          const receipt = await log.commit(epoch([`${i}`]));
          if (i === 3) keep = receipt.firstStateLogOffset;
        }
        await log.truncateStateLog(keep);
        const failure = await readingFails(() => backend.openReader({ topic: stateLog, partition: 0, from: start }));
        expect(failure).toBeInstanceOf(OffsetOutOfRangeError);
        const kept = text(await take(await reader(stateLog), 3));
        expect(kept.slice(-3)).toEqual(['3', '4', '5']);
      });

      it('fails when its topic is deleted and made again under the same name', async () => {
        const t = await topic('remade');
        await write(Array.from({ length: 5 }, (_, i) => record(t, `old ${i}`)));
        const r = await reader(t);
        await take(r, 5);
        const admin = await backend.openAdmin();
        await admin.delete([t]);
        const deadline = Date.now() + VISIBLE_MS;
        while ((await admin.partitionCount(t)) !== null && Date.now() < deadline) await sleep(50);
        await admin.ensure([{ name: t, partitions: 1, cleanup: 'delete' }]);
        await write(Array.from({ length: 9 }, (_, i) => record(t, `new ${i}`)));
        expect(await readingFails(async () => r)).toBeInstanceOf(StreamError);
        await admin.close();
      });
    });

    describe('epochs', () => {
      it('makes outputs on several topics and the state log visible', async () => {
        const alerts = await topic('alerts', { partitions: 2 });
        const deadLetters = await topic('dead-letters');
        const { log, stateLog } = await freshTask();
        const receipt = await log.commit(
          epoch(
            ['delta'],
            [
              record(alerts, 'alert 0', { partition: 0 }),
              record(deadLetters, 'dead'),
              record(alerts, 'alert 1', { partition: 1 }),
            ],
          ),
        );
        expect(receipt.nextStateLogOffset).toBeGreaterThan(receipt.firstStateLogOffset);
        expect(text(await take(await reader(alerts, 'earliest', 0, other), 1))).toEqual(['alert 0']);
        expect(text(await take(await reader(alerts, 'earliest', 1, other), 1))).toEqual(['alert 1']);
        expect(text(await take(await reader(deadLetters, 'earliest', 0, other), 1))).toEqual(['dead']);
        expect(text(await take(await reader(stateLog, 'earliest', 0, other), 1))).toEqual(['delta']);
      });

      it('gives the state log back in order, over many epochs of several chunks, also to the next owner', async () => {
        const { log, stateLog, taskId } = await freshTask();
        const expected: string[] = [];
        const { start } = await log.stateLogRange();
        let next = start;
        for (let i = 0; i < 30; i++) {
          const chunks = Array.from({ length: 1 + (i % 4) }, (_, chunk) => `epoch ${i} chunk ${chunk}`);
          const receipt = await log.commit(epoch(chunks));
          expect(receipt.firstStateLogOffset).toBeGreaterThanOrEqual(next);
          next = receipt.nextStateLogOffset;
          expected.push(...chunks);
        }
        const successor = await epochLog(taskId, stateLog, other);
        await successor.fence();
        const offsets: number[] = [];
        const values: string[] = [];
        const end = await successor.readStateLog(start, (value, offset, nextOffset) => {
          values.push(value.toString());
          expect(nextOffset).toBeGreaterThan(offset);
          offsets.push(offset, nextOffset);
        });
        expect(values).toEqual(expected);
        for (let i = 2; i < offsets.length; i += 2) expect(offsets[i]).toBeGreaterThanOrEqual(offsets[i - 1]);
        expect(end).toBeGreaterThanOrEqual(next);
        expect((await successor.stateLogRange()).start).toBe(start);
        expect((await successor.stateLogRange()).end).toBeGreaterThanOrEqual(next);
      });

      it('resumes the state log behind any record, and gives nothing at its end', async () => {
        const { log } = await freshTask();
        for (let i = 0; i < 4; i++) await log.commit(epoch([`${i}a`, `${i}b`]));
        const { start } = await log.stateLogRange();
        const resumePoints: number[] = [];
        const all = await stateLogOf(log, start);
        const end = await log.readStateLog(start, (_value, _offset, next) => void resumePoints.push(next));
        expect(all).toHaveLength(8);
        for (const [index, point] of resumePoints.entries()) {
          expect(await stateLogOf(log, point)).toEqual(all.slice(index + 1));
        }
        expect(await stateLogOf(log, end)).toEqual([]);
        const receipt = await log.commit(epoch(['later']));
        expect(await stateLogOf(log, end)).toEqual(['later']);
        expect(await stateLogOf(log, receipt.nextStateLogOffset)).toEqual([]);
      });

      it('hands the next state-log value over only when the last one is done with, its bytes unharmed till then', async () => {
        const { log } = await freshTask();
        const sent = Array.from({ length: 12 }, (_, i) => `value ${i}`);
        await log.commit(epoch(sent.slice(0, 6)));
        await log.commit(epoch(sent.slice(6)));
        const seen: string[] = [];
        let open = 0;
        const { start } = await log.stateLogRange();
        await log.readStateLog(start, async (value) => {
          expect(++open).toBe(1);
          await sleep(2);
          seen.push(value.toString());
          open--;
        });
        expect(seen).toEqual(sent);
        const stop = new Error('enough');
        await expect(log.readStateLog(start, () => Promise.reject(stop))).rejects.toBe(stop);
      });

      it('takes outputs alone, a state log alone, and an epoch of nothing', async () => {
        const t = await topic('alone');
        const { log } = await freshTask();
        await log.commit(epoch([], [record(t, 'output')]));
        await log.commit(epoch([]));
        await log.commit(epoch(['state']));
        expect(text(await take(await reader(t), 1))).toEqual(['output']);
        expect(await stateLogOf(log)).toEqual(['state']);
      });

      it('takes a state-log value of the largest size it names, several times in one epoch', async () => {
        const { log } = await freshTask();
        const sizeBytes = Math.min(log.maxRecordBytes, 8 * 1024 * 1024);
        const chunks = [1, 2, 3].map((fill) => Buffer.alloc(sizeBytes, fill));
        await log.commit({ outputs: [], stateLog: chunks });
        const matches: boolean[] = [];
        const { start } = await log.stateLogRange();
        await log.readStateLog(start, (value) => void matches.push(value.equals(chunks[matches.length])));
        expect(matches).toEqual([true, true, true]);
      });

      it('lets the buffers of an epoch be written over once it committed', async () => {
        const t = await topic('reuse');
        const { log } = await freshTask();
        const value = Buffer.from('first');
        const delta = Buffer.from('delta');
        await log.commit({ outputs: [record(t, value)], stateLog: [delta] });
        value.fill('x');
        delta.fill('x');
        expect(text(await take(await reader(t), 1))).toEqual(['first']);
        expect(await stateLogOf(log)).toEqual(['delta']);
      });

      it('forgets the state log before a truncation, and fails to read from there', async () => {
        const { log } = await freshTask();
        const { start } = await log.stateLogRange();
        const receipts = [];
        for (let i = 0; i < 10; i++) receipts.push(await log.commit(epoch([`${i}`])));
        await log.truncateStateLog(receipts[5].firstStateLogOffset);
        const range = await log.stateLogRange();
        expect(range.start).toBeGreaterThan(start);
        expect(range.start).toBeLessThanOrEqual(receipts[5].firstStateLogOffset);
        expect(await stateLogOf(log, receipts[5].firstStateLogOffset)).toEqual(['5', '6', '7', '8', '9']);
        await expect(log.readStateLog(start, () => {})).rejects.toBeInstanceOf(OffsetOutOfRangeError);
        await log.commit(epoch(['10']));
        expect((await stateLogOf(log, range.start)).at(-1)).toBe('10');
      });

      it('fails to read the state log from above its end (I8)', async () => {
        const { log } = await freshTask();
        await log.commit(epoch(['a']));
        const { end } = await log.stateLogRange();
        await expect(log.readStateLog(end + 1_000, () => {})).rejects.toBeInstanceOf(OffsetOutOfRangeError);
      });

      it('keeps the state logs of several tasks apart', async () => {
        const stateLog = await topic('shared-state', { partitions: 2 });
        const logs = await Promise.all(
          [0, 1].map(async (partition) => {
            const log = await backend.openEpochLog({
              taskId: unique('task'),
              stateLog: { topic: stateLog, partition },
            });
            cleanUps.push(() => log.close());
            await log.fence();
            return log;
          }),
        );
        await Promise.all(logs.map((log, i) => log.commit(epoch([`task ${i}`]))));
        expect(await stateLogOf(logs[0])).toEqual(['task 0']);
        expect(await stateLogOf(logs[1])).toEqual(['task 1']);
      });

      it('interleaves the outputs of several tasks on one partition without losing or doubling any', async () => {
        const t = await topic('interleaved');
        const tasks = await Promise.all([0, 1, 2].map(() => freshTask()));
        await Promise.all(
          tasks.map(async ({ log }, task) => {
            for (let i = 0; i < 20; i++)
              await log.commit(epoch(['s'], [record(t, `${task}:${i}`), record(t, `${task}:${i}+`)]));
          }),
        );
        const seen = text(await take(await reader(t), 120)) as string[];
        for (const task of [0, 1, 2]) {
          const own = Array.from({ length: 20 }, (_, i) => [`${task}:${i}`, `${task}:${i}+`]).flat();
          expect(seen.filter((value) => value.startsWith(`${task}:`))).toEqual(own);
        }
      });
    });

    describe('fencing', () => {
      it('refuses a commit before the first fence', async () => {
        const stateLog = await topic('unfenced');
        const log = await epochLog(unique('task'), stateLog);
        await expect(log.commit(epoch(['early']))).rejects.toBeInstanceOf(StreamError);
        await log.fence();
        expect(await stateLogOf(log)).toEqual([]);
      });

      it("rejects a zombie's epoch, which never becomes visible", async () => {
        const t = await topic('zombie');
        const { taskId, stateLog, log: zombie } = await freshTask();
        await zombie.commit(epoch(['1'], [record(t, 'first')]));
        const owner = await epochLog(taskId, stateLog, other);
        await owner.fence();
        await expect(zombie.commit(epoch(['zombie'], [record(t, 'zombie')]))).rejects.toBeInstanceOf(FencedError);
        await owner.commit(epoch(['2'], [record(t, 'second')]));
        expect(text(await take(await reader(t), 2))).toEqual(['first', 'second']);
        expect(await stateLogOf(owner)).toEqual(['1', '2']);
      });

      it('refuses every commit after a rejected one until it fenced again, and then it is the owner', async () => {
        const { taskId, stateLog, log: first } = await freshTask();
        const second = await epochLog(taskId, stateLog, other);
        await second.fence();
        await expect(first.commit(epoch(['a']))).rejects.toBeInstanceOf(FencedError);
        await expect(first.commit(epoch(['b']))).rejects.toBeInstanceOf(StreamError);
        await first.fence();
        await first.commit(epoch(['c']));
        await expect(second.commit(epoch(['d']))).rejects.toBeInstanceOf(FencedError);
        expect(await stateLogOf(first)).toEqual(['c']);
      });

      it('rejects two zombies at once', async () => {
        const t = await topic('zombies');
        const { taskId, stateLog, log: first } = await freshTask();
        const second = await epochLog(taskId, stateLog, other);
        await second.fence();
        const third = await epochLog(taskId, stateLog);
        await third.fence();
        const settled = await Promise.allSettled([
          first.commit(epoch(['first'], [record(t, 'first')])),
          second.commit(epoch(['second'], [record(t, 'second')])),
          third.commit(epoch(['third'], [record(t, 'third')])),
        ]);
        expect(settled.map((result) => (result.status === 'rejected' ? result.reason.code : 'committed'))).toEqual([
          'fenced',
          'fenced',
          'committed',
        ]);
        expect(await stateLogOf(third)).toEqual(['third']);
        expect(text(await take(await reader(t), 1))).toEqual(['third']);
      });

      it('settles a commit that meets a fence one way for all topics, and before the fence resolves', async () => {
        const t = await topic('race');
        const { taskId, stateLog, log: first } = await freshTask();
        let owner = first;
        const outcome: string[] = [];
        for (let round = 0; round < 8; round++) {
          const successor = await epochLog(taskId, stateLog, round % 2 === 0 ? other : backend);
          const commit = owner.commit(epoch([`old ${round}`], [record(t, `old ${round}`)])).then(
            () => 'committed',
            (error: unknown) => {
              if (error instanceof FencedError) return 'fenced';
              if (error instanceof CommitDoubtfulError) return 'doubtful';
              throw error;
            },
          );
          if (round % 3 === 1) await sleep(round);
          await successor.fence();
          const seenAtFence = (await stateLogOf(successor)).includes(`old ${round}`);
          const settled = await commit;
          if (settled !== 'doubtful')
            expect(`${round} ${settled}`).toBe(`${round} ${seenAtFence ? 'committed' : 'fenced'}`);
          if (seenAtFence) outcome.push(`old ${round}`);
          await successor.commit(epoch([`new ${round}`], [record(t, `new ${round}`)]));
          outcome.push(`new ${round}`);
          owner = successor;
        }
        expect(await stateLogOf(owner)).toEqual(outcome);
        expect(text(await take(await reader(t), outcome.length))).toEqual(outcome);
      });

      it('does not touch other tasks', async () => {
        const [a, b] = await Promise.all([freshTask(), freshTask()]);
        const successor = await epochLog(a.taskId, a.stateLog, other);
        await successor.fence();
        await b.log.commit(epoch(['b']));
        expect(await stateLogOf(b.log)).toEqual(['b']);
      });
    });

    describe('writing', () => {
      it('places keys where Kafka does', async () => {
        const partitions = 7;
        const t = await topic('keyed', { partitions });
        const keys = [
          '21',
          'foobar',
          'a-little-bit-long-string',
          'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8',
          '',
        ];
        const unplaced = keys.map((key) => {
          const { partition: _, ...rest } = record(t, `of ${key}`, { key: Buffer.from(key) });
          return rest;
        });
        await write(unplaced);
        const { log } = await freshTask();
        await log.commit(epoch([], unplaced));
        // Golden: (murmur2 & 0x7fffffff) % 7 of the hashes that Kafka's own tests name.
        const golden = [-973932308, -790332482, -985981536, -58897971].map((hash) => (hash & 0x7fffffff) % partitions);
        for (const [index, key] of keys.entries()) {
          const partition = golden[index] ?? partitionOfKey(Buffer.from(key), partitions);
          const r = await reader(t, 'earliest', partition);
          const expected =
            2 *
            keys.filter((_, i) => (golden[i] ?? partitionOfKey(Buffer.from(keys[i]), partitions)) === partition).length;
          expect(text(await take(r, expected)).filter((value) => value === `of ${key}`)).toHaveLength(2);
        }
      });

      it('places records without key or partition somewhere, each once', async () => {
        const t = await topic('keyless', { partitions: 3 });
        const { partition: _, ...keyless } = record(t, 'x');
        await write(Array.from({ length: 30 }, () => keyless));
        const deadline = Date.now() + VISIBLE_MS;
        const readers = await Promise.all([0, 1, 2].map((partition) => reader(t, 'earliest', partition)));
        const batch = new RecordBatch(64);
        let count = 0;
        while (count < 30 && Date.now() < deadline) {
          for (const r of readers) count += r.read(batch);
          await Promise.race(readers.map((r) => r.whenReadable(50)));
        }
        await sleep(100);
        for (const r of readers) count += r.read(batch);
        expect(count).toBe(30);
      });

      it('writes to several topics at once, lets its buffers be reused, and keeps the order of concurrent writes', async () => {
        const [a, b] = [await topic('several'), await topic('several')];
        const writer = await backend.openWriter();
        const value = Buffer.from('kept');
        await writer.write([record(a, value), record(b, 'b')]);
        value.fill('x');
        await Promise.all(Array.from({ length: 10 }, (_, i) => writer.write([record(a, `${i}`)])));
        await writer.write([]);
        await writer.close();
        expect(text(await take(await reader(a), 11))).toEqual([
          'kept',
          ...Array.from({ length: 10 }, (_, i) => `${i}`),
        ]);
        expect(text(await take(await reader(b), 1))).toEqual(['b']);
      });

      it('refuses a topic that does not exist, or a partition that it does not have', async () => {
        const writer = await backend.openWriter();
        const t = await topic('narrow', { partitions: 2 });
        await expect(writer.write([record(t, 'x', { partition: 5 })])).rejects.toBeInstanceOf(StreamError);
        await writer.close();
        await expect(
          backend.openReader({ topic: t, partition: 5, from: 'earliest' }).then((r) => readingFails(async () => r)),
        ).rejects.toBeInstanceOf(StreamError);
      });
    });

    describe('administration', () => {
      it('makes the topics that are missing and leaves the others as they are', async () => {
        const admin = await backend.openAdmin();
        const [a, b] = [unique('ensure'), unique('ensure')];
        expect(await admin.partitionCount(a)).toBeNull();
        expect(await admin.ensure([{ name: a, partitions: 3, cleanup: 'delete' }])).toEqual([a]);
        expect(
          await admin.ensure([
            { name: a, partitions: 9, cleanup: 'compact' },
            { name: b, partitions: 1, cleanup: 'compact' },
          ]),
        ).toEqual([b]);
        expect(await admin.partitionCount(a)).toBe(3);
        expect(await admin.partitionCount(b)).toBe(1);
        await admin.close();
      });

      it('agrees with itself when two make the same topic at once', async () => {
        const admins = [await backend.openAdmin(), await other.openAdmin()];
        const name = unique('both');
        const made = await Promise.all(
          admins.map((admin) => admin.ensure([{ name, partitions: 2, cleanup: 'delete' }])),
        );
        expect(made.flat()).toEqual([name]);
        for (const admin of admins) {
          expect(await admin.partitionCount(name)).toBe(2);
          await admin.close();
        }
      });

      it('tells the range of each partition', async () => {
        const t = await topic('ranges', { partitions: 2 });
        const admin = await backend.openAdmin();
        const before = await admin.ranges(t);
        expect(before.map(({ partition, start, end }) => [partition, end - start])).toEqual([
          [0, 0],
          [1, 0],
        ]);
        await write([record(t, 'a', { partition: 1 }), record(t, 'b', { partition: 1 })]);
        await take(await reader(t, 'earliest', 1), 2);
        const after = await admin.ranges(t);
        expect(after[0]).toEqual(before[0]);
        expect(after[1].end - after[1].start).toBe(2);
        await admin.close();
      });

      it('names a topic apart from its namesake made later, and the same to everyone', async () => {
        const t = await topic('identity');
        const another = await topic('identity');
        const [admin, second] = [await backend.openAdmin(), await other.openAdmin()];
        const identity = await admin.identity(t);
        expect(await second.identity(t)).toBe(identity);
        expect(await admin.identity(another)).not.toBe(identity);
        await admin.delete([t]);
        const deadline = Date.now() + VISIBLE_MS;
        while ((await admin.partitionCount(t)) !== null && Date.now() < deadline) await sleep(50);
        await admin.ensure([{ name: t, partitions: 1, cleanup: 'delete' }]);
        expect(await admin.identity(t)).not.toBe(identity);
        await admin.close();
        await second.close();
      });

      it('deletes topics', async () => {
        const t = await topic('deleted');
        const admin = await backend.openAdmin();
        await write([record(t, 'old')]);
        await admin.delete([t]);
        const deadline = Date.now() + VISIBLE_MS;
        while ((await admin.partitionCount(t)) !== null && Date.now() < deadline) await sleep(50);
        expect(await admin.partitionCount(t)).toBeNull();
        await admin.ensure([{ name: t, partitions: 1, cleanup: 'delete' }]);
        await write([record(t, 'new')]);
        expect(text(await take(await reader(t), 1))).toEqual(['new']);
        await admin.close();
      });

      it('keeps the progress of a group by partition, and of other groups apart', async () => {
        const t = await topic('progress', { partitions: 3 });
        const [admin, second] = [await backend.openAdmin(), await other.openAdmin()];
        const group = unique('group');
        expect([...(await admin.progress(group, t))]).toEqual([]);
        await admin.publishProgress(
          group,
          t,
          new Map([
            [0, 10],
            [2, 2 ** 33],
          ]),
        );
        await admin.publishProgress(
          group,
          t,
          new Map([
            [0, 11],
            [1, 0],
          ]),
        );
        const progress = await second.progress(group, t);
        expect([...progress].sort(([a], [b]) => a - b)).toEqual([
          [0, 11],
          [1, 0],
          [2, 2 ** 33],
        ]);
        expect([...(await admin.progress(unique('group'), t))]).toEqual([]);
        await admin.close();
        await second.close();
      });
    });

    it('assigns all partitions to the only member of a group', async () => {
      const t = await topic('assigned', { partitions: 3 });
      const assignment = await backend.openAssignment({ group: unique('group'), topic: t });
      const lost: string[] = [];
      let whole: (partitions: readonly number[]) => void = () => {};
      const assigned = new Promise<readonly number[]>((resolve) => {
        whole = resolve;
      });
      await assignment.join({
        onAssigned: async (partitions) => {
          if (partitions.length === 3) whole(partitions);
        },
        onLost: async (reason) => {
          lost.push(reason);
        },
      });
      const partitions = await Promise.race([assigned, sleep(VISIBLE_MS).then(() => null)]);
      expect([...(partitions ?? [])].sort()).toEqual([0, 1, 2]);
      await assignment.leave();
      expect(lost).toEqual([]);
    });
  });
}
