/**
 * Owns the tests of beginning a generation from a savepoint: whatever the partition counts, every key is in one task,
 * the right one, with the state it had, and goes on from there as if nothing had happened.
 */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { readBeginning } from '../../../src/stream/checkpoint/seed.js';
import { partitionOfKey } from '../../../src/stream/partitioning.js';
import { stateLayout } from '../../../src/stream/state/layout.js';
import { type Input, kitPipeline } from '../kit.js';
import { cardsAfter, type Generation, Generations } from './generations.js';

let world: Generations;

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error as Error & { code: string },
  );

/** Expects every card once, in its own partition, with what these payments left. */
async function expectCards(generation: Generation, payments: readonly Input[]): Promise<void> {
  const truth = cardsAfter(payments);
  const found = await world.cards(generation);
  expect([...found.keys()].sort()).toEqual([...truth.keys()].sort());
  for (const [key, places] of found) {
    const partition = partitionOfKey(Buffer.from(key), generation.partitions);
    expect(places).toEqual([{ partition, card: truth.get(key) }]);
  }
}

const PHASE_MS = 100_000;

/** For each partition a key of its own that hashes there: its payment at a phase's start moves event time past all before it. */
function clocks(partitions: number, phase: number): Input[] {
  const found: Input[] = [];
  for (let partition = 0, i = 0; partition < partitions; i++) {
    const key = `clock-${phase}-${i}`;
    if (partitionOfKey(Buffer.from(key), partitions) !== partition) continue;
    found.push({ key, value: 0, at: phase * PHASE_MS });
    partition++;
  }
  return found;
}

describe('a rescale', () => {
  it('from 4 partitions to 6 to 2 keeps every card once, and each of its timers fires once', async () => {
    const phasesOfCards = fc.array(fc.array(fc.tuple(fc.nat(60), fc.nat(9)), { maxLength: 120 }), {
      minLength: 3,
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(phasesOfCards, async (phases) => {
        world = new Generations();
        const written: Input[] = [];
        const timers: string[] = [];
        let generation: Generation | null = null;
        for (const [phase, partitions] of [4, 6, 2].entries()) {
          const next: Generation = await world.make(phase + 1, partitions);
          if (generation !== null) await world.rescale(generation, next);
          generation = next;
          await expectCards(generation, written);
          const paid = phases[phase].map(([card, value], i) => ({
            key: `card-${card}`,
            value,
            at: (phase + 1) * PHASE_MS + i,
          }));
          const inputs = [...clocks(partitions, phase + 1), ...paid];
          await world.write(generation, inputs);
          written.push(...inputs);
          await world.runToEnd(generation);
          await expectCards(generation, written);
          // A card's last payment of a phase sets the timer that the next phase, being later, fires.
          const last = new Map(inputs.map(({ key, at }) => [key, at]));
          const counts = cardsAfter(written);
          for (const [key, at] of last) timers.push(`${key}@${at + 1_000}:${counts.get(key)?.count}`);
        }
        if (generation === null) throw new Error('there was no phase');
        await world.write(generation, clocks(generation.partitions, 9));
        await world.runToEnd(generation);
        const fired = world.outputs().filter(({ quiet }) => quiet !== undefined);
        expect(fired.map(({ quiet, dueMs, count }) => `${quiet}@${dueMs}:${count}`).sort()).toEqual(timers.sort());
        // Every payment was seen once, in its card's order.
        const seen = world.outputs().filter(({ key }) => key !== undefined && !key.startsWith('clock'));
        expect(new Set(seen.map(({ key, seen: nth }) => `${key} ${nth}`)).size).toBe(seen.length);
      }),
      { numRuns: 12 },
    );
  });
});

describe('seeding', () => {
  const all: Input[] = Array.from({ length: 200 }, (_, i) => ({
    key: `card-${(i * 7) % 50}`,
    value: i % 10,
    at: PHASE_MS + i,
  }));
  let first: Generation;
  let next: Generation;

  beforeEach(async () => {
    world = new Generations();
    first = await world.make(1, 4);
    next = await world.make(2, 6);
    await world.write(first, all);
    await world.runToEnd(first);
    await world.save(first, 'monday');
  });

  const beginnings = () =>
    Promise.all(
      Array.from({ length: next.partitions }, async (_, partition) =>
        readBeginning(await world.openEpochLog(next, partition)),
      ),
    );

  it('writes one seed a task, from which readers learn where it came from', async () => {
    expect(await beginnings()).toEqual(Array(6).fill('empty'));
    const outcomes = await world.seed(next, 'monday');
    expect(outcomes.reduce((sum, { keys }) => sum + (keys ?? 0), 0)).toBe(50);
    const { id } = await world.savepoints.read('monday');
    const seeds = await beginnings();
    for (const [partition, seed] of seeds.entries()) {
      expect(seed).toMatchObject({ taskId: `kit-${partition}`, generation: 2, savepoint: 'monday', savepointId: id });
    }
    expect(world.log.records(next.stateLog)).toHaveLength(6);
    expect(world.disk.directory('seeds/kit-0').entries).toBeNull();
  });

  it('is cut short anywhere and done again: the end is the same', async () => {
    let generations = 10;
    await fc.assert(
      fc.asyncProperty(fc.nat(40), fc.constantFrom('store', 'commit', 'stop', 'put'), async (when, how) => {
        next = await world.make(++generations, 6);
        let left = when;
        const strike = () => {
          if (left-- === 0) throw new Error('killed');
        };
        if (how === 'store') world.storeFault = (operation) => (operation === 'close' ? undefined : strike());
        const { snapshots } = next;
        const cut = world.seed(next, 'monday', {
          ...(how === 'stop' && { shouldStop: () => left-- === 0 }),
          ...(how === 'put' && {
            snapshots: {
              ...snapshots,
              put: async (...what) => {
                strike();
                const put = await snapshots.put(...what);
                strike();
                return put;
              },
            },
          }),
          ...(how === 'commit' && {
            openEpochLog: async (partition) => {
              const log = await world.openEpochLog(next, partition);
              const { commit } = log;
              log.commit = async (writes) => {
                strike();
                const receipt = await commit.call(log, writes);
                strike();
                return receipt;
              };
              return log;
            },
          }),
        });
        await cut.catch(() => {});
        world.storeFault = () => {};
        world.disk.crash();
        const whole = (await beginnings()).map((beginning) => beginning !== 'empty');
        const outcomes = await world.seed(next, 'monday');
        // G2: what was seeded before is left alone.
        expect(outcomes.map(({ keys }) => keys === null)).toEqual(whole);
        expect(world.log.records(next.stateLog)).toHaveLength(6);
        for (let partition = 0; partition < 6; partition++) expect(snapshots.ids(`kit-${partition}`)).toHaveLength(1);
        await expectCards(next, all);
        await world.runToEnd(next);
      }),
      { numRuns: 40 },
    );
  });

  it.each(['before', 'after', 'late'] as const)('with commits in doubt (%s) writes one seed a task', async (fault) => {
    world.log.faults.failNextCommit(fault, 'kit-2');
    world.log.faults.failNextCommit(fault, 'kit-4');
    await world.seed(next, 'monday');
    expect(world.log.records(next.stateLog)).toHaveLength(6);
    await expectCards(next, all);
  });

  it('again is nothing, even while the tasks run: nobody is taken over', async () => {
    await world.seed(next, 'monday');
    const task = world.task(next, 3);
    const run = task.run();
    while (task.status().state !== 'running') await new Promise((resolve) => setTimeout(resolve, 2));
    expect(await world.seed(next, 'monday')).toEqual(
      Array.from({ length: 6 }, (_, i) => ({ taskId: `kit-${i}`, keys: null })),
    );
    await world.write(next, all);
    task.stop();
    expect(await run).toBe('stopped');
    await world.runToEnd(next);
    await expectCards(next, [...all, ...all]);
  });

  it('from another savepoint than some task has begun from is refused before anything is done', async () => {
    await world.save(first, 'tuesday');
    let commits = 0;
    const cut = world.seed(next, 'monday', {
      openEpochLog: async (partition) => {
        const log = await world.openEpochLog(next, partition);
        const { commit } = log;
        log.commit = (writes) => {
          if (++commits > 2) throw new Error('killed');
          return commit.call(log, writes);
        };
        return log;
      },
    });
    await expect(cut).rejects.toThrow('killed');
    const records = world.log.records(next.stateLog);
    const failure = await failureOf(world.seed(next, 'tuesday'));
    expect(failure).toMatchObject({ code: 'seed-refused' });
    expect(failure.message).toMatch(/kit-0.*from savepoint monday .*not from tuesday/);
    expect(world.log.records(next.stateLog)).toEqual(records);
    // A savepoint of the same name, made anew, is another one.
    await world.savepoints.delete('monday');
    await world.save(first, 'monday');
    expect(await failureOf(world.seed(next, 'monday'))).toMatchObject({ code: 'seed-refused' });
  });

  it('into state logs that hold epochs is refused', async () => {
    await world.write(next, all.slice(0, 5));
    await world.runToEnd(next);
    const failure = await failureOf(world.seed(next, 'monday'));
    expect(failure).toMatchObject({ code: 'seed-refused', message: expect.stringContaining('holds epochs already') });
    expect(await failureOf(world.seed(first, 'monday'))).toMatchObject({ code: 'seed-refused' });
  });

  it('whose checkpoint is lost leaves a task that says so, and not an empty one; seeding makes it anew', async () => {
    await world.seed(next, 'monday');
    const [id] = next.snapshots.ids('kit-1');
    await next.snapshots.delete('kit-1', id);
    const failure = await failureOf(world.task(next, 1).run());
    expect(failure).toMatchObject({ code: 'state-lost', message: expect.stringContaining(`checkpoint ${id}`) });
    expect(failure.message).toContain('savepoint monday');
    await world.seed(next, 'monday');
    expect(next.snapshots.ids('kit-1')).toEqual([id]);
    await expectCards(next, all);
    await world.runToEnd(next);
  });

  it('carries every task on where it was if the partition count stays, misplaced keys too', async () => {
    const same = await world.make(3, 4);
    // Of a producer that keys otherwise: in partition 0, whatever it hashes to.
    const stray = { key: 'stray-1', value: 5, at: PHASE_MS + 500 };
    expect(partitionOfKey(Buffer.from(stray.key), 4)).not.toBe(0);
    await (await world.log.open().openWriter()).write([
      {
        topic: first.source,
        partition: 0,
        key: null,
        value: Buffer.from(JSON.stringify(stray)),
        headers: [],
        timestampMs: 0,
      },
    ]);
    await world.runToEnd(first);
    await world.save(first, 'tuesday');
    const { manifest } = await world.savepoints.read('tuesday');
    await world.seed(same, 'tuesday');
    for (const [partition, task] of manifest.tasks.entries()) {
      const image = await world.openImage(same, partition);
      const { maxEventTimeMs, cursors } = task.resume;
      expect(image.resume).toMatchObject({ epoch: 1, sourceOffset: 0, maxEventTimeMs, cursors });
      await image.close();
    }
    expect((await world.cards(same)).get('stray-1')).toMatchObject([{ partition: 0 }]);
  });

  it('takes no key back in event time: tasks begin with the earliest of the old ones', async () => {
    const { manifest } = await world.savepoints.read('monday');
    await world.seed(next, 'monday');
    const image = await world.openImage(next, 5);
    const earliest = Math.min(...manifest.tasks.map(({ resume }) => resume.maxEventTimeMs ?? Infinity));
    expect(image.resume).toMatchObject({ epoch: 1, sourceOffset: 0, maxEventTimeMs: earliest });
    await image.close();
  });

  it('keeps a key that two tasks held as its own task had it, and says so', async () => {
    const key = 'card-7';
    const own = partitionOfKey(Buffer.from(key), 4);
    const elsewhere = (own + 1) % 4;
    const stray = { key, value: 9, at: PHASE_MS + 500 };
    await (await world.log.open().openWriter()).write([
      {
        topic: first.source,
        partition: elsewhere,
        key: null,
        value: Buffer.from(JSON.stringify(stray)),
        headers: [],
        timestampMs: 0,
      },
    ]);
    await world.runToEnd(first);
    await world.save(first, 'tuesday');
    await world.seed(next, 'tuesday');
    await expectCards(next, all);
    expect(world.said.join('\n')).toMatch(/1 keys of savepoint tuesday were kept by more than one task/);
  });

  it('tells a layout which keys moved, and of no other', async () => {
    const moved: number[] = [];
    const { layout } = kitPipeline();
    const telling = stateLayout(
      'kit',
      {
        version: 1,
        moved: (columns, slot) => {
          moved.push(columns.sum[slot]);
        },
      },
      layout.fields,
    );
    const sumOf = cardsAfter(all);
    const isSame = (key: string) => partitionOfKey(Buffer.from(key), 4) === partitionOfKey(Buffer.from(key), 6);
    const source = { topic: first.source, identity: `id of ${first.source}` };
    await world.seed(next, 'monday', { layout: telling as never, source });
    const expected = [...sumOf].filter(([key]) => !isSame(key)).map(([, { sum }]) => sum);
    expect(moved.sort()).toEqual(expected.sort());
    moved.length = 0;
    // In another source every place is another, even of a key that stays in its partition.
    await world.seed(await world.make(3, 4), 'monday', { layout: telling as never });
    expect(moved).toHaveLength(50);
    moved.length = 0;
    const same = await world.make(4, 4);
    await world.seed(same, 'monday', { layout: telling as never, source });
    expect(moved).toEqual([]);
  });
});
