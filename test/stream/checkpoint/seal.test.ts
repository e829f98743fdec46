/** Owns the tests of seals: a generation that is over stays over for whoever wakes up, until it is opened again. */
import { beforeEach, describe, expect, it } from 'vitest';
import { committedOffset } from '../../../src/stream/checkpoint/committed-offset.js';
import { readSeal, type Seal, sealTask } from '../../../src/stream/checkpoint/seal.js';
import { track, until } from '../task-world.js';
import { type Generation, Generations } from './generations.js';

const seal: Seal = { generation: 2, stateLog: 'log-g2', source: 'in-2', partitions: 6, savepoint: 'to-g2' };
const payments = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({ key: `card-${(from + i) % 5}`, value: 1, at: 1_000_000 + i }));

let world: Generations;
let first: Generation;

beforeEach(async () => {
  world = new Generations();
  first = await world.make(1, 1);
  await world.write(first, payments(30));
  await world.runToEnd(first);
});

const sealFirst = async (what: Seal | null) => sealTask(await world.openEpochLog(first, 0), what);
const sealNow = async () => readSeal(await world.openEpochLog(first, 0));

describe('a sealed task', () => {
  it('is refused to whoever starts it, naming the generation that goes on', async () => {
    await sealFirst(seal);
    const failure = await world
      .task(first, 0)
      .run()
      .then(null, (error: unknown) => error);
    expect(failure).toMatchObject({ code: 'generation-over' });
    expect(String(failure)).toMatch(/kit-0: .*generation 2, from savepoint to-g2, with source in-2 \(6 partitions\)/);
    expect(String(failure)).toContain('Start the service again');
  });

  it('tells its seal without being taken over, and keeps its offset', async () => {
    expect(await sealNow()).toBeNull();
    const before = await committedOffset(await world.openEpochLog(first, 0));
    await sealFirst(seal);
    expect(await sealNow()).toEqual(seal);
    expect(await committedOffset(await world.openEpochLog(first, 0))).toBe(before);
  });

  it('stops an owner that slept through it: that one commits nothing any more', async () => {
    const task = world.task(first, 0);
    const running = track(task.run());
    await until(() => task.status().state === 'running');
    await sealFirst(seal);
    const records = world.log.records(first.stateLog).length;
    await world.write(first, payments(10, 30));
    await expect(running.promise).rejects.toMatchObject({ code: 'generation-over' });
    // However often it is started again, its own log stops it.
    await expect(world.task(first, 0).run()).rejects.toMatchObject({ code: 'generation-over' });
    expect(world.log.records(first.stateLog)).toHaveLength(records);
    expect(world.outputs()).toHaveLength(30);
  });

  it('goes on where it was once it is opened again', async () => {
    await sealFirst(seal);
    await sealFirst(null);
    expect(await sealNow()).toBeNull();
    await world.write(first, payments(10, 30));
    await world.runToEnd(first);
    expect(world.outputs()).toHaveLength(40);
  });

  it('cannot be sealed for another generation, and may be for the same one again', async () => {
    await sealFirst(seal);
    const records = world.log.records(first.stateLog).length;
    await sealFirst(seal);
    expect(world.log.records(first.stateLog)).toHaveLength(records);
    const failure = await sealFirst({ ...seal, partitions: 8 }).then(null, (error: unknown) => error);
    expect(failure).toMatchObject({ code: 'sealed-already' });
    expect(String(failure)).toMatch(/generation 2 \(6 partitions.*generation 2 \(8 partitions/);
    await sealFirst(null);
    await sealFirst({ ...seal, partitions: 8 });
    expect(await sealNow()).toMatchObject({ partitions: 8 });
  });
});

describe('sealing', () => {
  it.each(['before', 'after', 'late'] as const)('with a commit in doubt (%s) ends with one seal', async (fault) => {
    world.log.faults.failNextCommit(fault);
    const records = world.log.records(first.stateLog).length;
    await sealFirst(seal);
    expect(await sealNow()).toEqual(seal);
    expect(world.log.records(first.stateLog)).toHaveLength(records + 1);
  });

  it('finds the seal behind aborted records and gaps, however many', async () => {
    await sealFirst(seal);
    for (let i = 0; i < 60; i++) {
      const epochLog = await world.openEpochLog(first, 0);
      await epochLog.fence();
      world.log.faults.failNextCommit('before');
      await epochLog.commit({ outputs: [], stateLog: [Buffer.from('x'), Buffer.from('y')] }).catch(() => {});
    }
    expect(await sealNow()).toEqual(seal);
  });

  it('of a task that never ran is possible, and it begins at nothing when it is opened again', async () => {
    const other = await world.make(5, 1);
    const epochLog = await world.openEpochLog(other, 0);
    expect(await readSeal(epochLog)).toBeNull();
    await sealTask(epochLog, seal);
    await expect(world.task(other, 0).run()).rejects.toMatchObject({ code: 'generation-over' });
    await sealTask(await world.openEpochLog(other, 0), null);
    await world.write(other, payments(3));
    await world.runToEnd(other);
    expect((await world.cards(other)).size).toBe(3);
  });
});
