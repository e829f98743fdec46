/** What every log backend promises to readers. A part of `log-backend.contract.ts`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { OffsetOutOfRangeError, StreamError } from '../../src/stream/errors.js';
import { RecordBatch, type RecordHeader } from '../../src/stream/records.js';
import { epoch, type LogKit, readingFails, record, take, text, VISIBLE_MS } from './log-backend-kit.js';

export function describeReading(kit: () => LogKit): void {
  describe('reading', () => {
    it('gives records in the order they were written, with their keys, values and times', async () => {
      const t = await kit().topic('order');
      const sent = Array.from({ length: 300 }, (_, i) =>
        record(t, `value ${i}`, { key: Buffer.from(`key ${i}`), timestampMs: 1_700_000_000_000 + i }),
      );
      await kit().write(sent.slice(0, 100));
      await kit().write(sent.slice(100));
      const seen = await take(await kit().reader(t), 300);
      expect(text(seen)).toEqual(sent.map((r) => r.value?.toString()));
      expect(seen.map((r) => r.key?.toString())).toEqual(sent.map((r) => r.key?.toString()));
      expect(seen.map((r) => r.timestampMs)).toEqual(sent.map((r) => r.timestampMs));
      const offsets = seen.map((r) => r.offset);
      expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
      expect(new Set(offsets).size).toBe(300);
    });

    it('keeps null apart from empty, and every byte of binary keys and values', async () => {
      const t = await kit().topic('bytes', { cleanup: 'delete' });
      const binary = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
      const pairs: [Buffer | null, Buffer | null][] = [
        [null, null],
        [Buffer.alloc(0), null],
        [null, Buffer.alloc(0)],
        [Buffer.alloc(0), Buffer.alloc(0)],
        [binary, binary],
        [Buffer.from([0xff, 0xfe, 0xc0, 0x00]), Buffer.from([0xed, 0xa0, 0x80])],
      ];
      await kit().write(pairs.map(([key, value]) => record(t, value, { key })));
      const seen = await take(await kit().reader(t), pairs.length);
      expect(seen.map(({ key, value }) => [key, value])).toEqual(pairs);
    });

    it('gives headers to who asks: repeated, empty and binary ones, in order, on either way in', async () => {
      const t = await kit().topic('headers');
      const headers = [
        ['ce_type', Buffer.from('fraud.alert')],
        ['empty', Buffer.alloc(0)],
        ['ce_type', Buffer.from([0, 255, 128])],
        ['größe', Buffer.alloc(3_000, 7)],
      ] as const;
      await kit().write([record(t, 'plain'), record(t, 'with headers', { headers }), record(t, 'after')]);
      const { log } = await kit().freshTask();
      await log.commit(epoch(['x'], [record(t, 'from an epoch', { headers }), record(t, 'last')]));
      expect(text(await take(await kit().reader(t), 5))).toEqual([
        'plain',
        'with headers',
        'after',
        'from an epoch',
        'last',
      ]);

      const r = await kit().reader(t);
      const batch = new RecordBatch(16);
      const seen: (readonly RecordHeader[])[] = [];
      const deadline = Date.now() + VISIBLE_MS;
      while (seen.length < 5 && Date.now() < deadline) {
        if (r.read(batch) === 0) await r.whenReadable(100);
        for (let i = 0; i < batch.count; i++) seen.push(batch.headers(i));
      }
      expect(seen).toEqual([[], headers, [], headers, []]);
    });

    it('carries a value of 1 MB between small ones', async () => {
      const t = await kit().topic('large', { maxRecordBytes: 2_000_000 });
      const large = Buffer.alloc(1_000_000);
      for (let i = 0; i < large.length; i++) large[i] = (i * 31) ^ (i >> 8);
      await kit().write([record(t, 'before'), record(t, large), record(t, 'after')]);
      const seen = await take(await kit().reader(t), 3);
      expect(seen[1].value?.equals(large)).toBe(true);
      expect([seen[0], seen[2]].map((r) => r.value?.toString())).toEqual(['before', 'after']);
    });

    it('fills a batch to its capacity at most and leaves the bytes of earlier batches alone', async () => {
      const t = await kit().topic('capacity');
      await kit().write(Array.from({ length: 100 }, (_, i) => record(t, `value ${i}`)));
      const r = await kit().reader(t);
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
      const t = await kit().topic('gaps');
      const { log } = await kit().freshTask();
      for (let i = 0; i < 5; i++) await log.commit(epoch([`e${i}`], [record(t, `${i}`)]));
      const r = await kit().reader(t);
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
      const t = await kit().topic('resume');
      const { log } = await kit().freshTask();
      for (let i = 0; i < 6; i++) await log.commit(epoch(['s'], [record(t, `${i}a`), record(t, `${i}b`)]));
      const all = text(await take(await kit().reader(t), 12));
      const r = await kit().reader(t);
      const batch = new RecordBatch(1);
      const before: (string | null)[] = [];
      const deadline = Date.now() + VISIBLE_MS;
      while (before.length < 12 && Date.now() < deadline) {
        if (r.read(batch) === 0) await r.whenReadable(100);
        if (batch.count > 0) before.push(batch.value(0)?.toString() ?? null);
        if (before.length === 12) break;
        const resumed = await kit().reader(t, r.position);
        expect([...before, ...text(await take(resumed, 12 - before.length))]).toEqual(all);
        await resumed.close();
      }
      expect(before).toEqual(all);
    });

    it("starts at the oldest record for 'earliest', behind the newest for 'latest'", async () => {
      const t = await kit().topic('start');
      await kit().write([record(t, 'old')]);
      await take(await kit().reader(t), 1);
      const latest = await kit().reader(t, 'latest');
      const earliest = await kit().reader(t, 'earliest');
      await kit().write([record(t, 'new')]);
      expect(text(await take(latest, 1))).toEqual(['new']);
      expect(text(await take(earliest, 2))).toEqual(['old', 'new']);
    });

    it('waits at the end of an empty partition, and tells that end', async () => {
      const r = await kit().reader(await kit().topic('empty'));
      expect(r.read(new RecordBatch(8))).toBe(0);
      expect(await r.endOffset()).toBe(r.position);
      const started = performance.now();
      await r.whenReadable(120);
      expect(performance.now() - started).toBeGreaterThan(80);
    });

    it('wakes for a new record long before its time is over', async () => {
      const t = await kit().topic('wake');
      const r = await kit().reader(t, 'earliest', 0, kit().other);
      r.read(new RecordBatch(8));
      await sleep(100);
      const woken = take(r, 1);
      await kit().write([record(t, 'wake up')]);
      const written = performance.now();
      expect(text(await woken)).toEqual(['wake up']);
      expect(performance.now() - written).toBeLessThan(2_000);
    });

    it('stops waiting when it is closed, and closes twice in peace', async () => {
      const r = await kit().reader(await kit().topic('close'));
      const started = performance.now();
      const waiting = r.whenReadable(30_000);
      await sleep(20);
      await r.close();
      await waiting;
      expect(performance.now() - started).toBeLessThan(10_000);
      await r.close();
    });

    it('learns the end of the log in passing', async () => {
      const t = await kit().topic('known-end');
      await kit().write([record(t, 'a'), record(t, 'b')]);
      const r = await kit().reader(t);
      await take(r, 2);
      expect(r.knownEndOffset).toBeGreaterThanOrEqual(r.position);
      expect(r.knownEndOffset).toBeLessThanOrEqual(await r.endOffset());
    });

    it('reads each partition apart', async () => {
      const t = await kit().topic('partitions', { partitions: 3 });
      await kit().write([0, 1, 2, 0].map((partition, i) => record(t, `p${partition} ${i}`, { partition })));
      expect(text(await take(await kit().reader(t, 'earliest', 0), 2))).toEqual(['p0 0', 'p0 3']);
      expect(text(await take(await kit().reader(t, 'earliest', 1), 1))).toEqual(['p1 1']);
      expect(text(await take(await kit().reader(t, 'earliest', 2), 1))).toEqual(['p2 2']);
    });

    it('refuses an offset above the end', async () => {
      const t = await kit().topic('above');
      await kit().write([record(t, 'a')]);
      const end = await (await kit().reader(t)).endOffset();
      const failure = await readingFails(() => kit().backend.openReader({ topic: t, partition: 0, from: end + 1_000 }));
      expect(failure).toBeInstanceOf(OffsetOutOfRangeError);
    });

    it('refuses an offset that truncation took away', async () => {
      const { log, stateLog } = await kit().freshTask();
      const { start } = await log.stateLogRange();
      let keep = start;
      for (let i = 0; i < 6; i++) {
        const receipt = await log.commit(epoch([`${i}`]));
        if (i === 3) keep = receipt.firstStateLogOffset;
      }
      await log.truncateStateLog(keep);
      const failure = await readingFails(() =>
        kit().backend.openReader({ topic: stateLog, partition: 0, from: start }),
      );
      expect(failure).toBeInstanceOf(OffsetOutOfRangeError);
      const kept = text(await take(await kit().reader(stateLog), 3));
      expect(kept.slice(-3)).toEqual(['3', '4', '5']);
    });

    it('fails when its topic is deleted and made again under the same name', async () => {
      const t = await kit().topic('remade');
      await kit().write(Array.from({ length: 5 }, (_, i) => record(t, `old ${i}`)));
      const r = await kit().reader(t);
      await take(r, 5);
      const admin = await kit().backend.openAdmin();
      await admin.delete([t]);
      const deadline = Date.now() + VISIBLE_MS;
      while ((await admin.partitionCount(t)) !== null && Date.now() < deadline) await sleep(50);
      await admin.ensure([{ name: t, partitions: 1, cleanup: 'delete' }]);
      await kit().write(Array.from({ length: 9 }, (_, i) => record(t, `new ${i}`)));
      expect(await readingFails(async () => r)).toBeInstanceOf(StreamError);
      await admin.close();
    });
  });
}
