import { beforeEach, describe, expect, it } from 'vitest';
import type { OpenStateStore, SnapshotStore } from '../../src/stream/ports.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { Task, type TaskEnd, type TaskOptions } from '../../src/stream/runtime/task.js';
import { type CommitFault, type MemoryLog, makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { type Input, kitPipeline, makeInputs, reference, seeded, TOPICS } from './kit.js';

let disk: MemoryDisk;
let log: MemoryLog;
let openStore: OpenStateStore;
let snapshots: SnapshotStore;
const said: string[] = [];

beforeEach(async () => {
  log = makeMemoryLog({ maxRecordBytes: 600 });
  disk = new MemoryDisk();
  openStore = memoryStateStore({ disk });
  snapshots = memorySnapshotStore(disk);
  said.length = 0;
  const admin = await log.open().openAdmin();
  await admin.ensure(
    Object.values(TOPICS).map((name) => ({
      name,
      partitions: 1,
      cleanup: name === TOPICS.table ? ('compact' as const) : ('delete' as const),
      maxRecordBytes: 100_000,
    })),
  );
});

const options: Omit<TaskOptions, 'stateDirectory'> = {
  startFrom: 'earliest',
  epoch: { promptMs: 1, maxMs: 4, idleMs: 8, maxRecords: 60, maxBytes: 1 << 20 },
  batchRecords: 16,
  readBufferBytes: 1 << 16,
  hotKeys: 64,
  maxTimers: 10_000,
  writeBehind: { ageMs: 0, slotsAtOnce: 8 },
  checkpoint: { intervalMs: 30, minPauseMs: 0, timeoutMs: 5_000, retained: 2, truncateLog: true },
  idleTimeoutMs: 0,
  stateLogTopic: TOPICS.log,
};

function makeTask(overrides: Partial<TaskOptions> = {}, pipeline = kitPipeline(), trustsStore = true) {
  return new Task({
    partition: 0,
    worker: 0,
    definition: pipeline,
    backend: log.open(),
    openStore,
    snapshots,
    disk: disk.local,
    clock: systemClock,
    trustsStore,
    options: { ...options, stateDirectory: 'state', ...overrides },
    say: (_level, message) => said.push(message),
  });
}

async function write(inputs: readonly (Input | string)[]): Promise<void> {
  const writer = await log.open().openWriter();
  const records = inputs.map((input) => ({
    topic: TOPICS.source,
    key: Buffer.from('k'),
    value: Buffer.from(typeof input === 'string' ? input : JSON.stringify(input)),
    headers: [],
    timestampMs: 2_000_000,
  }));
  await writer.write(records);
}

const outputs = (topic: string) =>
  log
    .records(topic)
    .map(({ value }) => String(value))
    .sort();

async function waitFor(what: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!what()) {
    if (Date.now() > deadline) throw new Error('timed out waiting');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Runs tasks one after another until everything written has been committed; a fenced one is followed by a new one. */
async function runToEnd(
  end: number,
  overrides: Partial<TaskOptions> = {},
  between: () => Promise<void> = async () => {},
) {
  for (;;) {
    const task = makeTask(overrides);
    let ended: TaskEnd | null = null;
    let failure: unknown = null;
    const run = task.run().then(
      (how) => {
        ended = how;
      },
      (error: unknown) => {
        failure = error;
      },
    );
    await waitFor(() => ended !== null || failure !== null || task.status().committedOffset >= end);
    if (failure !== null) throw failure;
    if (ended === null) {
      task.stop();
      await run;
      return task;
    }
    await between();
  }
}

const sourceEnd = async () => (await (await log.open().openAdmin()).ranges(TOPICS.source))[0].end;

describe('a task', () => {
  it('emits what plain sequential code would, late rows, timers and dead letters included', async () => {
    const inputs = makeInputs(800, 40, seeded(1));
    await write(inputs);
    await runToEnd(await sourceEnd());
    const expected = reference(inputs);
    expect(outputs(TOPICS.out)).toEqual(expected.out);
    expect(outputs(TOPICS.dead)).toEqual(expected.dead);
    expect(expected.out.some((line) => line.includes('quiet'))).toBe(true);
    expect(expected.out.some((line) => line.includes('"late":true'))).toBe(true);
  });

  it.each([2, 3, 4, 5, 6, 7, 8, 9])('gives the same whatever becomes of its commits (seed %i)', async (seed) => {
    const random = seeded(seed);
    const inputs = makeInputs(600, 200, random);
    const faults: CommitFault[] = ['before', 'after', 'late', 'fenced'];
    log.faults.limitReads(1 + Math.floor(random() * 16));
    await write(inputs);
    const faulty = log;
    const until = Date.now() + 400;
    const order = () => {
      if (Date.now() > until) return;
      faulty.faults.failNextCommit(faults[Math.floor(random() * faults.length)]);
      setTimeout(order, 2 + random() * 15);
    };
    order();
    // Every second seed loses its local disk at each restart and lives on checkpoints and the log.
    const between = async () => {
      if (seed % 2 === 1) disk.remove('state/kit-0');
    };
    await runToEnd(await sourceEnd(), { batchRecords: 4, epoch: { ...options.epoch, maxRecords: 12 } }, between);
    const expected = reference(inputs);
    expect(outputs(TOPICS.out)).toEqual(expected.out);
    expect(outputs(TOPICS.dead)).toEqual(expected.dead);
  });

  it('goes on from the store alone after a clean stop, replaying nothing', async () => {
    const inputs = makeInputs(400, 30, seeded(11));
    await write(inputs.slice(0, 200));
    await runToEnd(await sourceEnd());
    said.length = 0;
    await write(inputs.slice(200));
    await runToEnd(await sourceEnd());
    expect(outputs(TOPICS.out)).toEqual(reference(inputs).out);
    expect(said.filter((line) => line.includes('replayed') || line.includes('recovered'))).toEqual([]);
  });

  it('restores an empty disk from a checkpoint when the log before it is gone', async () => {
    const inputs = makeInputs(900, 60, seeded(12));
    await write(inputs.slice(0, 300));
    await runToEnd(await sourceEnd());
    for (const upTo of [450, 600, 750]) {
      await write(inputs.slice(upTo - 150, upTo));
      const task = makeTask({ checkpoint: { ...options.checkpoint, intervalMs: 1 } });
      const run = task.run();
      const end = await sourceEnd();
      await waitFor(() => task.status().committedOffset >= end && task.status().checkpoint.id !== null);
      await new Promise((resolve) => setTimeout(resolve, 40));
      task.stop();
      await run;
    }
    const range = await (await log.open().openAdmin()).ranges(TOPICS.log);
    expect(range[0].start).toBeGreaterThan(0);
    disk.remove('state/kit-0');
    await write(inputs.slice(750));
    await runToEnd(await sourceEnd());
    expect(said.some((line) => line.includes('state restored from checkpoint'))).toBe(true);
    expect(outputs(TOPICS.out)).toEqual(reference(inputs).out);
  });

  it('builds a store anew that it must not trust, and comes out the same', async () => {
    const inputs = makeInputs(500, 40, seeded(21));
    await write(inputs.slice(0, 250));
    await runToEnd(await sourceEnd());
    await write(inputs.slice(250));
    const task = makeTask({}, kitPipeline(), false);
    const run = task.run();
    const end = await sourceEnd();
    await waitFor(() => task.status().committedOffset >= end);
    task.stop();
    await run;
    expect(said.some((line) => line.includes('built again from checkpoint and state log'))).toBe(true);
    expect(outputs(TOPICS.out)).toEqual(reference(inputs).out);
  });

  it('refuses to start over silently when state log and checkpoints are gone', async () => {
    await write(makeInputs(300, 20, seeded(13)));
    await runToEnd(await sourceEnd());
    const [range] = await (await log.open().openAdmin()).ranges(TOPICS.log);
    log.faults.truncate(TOPICS.log, 0, range.end - 2);
    disk.remove('state/kit-0');
    snapshots = memorySnapshotStore(disk);
    await expect(makeTask().run()).rejects.toMatchObject({ code: 'state-lost' });
  });

  it('stops with the reason when the source lost records it still needs', async () => {
    await write(makeInputs(100, 20, seeded(14)));
    await runToEnd(await sourceEnd());
    await write(makeInputs(100, 20, seeded(15)));
    log.faults.truncate(TOPICS.source, 0, await sourceEnd());
    await expect(makeTask().run()).rejects.toMatchObject({ code: 'offset-out-of-range' });
  });

  it('stops the line at the dead-letter limit and loses nothing', async () => {
    await write(Array.from({ length: 60 }, (_, i) => `bad-${i}`));
    await expect(makeTask().run()).rejects.toMatchObject({ code: 'dead-letter-limit' });
    const patient = kitPipeline();
    const task = makeTask(
      {},
      { ...patient, deadLetters: { ...patient.deadLetters, limits: { burst: 100, share: 1, shareWindow: 1000 } } },
    );
    const run = task.run();
    await waitFor(() => outputs(TOPICS.dead).length === 60);
    task.stop();
    await run;
  });

  it('applies broadcast updates, and recovers no further back than it had them', async () => {
    const seen: string[] = [];
    const writer = await log.open().openWriter();
    const put = (value: string) =>
      writer.write([
        { topic: TOPICS.table, key: Buffer.from('k'), value: Buffer.from(value), headers: [], timestampMs: 1 },
      ]);
    await put('one');
    const task = makeTask({}, kitPipeline({ onTable: (value) => seen.push(value) }));
    const run = task.run();
    await waitFor(() => seen.length === 1);
    await put('two');
    const opening = setInterval(() => void write([{ key: 'a', value: 1, at: 1 }]), 5);
    await waitFor(() => seen.length === 2);
    clearInterval(opening);
    task.stop();
    await run;
    expect(seen).toEqual(['one', 'two']);
  });

  it('fires timers of an idle source once event time has gone on by the clock', async () => {
    await write([{ key: 'a', value: 1, at: 1_000_000 }]);
    const task = makeTask({ idleTimeoutMs: 100 }, kitPipeline({ outOfOrdernessMs: 0 }));
    const run = task.run();
    await waitFor(() => outputs(TOPICS.out).some((line) => line.includes('quiet')));
    task.stop();
    await run;
    expect(outputs(TOPICS.out)).toEqual(
      reference([{ key: 'a', value: 1, at: 1_000_000 }])
        .out.concat('{"quiet":"a","dueMs":1001000,"count":1}')
        .sort(),
    );
  });
});
