import { beforeEach, describe, expect, it } from 'vitest';
import type { OutputRecord } from '../../src/stream/records.js';
import { type Input, kitPipeline, TOPICS } from './kit.js';
import { pause, TaskWorld, until } from './task-world.js';

let world: TaskWorld;
beforeEach(async () => {
  world = await TaskWorld.begin();
});

/** The kit's pipeline, with a broadcast table that tells of each take-up in the output topic. */
function telling() {
  const base = kitPipeline({ onTable: () => {} });
  let held = 'nothing';
  const told = (fromOffset: number): OutputRecord => ({
    topic: TOPICS.out,
    key: Buffer.from('table'),
    value: Buffer.from(JSON.stringify({ took: held, fromOffset })),
    headers: [],
    timestampMs: 1,
  });
  return {
    ...base,
    broadcasts: [
      {
        kind: 'broadcast' as const,
        id: 'table',
        topic: TOPICS.table,
        open: () => ({
          id: 'table',
          topic: TOPICS.table,
          apply: (_key: Buffer | null, value: Buffer | null) => {
            held = String(value);
          },
          took: (outputs: { emit(record: OutputRecord, options: { prompt: boolean }): void }, fromOffset: number) =>
            outputs.emit(told(fromOffset), { prompt: false }),
        }),
      },
    ],
  };
}

const putTable = (value: string) => world.write([value], TOPICS.table);
const takeUps = () =>
  world
    .outputs(TOPICS.out)
    .map((line) => JSON.parse(line) as { took?: string; fromOffset?: number })
    .filter(({ took }) => took !== undefined)
    .sort((a, b) => Number(a.fromOffset) - Number(b.fromOffset));
const payments = (count: number): Input[] => Array.from({ length: count }, () => ({ key: 'a', value: 1, at: 1 }));

describe('a broadcast update', () => {
  it('takes effect and is told of without any payment', async () => {
    const task = world.task({}, { pipeline: telling() });
    const run = task.run();
    await until(() => takeUps().length === 1);
    await putTable('one');
    await until(() => takeUps().length === 2);
    task.stop();
    await run;
    expect(takeUps()).toEqual([
      { took: 'nothing', fromOffset: 0 },
      { took: 'one', fromOffset: 0 },
    ]);
  });

  it('is told of with the offset from which on it holds, in the epoch of the first payment under it', async () => {
    const task = world.task({}, { pipeline: telling() });
    const run = task.run();
    await world.write(payments(40));
    await until(() => task.status().committedOffset >= 40);
    await putTable('one');
    await until(() => takeUps().length === 2);
    await world.write(payments(10));
    await until(() => task.status().committedOffset >= 50);
    task.stop();
    await run;
    expect(takeUps().at(-1)).toEqual({ took: 'one', fromOffset: 40 });
  });
});

describe('a source that must get ready', () => {
  const waiting = (prepare: () => Promise<void> | null) => {
    const base = kitPipeline();
    return { ...base, source: { ...base.source, prepare } };
  };

  it('holds reading back, while what was read before is committed', async () => {
    let calls = 0;
    let release = () => {};
    const pipeline = waiting(() => {
      calls += 1;
      return calls === 2 ? new Promise<void>((resolve) => (release = resolve)) : null;
    });
    await world.write(payments(32));
    const task = world.task({ batchRecords: 16 }, { pipeline });
    const run = task.run();
    await until(() => task.status().committedOffset === 16);
    await pause(50);
    expect([calls, task.status().committedOffset]).toEqual([2, 16]);
    release();
    await until(() => task.status().committedOffset === 32);
    expect(task.status().counters).toMatchObject({ 'source.waits': 1, 'source.waited-ms': expect.any(Number) });
    task.stop();
    await run;
  });

  it('does not keep a task from stopping', async () => {
    await world.write(payments(1));
    const task = world.task({}, { pipeline: waiting(() => new Promise(() => {})) });
    const run = task.run();
    await pause(20);
    task.stop();
    await run;
    expect(task.status().committedOffset).toBe(0);
  });

  it('ends the task with its reason when it never can', async () => {
    await world.write(payments(1));
    const run = world.task({}, { pipeline: waiting(() => Promise.reject(new Error('no registry'))) }).run();
    await expect(run).rejects.toThrow('no registry');
  });
});
