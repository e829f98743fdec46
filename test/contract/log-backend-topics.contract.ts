/** What every log backend promises to feeds and the control plane. A part of `log-backend.contract.ts`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { StreamError } from '../../src/stream/errors.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import type { AssignmentOptions } from '../../src/stream/ports.js';
import { RecordBatch } from '../../src/stream/records.js';
import { unitName } from '../../src/stream/source-partition.js';
import { epoch, type LogKit, readingFails, record, take, text, unique, VISIBLE_MS } from './log-backend-kit.js';

export function describeTopics(kit: () => LogKit): void {
  describe('writing', () => {
    it('places keys where Kafka does', async () => {
      const partitions = 7;
      const t = await kit().topic('keyed', { partitions });
      const keys = ['21', 'foobar', 'a-little-bit-long-string', 'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', ''];
      const unplaced = keys.map((key) => {
        const { partition: _, ...rest } = record(t, `of ${key}`, { key: Buffer.from(key) });
        return rest;
      });
      await kit().write(unplaced);
      const { log } = await kit().freshTask();
      await log.commit(epoch([], unplaced));
      // Golden: (murmur2 & 0x7fffffff) % 7 of the hashes that Kafka's own tests name.
      const golden = [-973932308, -790332482, -985981536, -58897971].map((hash) => (hash & 0x7fffffff) % partitions);
      for (const [index, key] of keys.entries()) {
        const partition = golden[index] ?? partitionOfKey(Buffer.from(key), partitions);
        const r = await kit().reader(t, 'earliest', partition);
        const expected =
          2 *
          keys.filter((_, i) => (golden[i] ?? partitionOfKey(Buffer.from(keys[i]), partitions)) === partition).length;
        expect(text(await take(r, expected)).filter((value) => value === `of ${key}`)).toHaveLength(2);
      }
    });

    it('places records without key or partition somewhere, each once', async () => {
      const t = await kit().topic('keyless', { partitions: 3 });
      const { partition: _, ...keyless } = record(t, 'x');
      await kit().write(Array.from({ length: 30 }, () => keyless));
      const deadline = Date.now() + VISIBLE_MS;
      const readers = await Promise.all([0, 1, 2].map((partition) => kit().reader(t, 'earliest', partition)));
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
      const [a, b] = [await kit().topic('several'), await kit().topic('several')];
      const writer = await kit().backend.openWriter();
      const value = Buffer.from('kept');
      await writer.write([record(a, value), record(b, 'b')]);
      value.fill('x');
      await Promise.all(Array.from({ length: 10 }, (_, i) => writer.write([record(a, `${i}`)])));
      await writer.write([]);
      await writer.close();
      expect(text(await take(await kit().reader(a), 11))).toEqual([
        'kept',
        ...Array.from({ length: 10 }, (_, i) => `${i}`),
      ]);
      expect(text(await take(await kit().reader(b), 1))).toEqual(['b']);
    });

    it('refuses a topic that does not exist, or a partition that it does not have', async () => {
      const writer = await kit().backend.openWriter();
      const t = await kit().topic('narrow', { partitions: 2 });
      await expect(writer.write([record(t, 'x', { partition: 5 })])).rejects.toBeInstanceOf(StreamError);
      await writer.close();
      await expect(
        kit()
          .backend.openReader({ topic: t, partition: 5, from: 'earliest' })
          .then((r) => readingFails(async () => r)),
      ).rejects.toBeInstanceOf(StreamError);
    });
  });

  describe('administration', () => {
    it('makes the topics that are missing and leaves the others as they are', async () => {
      const admin = await kit().backend.openAdmin();
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
      const admins = [await kit().backend.openAdmin(), await kit().other.openAdmin()];
      const name = unique('both');
      const made = await Promise.all(admins.map((admin) => admin.ensure([{ name, partitions: 2, cleanup: 'delete' }])));
      expect(made.flat()).toEqual([name]);
      for (const admin of admins) {
        expect(await admin.partitionCount(name)).toBe(2);
        await admin.close();
      }
    });

    it('adds partitions to a topic, which keeps what it has, and takes none away', async () => {
      const t = await kit().topic('grown', { partitions: 2 });
      const [admin, second] = [await kit().backend.openAdmin(), await kit().other.openAdmin()];
      const identity = await admin.identity(t);
      await kit().write([record(t, 'old', { partition: 1 })]);
      await admin.grow(t, 5);
      await admin.grow(t, 3);
      expect(await admin.partitionCount(t)).toBe(5);
      expect(await second.partitionCount(t)).toBe(5);
      expect(await admin.identity(t)).toBe(identity);
      await kit().write([record(t, 'new', { partition: 4 })]);
      expect(text(await take(await kit().reader(t, 'earliest', 1), 1))).toEqual(['old']);
      expect(text(await take(await kit().reader(t, 'earliest', 4), 1))).toEqual(['new']);
      expect((await second.ranges(t)).map(({ partition, start }) => [partition, start])).toEqual(
        [0, 1, 2, 3, 4].map((partition) => [partition, 0]),
      );
      await admin.close();
      await second.close();
    });

    it('places keys over all partitions of a topic that has grown', async () => {
      const t = await kit().topic('grown-keys', { partitions: 1 });
      const admin = await kit().backend.openAdmin();
      await admin.grow(t, 3);
      const keys = Array.from({ length: 20 }, (_, i) => Buffer.from(`card-${i}`));
      const { partition: _, ...keyed } = record(t, 'x');
      await kit().write(keys.map((key) => ({ ...keyed, key })));
      for (let partition = 0; partition < 3; partition++) {
        const expected = keys.filter((key) => partitionOfKey(key, 3) === partition).length;
        await take(await kit().reader(t, 'earliest', partition), expected);
      }
      await admin.close();
    });

    it('refuses to grow a topic that does not exist', async () => {
      const admin = await kit().backend.openAdmin();
      await expect(admin.grow(unique('missing'), 2)).rejects.toBeInstanceOf(StreamError);
      await admin.close();
    });

    it('names its topics, and those of others on the same log', async () => {
      const [a, b] = [await kit().topic('named'), await kit().topic('named')];
      const [admin, second] = [await kit().backend.openAdmin(), await kit().other.openAdmin()];
      const names = await second.names();
      expect(names.filter((name) => name === a || name === b).sort()).toEqual([a, b].sort());
      expect(names.filter((name) => name.startsWith('__'))).toEqual([]);
      expect(names).toEqual([...names].sort());
      await admin.delete([a]);
      const deadline = Date.now() + VISIBLE_MS;
      while ((await second.names()).includes(a) && Date.now() < deadline) await sleep(50);
      expect(await second.names()).not.toContain(a);
      expect(await admin.groupMembers(unique('nobody'))).toEqual([]);
      await admin.close();
      await second.close();
    });

    it('tells the range of each partition', async () => {
      const t = await kit().topic('ranges', { partitions: 2 });
      const admin = await kit().backend.openAdmin();
      const before = await admin.ranges(t);
      expect(before.map(({ partition, start, end }) => [partition, end - start])).toEqual([
        [0, 0],
        [1, 0],
      ]);
      await kit().write([record(t, 'a', { partition: 1 }), record(t, 'b', { partition: 1 })]);
      await take(await kit().reader(t, 'earliest', 1), 2);
      const after = await admin.ranges(t);
      expect(after[0]).toEqual(before[0]);
      expect(after[1].end - after[1].start).toBe(2);
      await admin.close();
    });

    it('names a topic apart from its namesake made later, and the same to everyone', async () => {
      const t = await kit().topic('identity');
      const another = await kit().topic('identity');
      const [admin, second] = [await kit().backend.openAdmin(), await kit().other.openAdmin()];
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
      const t = await kit().topic('deleted');
      const admin = await kit().backend.openAdmin();
      await kit().write([record(t, 'old')]);
      await admin.delete([t]);
      const deadline = Date.now() + VISIBLE_MS;
      while ((await admin.partitionCount(t)) !== null && Date.now() < deadline) await sleep(50);
      expect(await admin.partitionCount(t)).toBeNull();
      await admin.ensure([{ name: t, partitions: 1, cleanup: 'delete' }]);
      await kit().write([record(t, 'new')]);
      expect(text(await take(await kit().reader(t), 1))).toEqual(['new']);
      await admin.close();
    });

    it('keeps the progress of a group by partition, and of other groups apart', async () => {
      const t = await kit().topic('progress', { partitions: 3 });
      const [admin, second] = [await kit().backend.openAdmin(), await kit().other.openAdmin()];
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

  describe('an assignment', () => {
    /** Joins as the only member and collects what it was given, by name, and that it lost nothing. */
    async function join(options: Omit<AssignmentOptions, 'group'>) {
      const assignment = await kit().backend.openAssignment({ group: unique('group'), ...options });
      const given: string[][] = [];
      const lost: string[] = [];
      await assignment.join({
        onFailed: (error) => lost.push(error.message),
        onAssigned: async ({ active, standby }) => {
          expect(standby).toEqual([]); // there is nobody else whose state could be kept warm
          given.push(active.map(unitName).sort());
        },
        onLost: async (reason) => {
          lost.push(reason);
        },
      });
      const until = async (units: readonly string[]) => {
        for (let waitedMs = 0; waitedMs < VISIBLE_MS; waitedMs += 20) {
          if (isDeepStrictEqual(given.at(-1), units)) break;
          await sleep(20);
        }
        expect(given.at(-1)).toEqual(units);
      };
      const leave = async () => {
        await assignment.leave();
        expect(lost).toEqual([]);
      };
      return { until, leave };
    }

    it('gives the only member of a group all partitions of all its topics', async () => {
      const [a, b] = [await kit().topic('assigned-a', { partitions: 2 }), await kit().topic('assigned-b')];
      const member = await join({ source: { topics: [a, b] }, standbys: 1 });
      await member.until([`${a}/0`, `${a}/1`, `${b}/0`].sort());
      await member.leave();
    });

    it('finds topics that match a pattern, those too that are made later', async () => {
      const stem = unique('found');
      const pattern = { source: { pattern: `${stem}-[a-z]+` }, discoveryMs: 100 };
      const admin = await kit().backend.openAdmin();
      const make = (name: string, partitions: number) => admin.ensure([{ name, partitions, cleanup: 'delete' }]);
      await make(`${stem}-a`, 1);
      await make(`${stem}-1`, 1); // does not match
      await make(`not-${stem}-a`, 1); // only a part of it would
      const member = await join(pattern);
      await member.until([`${stem}-a/0`]);
      await make(`${stem}-b`, 2);
      await member.until([`${stem}-a/0`, `${stem}-b/0`, `${stem}-b/1`]);
      await member.leave();
      await admin.close();
    });

    it('begins with nothing where nothing matches yet', async () => {
      const member = await join({ source: { pattern: unique('nothing') } });
      await member.until([]);
      await member.leave();
    });
  });
}
