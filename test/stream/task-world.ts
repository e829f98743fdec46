/** Owns the surroundings of a task in tests: a log, a disk and snapshots that outlive tasks, and ways to run them. */
import type { LogBackend, OpenStateStore } from '../../src/stream/ports.js';
import { type StandbyOptions, StandbyTask } from '../../src/stream/runtime/standby-task.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { Task, type TaskEnd, type TaskOptions } from '../../src/stream/runtime/task.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore, type StoreFault } from '../../src/stream/testing/memory-store.js';
import { type Input, kitPipeline, TOPICS } from './kit.js';

export const kitOptions: TaskOptions = {
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
  stateDirectory: 'state',
};

export class TaskWorld {
  readonly log = makeMemoryLog({ maxRecordBytes: 600 });
  readonly disk = new MemoryDisk();
  readonly snapshots = memorySnapshotStore(this.disk);
  readonly said: string[] = [];
  /** Those of what tasks said that are warnings. */
  readonly warned: string[] = [];
  storeFault: StoreFault = () => {};
  private readonly openStore: OpenStateStore = memoryStateStore({
    disk: this.disk,
    fault: (operation, directory) => this.storeFault(operation, directory),
  });

  static async begin(): Promise<TaskWorld> {
    const world = new TaskWorld();
    const admin = await world.log.open().openAdmin();
    const specs = Object.values(TOPICS).map((name) => ({
      name,
      partitions: 1,
      cleanup: name === TOPICS.table ? ('compact' as const) : ('delete' as const),
      maxRecordBytes: 100_000,
    }));
    await admin.ensure(specs);
    return world;
  }

  task(
    overrides: Partial<TaskOptions> = {},
    parts: { pipeline?: ReturnType<typeof kitPipeline>; backend?: LogBackend; trustsStore?: boolean } = {},
  ) {
    return new Task({
      partition: 0,
      worker: 0,
      definition: parts.pipeline ?? kitPipeline(),
      backend: parts.backend ?? this.log.open(),
      openStore: this.openStore,
      snapshots: this.snapshots,
      disk: this.disk.local,
      clock: systemClock,
      options: { ...kitOptions, ...overrides },
      trustsStore: parts.trustsStore ?? true,
      say: (level, message) => {
        this.said.push(message);
        if (level === 'warn') this.warned.push(message);
      },
    });
  }

  /** A standby of the task; its local store is under another root than the task's, as on another machine. */
  standby(overrides: Partial<StandbyOptions> = {}, trustsStore = true, backend = this.log.open()) {
    const { name, layout } = kitPipeline();
    return new StandbyTask({
      partition: 0,
      worker: 0,
      pipelineName: name,
      layout,
      backend,
      openStore: this.openStore,
      snapshots: this.snapshots,
      disk: this.disk.local,
      clock: systemClock,
      options: { ...kitOptions, stateDirectory: 'elsewhere', hotKeys: 24, pollMs: 2, ...overrides },
      trustsStore,
      say: (_level, message) => this.said.push(message),
    });
  }

  async write(inputs: readonly (Input | string)[], topic: string = TOPICS.source): Promise<void> {
    const writer = await this.log.open().openWriter();
    const records = inputs.map((input) => ({
      topic,
      key: Buffer.from('k'),
      value: Buffer.from(typeof input === 'string' ? input : JSON.stringify(input)),
      headers: [],
      timestampMs: 2_000_000,
    }));
    await writer.write(records);
  }

  outputs(topic: string): string[] {
    return this.log
      .records(topic)
      .map(({ value }) => String(value))
      .sort();
  }

  async sourceEnd(): Promise<number> {
    return (await (await this.log.open().openAdmin()).ranges(TOPICS.source))[0].end;
  }

  /** Runs one task until `done`, then stops it. */
  async runToEndOf(done: () => boolean, overrides: Partial<TaskOptions> = {}): Promise<void> {
    const task = this.task(overrides);
    const run = task.run();
    run.catch(() => {});
    await until(done);
    task.stop();
    await run;
  }

  /** Runs tasks one after another until all that was written is committed; a fenced one is followed by a new one. */
  async runToEnd(overrides: Partial<TaskOptions> = {}, pipeline = kitPipeline()): Promise<void> {
    const end = await this.sourceEnd();
    for (;;) {
      const task = this.task(overrides, { pipeline });
      const running = track(task.run());
      await until(() => running.ended !== null || task.status().committedOffset >= end);
      if (running.ended === 'fenced') continue;
      task.stop();
      await running.promise;
      return;
    }
  }
}

/** A run that can be looked at while it goes on. Failures surface where `promise` is awaited. */
export function track(run: Promise<TaskEnd>): { readonly promise: Promise<TaskEnd>; ended: TaskEnd | 'failed' | null } {
  const tracked: { promise: Promise<TaskEnd>; ended: TaskEnd | 'failed' | null } = { promise: run, ended: null };
  run.then(
    (how) => {
      tracked.ended = how;
    },
    () => {
      tracked.ended = 'failed';
    },
  );
  return tracked;
}

export async function until(what: () => boolean, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!what()) {
    if (Date.now() > deadline) throw new Error('timed out waiting');
    await pause(2);
  }
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
