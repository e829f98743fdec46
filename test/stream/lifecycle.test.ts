/** Owns the tests of a task's life: doubt, fencing, stops at any moment, failures, and what a burst of timers may do. */
import { beforeEach, describe, expect, it } from 'vitest';
import { CommitDoubtfulError } from '../../src/stream/errors.js';
import type { LogBackend } from '../../src/stream/ports.js';
import type { CommitFault } from '../../src/stream/testing/memory-log.js';
import { type Input, kitPipeline, makeInputs, reference, seeded, TOPICS } from './kit.js';
import { kitOptions, pause, TaskWorld, track, until } from './task-world.js';

let world: TaskWorld;
const inputs = makeInputs(200, 30, seeded(77));
const expected = reference(inputs);

beforeEach(async () => {
  world = await TaskWorld.begin();
});

const expectAll = () => {
  expect(world.outputs(TOPICS.out)).toEqual(expected.out);
  expect(world.outputs(TOPICS.dead)).toEqual(expected.dead);
};

/** A backend that notes what each commit carried. */
function watched(seen: (outputs: number) => void, backend = world.log.open()): LogBackend {
  return {
    ...backend,
    openEpochLog: async (options) => {
      const log = await backend.openEpochLog(options);
      const commit = log.commit.bind(log);
      return Object.assign(log, {
        commit: (writes: Parameters<typeof commit>[0]) => {
          seen(writes.outputs.length);
          return commit(writes);
        },
      });
    },
  };
}

describe('a commit in doubt', () => {
  it('makes the task look at the log again, after a pause that grows while nothing comes of it', async () => {
    await world.write(inputs);
    for (let i = 0; i < 4; i++) world.log.faults.failNextCommit('before');
    const startedAt = performance.now();
    const task = world.task();
    const run = task.run();
    await until(() => task.status().recoveries === 4);
    const end = await world.sourceEnd();
    await until(() => task.status().committedOffset >= end);
    expect(performance.now() - startedAt).toBeGreaterThan(20 + 40 + 80 + 160 - 5);
    expect(task.status().state).toBe('running');
    task.stop();
    expect(await run).toBe('stopped');
    expectAll();
    expect(world.said.filter((line) => line.includes('in doubt'))).toHaveLength(4);
  });

  it('does not hold up a stop by its pause', async () => {
    await world.write(inputs);
    for (let i = 0; i < 20; i++) world.log.faults.failNextCommit('before');
    const task = world.task();
    const run = task.run();
    await until(() => task.status().recoveries === 5); // the pause is 320 ms by now
    const startedAt = performance.now();
    task.stop();
    expect(await run).toBe('stopped');
    expect(performance.now() - startedAt).toBeLessThan(200);
  });

  it.each<CommitFault>(['before', 'after', 'late'])(
    '(%s) at a stop ends the task, and the next one knows what became of it',
    async (fault) => {
      await world.write(inputs);
      const release = world.log.faults.holdCommits();
      const task = world.task();
      const run = task.run();
      await until(() => task.status().records > 0);
      world.log.faults.failNextCommit(fault);
      task.stop();
      release();
      expect(await run).toBe('stopped');
      await world.runToEnd();
      expectAll();
    },
  );

  it('in the middle of a recovery begins the next one only when no write of this one is under way', async () => {
    await world.write(inputs);
    await world.runToEnd();
    world.disk.remove('state/kit-0');
    for (const id of await world.snapshots.list('kit-0')) await world.snapshots.delete('kit-0', id);
    const steps: string[] = [];
    world.storeFault = async (operation) => {
      if (operation !== 'writeBatch') return;
      steps.push('write');
      await pause(60);
      steps.push('written');
    };
    const backend = world.log.open();
    const breaking: LogBackend = {
      ...backend,
      openEpochLog: async (options) => {
        const log = await backend.openEpochLog(options);
        const [fence, read] = [log.fence.bind(log), log.readStateLog.bind(log)];
        return Object.assign(log, {
          fence: () => {
            steps.push('fence');
            return fence();
          },
          readStateLog: (from: number, onRecord: Parameters<typeof read>[1]) =>
            read(from, async (...record) => {
              await onRecord(...record);
              if (steps.length === 2) throw new CommitDoubtfulError('the connection is gone');
            }),
        });
      },
    };
    const task = world.task({}, { backend: breaking });
    const run = task.run();
    await until(() => steps.filter((step) => step === 'fence').length === 2);
    expect(steps.slice(0, 4)).toEqual(['fence', 'write', 'written', 'fence']);
    world.storeFault = () => {};
    task.stop();
    await run;
    await world.runToEnd();
    expectAll();
  });
});

describe('an epoch', () => {
  it('at its bound takes no more while the one before is on its way', async () => {
    // All at one time: no timer comes due, which would wait as well.
    await world.write(Array.from({ length: 1_000 }, (_, i) => ({ key: `card-${i % 20}`, value: 1, at: 1_000_000 })));
    const release = world.log.faults.holdCommits();
    const task = world.task({ batchRecords: 10, epoch: { ...kitOptions.epoch, maxRecords: 50 } });
    const run = task.run();
    await until(() => task.status().records >= 50);
    await pause(30);
    expect(task.status().records).toBeLessThanOrEqual(2 * (50 + 10));
    task.stop();
    release();
    await run;
  });

  it('makes a configured start position durable before any record: a crash does not choose anew', async () => {
    await world.write(inputs);
    const task = world.task({ startFrom: 'latest' });
    const run = task.run();
    await until(() => task.status().epoch === 0);
    task.stop();
    await run;
    await world.write([{ key: 'later', value: 1, at: 5_000_000 }]);
    world.disk.remove('state/kit-0'); // what the log knows must do
    await world.runToEnd({ startFrom: 'latest' });
    expect(world.outputs(TOPICS.out)).toEqual([expect.stringContaining('"later"')]);
  });
});

describe('a fenced task', () => {
  it('ends at once, says so, and nothing of it becomes visible any more', async () => {
    await world.write(inputs.slice(0, 100));
    const zombie = world.task({ stateDirectory: 'zombie' });
    const zombieRun = zombie.run();
    const half = await world.sourceEnd();
    await until(() => zombie.status().committedOffset >= half);
    const release = world.log.faults.holdCommits();
    await world.write(inputs.slice(100));
    await until(() => zombie.status().records > 100); // it has an epoch in flight, and one open
    const owner = world.task({ stateDirectory: 'owner' });
    const run = owner.run();
    await until(() => owner.status().state === 'running');
    release();
    expect(await zombieRun).toBe('fenced');
    expect(zombie.status()).toMatchObject({ state: 'fenced', error: { code: 'fenced' } });
    const end = await world.sourceEnd();
    await until(() => owner.status().committedOffset >= end);
    owner.stop();
    expect(await run).toBe('stopped');
    expectAll();
  });
});

describe('a stop', () => {
  it('while the state is being recovered ends the task without a record processed', async () => {
    await world.write(inputs);
    await world.runToEnd();
    world.disk.remove('state/kit-0');
    for (const id of await world.snapshots.list('kit-0')) await world.snapshots.delete('kit-0', id);
    let letGo = () => {};
    let reads = 0;
    world.storeFault = (operation) => {
      if (operation !== 'getMany' || ++reads !== 4) return;
      return new Promise<void>((resolve) => {
        letGo = resolve;
      });
    };
    const task = world.task();
    const run = task.run();
    await until(() => reads === 4);
    expect(task.status().state).toBe('recovering');
    task.stop();
    letGo();
    expect(await run).toBe('stopped');
    expect(task.status()).toMatchObject({ state: 'stopped', records: 0 });
    expect(reads).toBe(4); // the replay did not go on
  });

  it('while the store is opened ends the task before it begins', async () => {
    let letGo = () => {};
    let opening = false;
    world.storeFault = (operation) => {
      if (operation !== 'open') return;
      opening = true;
      return new Promise<void>((resolve) => {
        letGo = resolve;
      });
    };
    const task = world.task();
    const run = task.run();
    await until(() => opening);
    task.stop();
    letGo();
    expect(await run).toBe('stopped');
    expect(world.log.records(TOPICS.log)).toEqual([]);
  });

  it('waits for the commit under way, which the log settles, and commits what was read', async () => {
    await world.write(inputs);
    const release = world.log.faults.holdCommits();
    const task = world.task();
    const running = track(task.run());
    await until(() => task.status().records > 0);
    task.stop();
    expect(task.status().state).toBe('stopping');
    await pause(30);
    expect(running.ended).toBeNull();
    release();
    expect(await running.promise).toBe('stopped');
    expect(task.status()).toMatchObject({ state: 'stopped', dirtyKeys: 0 });
    await world.runToEnd();
    expectAll();
  });

  it('does not wait long for a checkpoint whose upload hangs', async () => {
    await world.write(inputs);
    let uploading = false;
    world.snapshots.put = () => {
      uploading = true;
      return new Promise(() => {});
    };
    const task = world.task({ checkpoint: { ...kitOptions.checkpoint, intervalMs: 1, timeoutMs: 60_000 } });
    const run = task.run();
    await until(() => uploading);
    const startedAt = performance.now();
    task.stop();
    expect(await run).toBe('stopped');
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });
});

describe('a failure', () => {
  it('of a write to the store ends the task with its reason, and loses nothing', async () => {
    await world.write(inputs);
    world.storeFault = (operation) => {
      if (operation === 'writeBatch') throw new Error('no space left on device');
    };
    const task = world.task();
    await expect(task.run()).rejects.toThrow('no space left on device');
    expect(task.status()).toMatchObject({
      state: 'failed',
      error: { code: 'unexpected', message: 'no space left on device' },
    });
    world.storeFault = () => {};
    await world.runToEnd();
    expectAll();
  });

  it('of a read from the store ends the task with its reason, and loses nothing', async () => {
    await world.write(inputs);
    let reads = 0;
    world.storeFault = (operation) => {
      if (operation === 'getMany' && ++reads === 5) throw new Error('bad block');
    };
    await expect(world.task().run()).rejects.toThrow('bad block');
    world.storeFault = () => {};
    await world.runToEnd();
    expectAll();
  });

  it('while a commit is on its way ends the task only when that has settled', async () => {
    await world.write(inputs.slice(0, 20)); // fewer than an epoch takes: nothing waits for the commit but the end
    const release = world.log.faults.holdCommits();
    let commits = 0;
    const task = world.task({}, { backend: watched(() => commits++) });
    const running = track(task.run());
    await until(() => task.status().records === 20 && commits === 1);
    world.storeFault = (operation) => {
      if (operation === 'getMany') throw new Error('bad block');
    };
    await world.write([{ key: 'cold', value: 1, at: 1_000_000 }]);
    await pause(30);
    expect(running.ended).toBeNull();
    release();
    await expect(running.promise).rejects.toThrow('bad block');
  });

  it('of a checkpoint does not disturb the stream', async () => {
    await world.write(inputs.slice(0, 100));
    world.snapshots.put = () => Promise.reject(new Error('bucket is gone'));
    const task = world.task({ checkpoint: { ...kitOptions.checkpoint, intervalMs: 1 } });
    const run = task.run();
    await until(() => task.status().checkpoint.failures > 0);
    await world.write(inputs.slice(100));
    const end = await world.sourceEnd();
    await until(() => task.status().committedOffset >= end);
    task.stop();
    await run;
    expect(task.status()).toMatchObject({ recoveries: 0, checkpoint: { id: null } });
    expectAll();
  });

  it('for want of hot keys says which setting to raise', async () => {
    await world.write(Array.from({ length: 60 }, (_, i) => ({ key: `card-${i}`, value: 1, at: 1_000_000 })));
    await expect(world.task({ hotKeys: 10, batchRecords: 30 }).run()).rejects.toMatchObject({
      code: 'hot-keys-too-few',
    });
  });
});

describe('timers', () => {
  const CARDS = 3_000;
  const burst: Input[] = [
    ...Array.from({ length: CARDS }, (_, i) => ({ key: `card-${i}`, value: 1, at: 1_000_000 })),
    { key: 'last', value: 1, at: 1_020_000 },
  ];
  const bounded = { hotKeys: 200, epoch: { ...kitOptions.epoch, maxRecords: 5_000, maxBytes: 20_000 } };

  it('that come due all at once do not make an epoch larger than its bound and one round of them', async () => {
    await world.write(burst);
    let largest = 0;
    const task = world.task(
      { ...bounded, hotKeys: 4_000 },
      {
        backend: watched((outputs) => {
          largest = Math.max(largest, outputs);
        }),
      },
    );
    const run = task.run();
    await until(() => world.outputs(TOPICS.out).length === 2 * CARDS + 1);
    task.stop();
    await run;
    expect(largest).toBeLessThan(1_500);
    expect(world.outputs(TOPICS.out)).toEqual(reference(burst).out);
  });

  it('that were due when a task was lost fire in the next one, though no record comes', async () => {
    await world.write(burst);
    const end = await world.sourceEnd();
    const fired = () => world.outputs(TOPICS.out).filter((line) => line.includes('quiet')).length;
    // Every record is committed, some timers are, and then another owner appears.
    const task = world.task(bounded, {
      backend: watched(() => {
        if (task.status().committedOffset >= end && fired() > 0) world.log.faults.failNextCommit('fenced');
      }),
    });
    expect(await task.run()).toBe('fenced');
    const left = CARDS - fired();
    expect(left).toBeGreaterThan(0);
    await world.runToEndOf(() => fired() === CARDS, bounded);
    expect(world.outputs(TOPICS.out)).toEqual(reference(burst).out);
  });

  it('of a card that has several fire after a restart that finds them in the store alone', async () => {
    const pipeline = kitPipeline({ ticks: true });
    const first = [{ key: 'a', value: 1, at: 1_000_000 }];
    await world.write(first);
    await world.runToEnd({}, pipeline);
    const later = [{ key: 'b', value: 1, at: 1_050_000 }];
    await world.write(later);
    await world.runToEnd({}, pipeline);
    const { out } = reference([...first, ...later], 500, { ticks: true });
    expect(out.filter((line) => line.includes('"a"'))).toHaveLength(1 + 1 + 3);
    expect(world.outputs(TOPICS.out)).toEqual(out);
  });

  it('that a step sets in a circle end the task instead of holding it for ever', async () => {
    const kit = kitPipeline();
    const [count] = kit.keyed;
    const circling: typeof kit = {
      ...kit,
      keyed: [
        {
          ...count,
          open: (context, columns) => ({
            ...count.open(context, columns),
            onTimer: ({ dueMs }, slot) => columns.quiet.set(slot, dueMs),
          }),
        },
      ],
    };
    await world.write(burst.slice(-5));
    await expect(world.task({}, { pipeline: circling }).run()).rejects.toMatchObject({ code: 'timer-loop' });
  });
});

describe('a task whose newest checkpoint is damaged', () => {
  it('warns with its name and that of the file, and counts it', async () => {
    await world.write(inputs);
    const checkpoint = { ...kitOptions.checkpoint, intervalMs: 1, truncateLog: false };
    await world.runToEndOf(() => world.snapshots.ids('kit-0').length > 0, { checkpoint });
    const newest = world.snapshots.ids('kit-0').at(-1) ?? '';
    world.snapshots.spoil('kit-0', newest, 'entries.bin', Buffer.from('no entries'));
    world.disk.remove('state/kit-0');
    const task = world.task({ checkpoint: { ...checkpoint, intervalMs: 60_000 } });
    const run = task.run().catch((error: unknown) => error);
    await until(() => world.warned.some((line) => line.includes('is unusable')));
    task.stop();
    await run;
    expect(world.warned).toContainEqual(expect.stringMatching(new RegExp(`${newest} is unusable.*entries.bin`)));
    expect(task.status().counters['checkpoint.unusable']).toBe(1);
  });
});
