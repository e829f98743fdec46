/** Owns the tests of what becomes of a process whose source got more partitions. */
import { describe, expect, it } from 'vitest';
import { AddedPartitions, countedPartitions } from '../../src/app/keying.js';
import { StreamError } from '../../src/stream/errors.js';
import type { Assigned } from '../../src/stream/ports.js';
import type { TaskStatus } from '../../src/stream/runtime/status.js';
import { HandClock } from './hand-clock.js';

const status = (partition: number, committedOffset: number, code: string | null = null) =>
  ({
    taskId: `t-${partition}`,
    partition,
    committedOffset,
    state: code === null ? 'running' : 'failed',
    error: code === null ? null : { code, message: '' },
  }) as TaskStatus;

function watched(given = 2) {
  const clock = new HandClock();
  const world = { ends: [10, 20], tasks: [] as TaskStatus[], fatal: [] as string[], said: [] as string[] };
  const added = new AddedPartitions({
    topic: 'in',
    partitions: 2,
    discoveryMs: 1_000,
    admin: {
      partitionCount: async () => world.ends.length,
      ranges: async () => world.ends.map((end, partition) => ({ partition, start: 0, end, writtenEnd: end })),
    },
    clock,
    tasks: () => world.tasks,
    given: () => given,
    onFatal: (error) => world.fatal.push(error.code),
    say: (_level, message) => world.said.push(message),
  });
  return { clock, world, added };
}

/** Lets what is due and waiting run. */
async function pass(clock: HandClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    clock.advance(100);
    for (let i = 0; i < 10; i++) await Promise.resolve();
  }
}

describe('a source that got more partitions', () => {
  it('is told of at the next look, and ends nothing while the new ones are empty', async () => {
    const { clock, world, added } = watched();
    await added.start();
    world.ends = [10, 20, 0];
    await pass(clock, 3_000);
    expect(world.said).toHaveLength(1);
    expect(world.said[0]).toContain('in has 3 partitions and this pipeline counts 2');
    expect(world.fatal).toEqual([]);
    await added.stop();
  });

  it('ends the process once every task stands at its end or before its first moved card', async () => {
    const { clock, world, added } = watched();
    world.tasks = [status(0, 4), status(1, 12)];
    await added.start();
    world.ends = [10, 20, 1];
    await pass(clock, 1_500);
    expect(world.fatal).toEqual([]);
    world.tasks = [status(0, 10), status(1, 12)];
    await pass(clock, 1_000);
    expect(world.fatal).toEqual([]);
    world.tasks = [status(0, 11), status(1, 13, 'partitions-added')];
    await pass(clock, 500);
    expect(world.fatal).toEqual(['partitions-added']);
  });

  it('waits for tasks that have told nothing yet, and for a slow one no longer than a minute', async () => {
    const { clock, world, added } = watched();
    world.tasks = [status(0, 10)];
    added.onFatal(new StreamError('partitions-added', 'said by a task'));
    await pass(clock, 59_000);
    expect(world.fatal).toEqual([]);
    await pass(clock, 2_000);
    expect(world.fatal).toEqual(['partitions-added']);
    expect(world.said.at(-1)).toContain('the next start goes on');
  });

  it('holds up no other failure, and none of its own once the process stops', async () => {
    const { clock, world, added } = watched();
    added.onFatal(new StreamError('corrupt-data', 'something else'));
    expect(world.fatal).toEqual(['corrupt-data']);
    added.onFatal(new StreamError('partitions-added', 'said by a task'));
    await added.stop();
    await pass(clock, 70_000);
    expect(world.fatal).toEqual(['corrupt-data']);
  });

  it('has tasks for the partitions that are counted alone', async () => {
    const given: Assigned[] = [];
    const unit = (partition: number) => ({ topic: 'in', partition });
    const assignment = countedPartitions(
      {
        join: ({ onAssigned }) => onAssigned({ active: [unit(0), unit(2)], standby: [unit(1), unit(3)] }),
        leave: async () => {},
      },
      2,
    );
    await assignment.join({
      onAssigned: async (assigned) => void given.push(assigned),
      onLost: async () => {},
      onFailed: () => {},
    });
    expect(given).toEqual([{ active: [unit(0)], standby: [unit(1)] }]);
  });
});
