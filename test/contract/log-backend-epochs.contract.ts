/** What every log backend promises to tasks: epochs, state logs, fencing. A part of `log-backend.contract.ts`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { CommitDoubtfulError, FencedError, OffsetOutOfRangeError, StreamError } from '../../src/stream/errors.js';
import { epoch, type LogKit, record, stateLogOf, take, text, unique } from './log-backend-kit.js';

export function describeEpochs(kit: () => LogKit): void {
  describe('epochs', () => {
    it('makes outputs on several topics and the state log visible', async () => {
      const alerts = await kit().topic('alerts', { partitions: 2 });
      const deadLetters = await kit().topic('dead-letters');
      const { log, stateLog } = await kit().freshTask();
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
      expect(text(await take(await kit().reader(alerts, 'earliest', 0, kit().other), 1))).toEqual(['alert 0']);
      expect(text(await take(await kit().reader(alerts, 'earliest', 1, kit().other), 1))).toEqual(['alert 1']);
      expect(text(await take(await kit().reader(deadLetters, 'earliest', 0, kit().other), 1))).toEqual(['dead']);
      expect(text(await take(await kit().reader(stateLog, 'earliest', 0, kit().other), 1))).toEqual(['delta']);
    });

    it('gives the state log back in order, over many epochs of several chunks, also to the next owner', async () => {
      const { log, stateLog, taskId } = await kit().freshTask();
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
      const successor = await kit().epochLog(taskId, stateLog, kit().other);
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

    it('fences among those of one owner id, whatever their tasks are called', async () => {
      const stateLog = await kit().topic('owned', { retentionMs: -1 });
      const [taskId, ownerId] = [unique('task'), unique('owner')];
      const open = async (owner: string, on = kit().backend) => {
        const log = await on.openEpochLog({ taskId, ownerId: owner, stateLog: { topic: stateLog, partition: 0 } });
        kit().onClose(() => log.close());
        await log.fence();
        return log;
      };
      const first = await open(ownerId);
      const another = await open(unique('owner'), kit().other);
      await first.commit(epoch(['first']));
      await another.commit(epoch(['another']));
      const successor = await open(ownerId, kit().other);
      await expect(first.commit(epoch(['zombie']))).rejects.toBeInstanceOf(FencedError);
      await successor.commit(epoch(['successor']));
      expect(await stateLogOf(successor)).toEqual(['first', 'another', 'successor']);
    });

    it('resumes the state log behind any record, and gives nothing at its end', async () => {
      const { log } = await kit().freshTask();
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
      const { log } = await kit().freshTask();
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
      const t = await kit().topic('alone');
      const { log } = await kit().freshTask();
      await log.commit(epoch([], [record(t, 'output')]));
      await log.commit(epoch([]));
      await log.commit(epoch(['state']));
      expect(text(await take(await kit().reader(t), 1))).toEqual(['output']);
      expect(await stateLogOf(log)).toEqual(['state']);
    });

    it('takes a state-log value of the largest size it names, several times in one epoch', async () => {
      const { log } = await kit().freshTask();
      const sizeBytes = Math.min(log.maxRecordBytes, 8 * 1024 * 1024);
      const chunks = [1, 2, 3].map((fill) => Buffer.alloc(sizeBytes, fill));
      await log.commit({ outputs: [], stateLog: chunks });
      const matches: boolean[] = [];
      const { start } = await log.stateLogRange();
      await log.readStateLog(start, (value) => void matches.push(value.equals(chunks[matches.length])));
      expect(matches).toEqual([true, true, true]);
    });

    it('lets the buffers of an epoch be written over once it committed', async () => {
      const t = await kit().topic('reuse');
      const { log } = await kit().freshTask();
      const value = Buffer.from('first');
      const delta = Buffer.from('delta');
      await log.commit({ outputs: [record(t, value)], stateLog: [delta] });
      value.fill('x');
      delta.fill('x');
      expect(text(await take(await kit().reader(t), 1))).toEqual(['first']);
      expect(await stateLogOf(log)).toEqual(['delta']);
    });

    it('forgets the state log before a truncation, and fails to read from there', async () => {
      const { log } = await kit().freshTask();
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
      const { log } = await kit().freshTask();
      await log.commit(epoch(['a']));
      const { end } = await log.stateLogRange();
      await expect(log.readStateLog(end + 1_000, () => {})).rejects.toBeInstanceOf(OffsetOutOfRangeError);
    });

    it('keeps the state logs of several tasks apart', async () => {
      const stateLog = await kit().topic('shared-state', { partitions: 2 });
      const logs = await Promise.all(
        [0, 1].map(async (partition) => {
          const log = await kit().backend.openEpochLog({
            taskId: unique('task'),
            stateLog: { topic: stateLog, partition },
          });
          kit().onClose(() => log.close());
          await log.fence();
          return log;
        }),
      );
      await Promise.all(logs.map((log, i) => log.commit(epoch([`task ${i}`]))));
      expect(await stateLogOf(logs[0])).toEqual(['task 0']);
      expect(await stateLogOf(logs[1])).toEqual(['task 1']);
    });

    it('interleaves the outputs of several tasks on one partition without losing or doubling any', async () => {
      const t = await kit().topic('interleaved');
      const tasks = await Promise.all([0, 1, 2].map(() => kit().freshTask()));
      await Promise.all(
        tasks.map(async ({ log }, task) => {
          for (let i = 0; i < 20; i++)
            await log.commit(epoch(['s'], [record(t, `${task}:${i}`), record(t, `${task}:${i}+`)]));
        }),
      );
      const seen = text(await take(await kit().reader(t), 120)) as string[];
      for (const task of [0, 1, 2]) {
        const own = Array.from({ length: 20 }, (_, i) => [`${task}:${i}`, `${task}:${i}+`]).flat();
        expect(seen.filter((value) => value.startsWith(`${task}:`))).toEqual(own);
      }
    });
  });

  describe('fencing', () => {
    it('refuses a commit before the first fence', async () => {
      const stateLog = await kit().topic('unfenced');
      const log = await kit().epochLog(unique('task'), stateLog);
      await expect(log.commit(epoch(['early']))).rejects.toBeInstanceOf(StreamError);
      await log.fence();
      expect(await stateLogOf(log)).toEqual([]);
    });

    it("rejects a zombie's epoch, which never becomes visible", async () => {
      const t = await kit().topic('zombie');
      const { taskId, stateLog, log: zombie } = await kit().freshTask();
      await zombie.commit(epoch(['1'], [record(t, 'first')]));
      const owner = await kit().epochLog(taskId, stateLog, kit().other);
      await owner.fence();
      await expect(zombie.commit(epoch(['zombie'], [record(t, 'zombie')]))).rejects.toBeInstanceOf(FencedError);
      await owner.commit(epoch(['2'], [record(t, 'second')]));
      expect(text(await take(await kit().reader(t), 2))).toEqual(['first', 'second']);
      expect(await stateLogOf(owner)).toEqual(['1', '2']);
    });

    it('refuses every commit after a rejected one until it fenced again, and then it is the owner', async () => {
      const { taskId, stateLog, log: first } = await kit().freshTask();
      const second = await kit().epochLog(taskId, stateLog, kit().other);
      await second.fence();
      await expect(first.commit(epoch(['a']))).rejects.toBeInstanceOf(FencedError);
      await expect(first.commit(epoch(['b']))).rejects.toBeInstanceOf(StreamError);
      await first.fence();
      await first.commit(epoch(['c']));
      await expect(second.commit(epoch(['d']))).rejects.toBeInstanceOf(FencedError);
      expect(await stateLogOf(first)).toEqual(['c']);
    });

    it('rejects two zombies at once', async () => {
      const t = await kit().topic('zombies');
      const { taskId, stateLog, log: first } = await kit().freshTask();
      const second = await kit().epochLog(taskId, stateLog, kit().other);
      await second.fence();
      const third = await kit().epochLog(taskId, stateLog);
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
      expect(text(await take(await kit().reader(t), 1))).toEqual(['third']);
    });

    it('settles a commit that meets a fence one way for all topics, and before the fence resolves', async () => {
      const t = await kit().topic('race');
      const { taskId, stateLog, log: first } = await kit().freshTask();
      let owner = first;
      const outcome: string[] = [];
      for (let round = 0; round < 14; round++) {
        const successor = await kit().epochLog(taskId, stateLog, round % 2 === 0 ? kit().other : kit().backend);
        const commit = owner.commit(epoch([`old ${round}`], [record(t, `old ${round}`)])).then(
          () => 'committed',
          (error: unknown) => {
            if (error instanceof FencedError) return 'fenced';
            if (error instanceof CommitDoubtfulError) return 'doubtful';
            throw error;
          },
        );
        // The fence falls into another moment of the commit each time: some turns, or some ms, after its start.
        if (round % 3 === 2) await sleep(round);
        else for (let turn = 0; turn < round; turn++) await null;
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
      expect(text(await take(await kit().reader(t), outcome.length))).toEqual(outcome);
    });

    it('refuses every commit after one that was rejected for its size, until it fenced again', async () => {
      const t = await kit().topic('small', { maxRecordBytes: 10_000 });
      const { log } = await kit().freshTask();
      const tooLarge = Buffer.from(Array.from({ length: 60_000 }, (_, i) => (i * 7_919) ^ (i >> 3)));
      await expect(log.commit(epoch(['a'], [record(t, 'x'), record(t, tooLarge)]))).rejects.toBeInstanceOf(StreamError);
      await expect(log.commit(epoch(['b'], [record(t, 'b')]))).rejects.toBeInstanceOf(StreamError);
      await log.fence();
      await log.commit(epoch(['c'], [record(t, 'c')]));
      expect(await stateLogOf(log)).toEqual(['c']);
      expect(text(await take(await kit().reader(t), 1))).toEqual(['c']);
    });

    it('does not touch other tasks', async () => {
      const [a, b] = await Promise.all([kit().freshTask(), kit().freshTask()]);
      const successor = await kit().epochLog(a.taskId, a.stateLog, kit().other);
      await successor.fence();
      await b.log.commit(epoch(['b']));
      expect(await stateLogOf(b.log)).toEqual(['b']);
    });
  });
}
