/** Owns the tests of the supervisor over real worker threads: who runs where, and what becomes of threads that die. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { StreamError } from '../../../src/stream/errors.js';
import type { Assignment, Clock } from '../../../src/stream/ports.js';
import { Supervisor, type SupervisorParts } from '../../../src/stream/runtime/supervisor.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { type CompiledEntry, compileWorkerEntry } from './compile-worker-entry.js';
import type { Control } from './worker-entry.js';

const words = () => new Int32Array(new SharedArrayBuffer(32));

const active = (...partitions: number[]) => ({
  active: partitions.map((partition) => ({ topic: 'payments', partition })),
  standby: [],
});

let compiled: CompiledEntry;
let data: Control;
let fatal: StreamError[];
let said: string[];
let left: number;
let handlers: Parameters<Assignment['join']>[0];
let supervisor: Supervisor;

beforeAll(async () => {
  compiled = await compileWorkerEntry();
});

afterAll(() => compiled.remove());

beforeEach(() => {
  data = { control: words(), started: words(), closed: words(), failingPartition: -1 };
  [fatal, said, left] = [[], [], 0];
});

afterEach(() => supervisor.stop());

function make(parts: Partial<SupervisorParts> = {}): Supervisor {
  supervisor = new Supervisor({
    entry: compiled.entry,
    workerData: data,
    workers: 2,
    assignment: {
      join: async (given) => {
        handlers = given;
      },
      leave: async () => {
        left++;
      },
    },
    clock: systemClock,
    onFatal: (error) => fatal.push(error),
    say: (_level, message) => said.push(message),
    ...parts,
  });
  return supervisor;
}

/** Worker of each partition, as the supervisor has placed them: the newest of what the threads said. */
function placed(): Record<string, string> {
  return Object.fromEntries(
    said.flatMap((line) => [...line.matchAll(/^running (\d+) in (\d+)$/g)].map(([, p, w]) => [p, w])),
  );
}

async function until(what: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!what()) {
    if (Date.now() > deadline) throw new Error(`timed out waiting; said: ${said.slice(-5).join(' | ')}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A clock on which the supervisor's time-outs pass quickly. */
const hasty = (times: number): Clock => ({
  ...systemClock,
  schedule: (delayMs, fire) => systemClock.schedule(delayMs / times, fire),
});

const inlineEntry = (source: string) => new URL(`data:text/javascript,${encodeURIComponent(source)}`);

describe('a supervisor', () => {
  it('spreads partitions evenly, and lets them stay where they are when others come and go', async () => {
    await make().start();
    await handlers.onAssigned(active(0, 1, 2, 3));
    await until(() => Object.keys(placed()).length === 4);
    expect(Object.values(placed()).sort()).toEqual(['0', '0', '1', '1']);
    const before = placed();
    said.length = 0;
    const [gone, ...stay] = ['0', '1', '2', '3'];
    await handlers.onAssigned(active(1, 2, 3, 4));
    await until(() => '4' in placed());
    expect(placed()).toEqual({ 4: before[gone] }); // nobody else was started anew
    await until(() => supervisor.tasks.length === 4);
    expect(supervisor.tasks.map(({ partition, worker }) => [String(partition), String(worker)])).toEqual([
      ...stay.map((partition) => [partition, before[partition]]),
      ['4', before[gone]],
    ]);
    expect(supervisor.workers.map(({ tasks, restarts }) => [tasks, restarts])).toEqual([
      [2, 0],
      [2, 0],
    ]);
  });

  it('gives a unit to the worker that has its standby, and its standby to the worker that had the unit', async () => {
    await make().start();
    const units = (...partitions: number[]) => active(...partitions).active;
    await handlers.onAssigned({ active: units(0, 1), standby: units(2, 3, 4, 5) });
    await until(() => supervisor.standbys.length === 4 && supervisor.tasks.length === 2);
    const worker = (partition: number) => supervisor.standbys.find((one) => one.partition === partition)?.worker;
    const before = Object.fromEntries([2, 3, 4, 5].map((partition) => [partition, String(worker(partition))]));
    expect(Object.values(before).sort()).toEqual(['0', '0', '1', '1']);
    const { 0: itsWorker } = placed();
    said.length = 0;
    await handlers.onAssigned({ active: units(1, 2, 3, 4, 5), standby: units(0) });
    await until(() => Object.keys(placed()).length === 4 && said.some((line) => line.startsWith('standby of 0')));
    expect(placed()).toEqual(before);
    expect(said).toContain(`standby of 0 in ${itsWorker}`);
  });

  it('gives everything up when the membership is lost, and takes what comes after', async () => {
    await make().start();
    await handlers.onAssigned(active(0, 1));
    await handlers.onLost('session timed out');
    await until(() => supervisor.tasks.length === 0);
    expect(said).toContainEqual(expect.stringContaining('group membership ended (session timed out)'));
    said.length = 0;
    await handlers.onAssigned(active(1));
    await until(() => '1' in placed());
  });

  it('stops every thread in good order, once, however often it is asked', async () => {
    await make().start();
    await handlers.onAssigned(active(0, 1));
    await Promise.all([supervisor.stop(), supervisor.stop()]);
    await supervisor.stop();
    expect([data.closed[0], data.closed[1], left]).toEqual([1, 1, 1]);
    await handlers.onAssigned(active(5)); // too late: nothing happens, nothing hangs
  });

  it('ends a thread that has stopped but is kept alive by something', async () => {
    await make({ clock: hasty(20), workers: 1 }).start();
    Atomics.store(data.control, 0, 3);
    await until(() => data.control[0] === 0);
    await supervisor.stop();
    expect(said).toEqual(['worker 0 has stopped but does not end; ending it']);
  });

  it('tells of a task that cannot go on', async () => {
    data = { ...data, failingPartition: 1 };
    await make().start();
    await handlers.onAssigned(active(0, 1));
    await until(() => fatal.length === 1);
    expect(fatal[0]).toMatchObject({ code: 'state-lost', message: 'task-1: gone' });
  });
});

describe('a worker thread that dies', () => {
  it.each([
    ['by an error', 1, 'crashed on command'],
    ['by leaving', 2, 'exit code 7'],
  ])('%s is started again with its partitions', async (_, command, reason) => {
    await make().start();
    await handlers.onAssigned(active(0, 1, 2));
    await until(() => Object.keys(placed()).length === 3);
    const before = placed();
    said.length = 0;
    Atomics.store(data.control, 0, command);
    const its = Object.keys(before).filter((partition) => before[partition] === '0');
    await until(() => its.every((partition) => partition in placed()));
    expect(placed()).toEqual(Object.fromEntries(its.map((partition) => [partition, '0'])));
    expect(said[0]).toContain(`worker 0 died (`);
    expect(said[0]).toContain(reason);
    expect(supervisor.workers[0].restarts).toBe(1);
    expect([fatal, data.started[0], data.started[1]]).toEqual([[], 2, 1]);
    // A thread can die in the middle of a write: what it left on disk is built anew.
    const distrusted = () => said.filter((line) => line.endsWith(' distrusted')).sort();
    await until(() => distrusted().length >= its.length); // told one by one, and not before the tasks are seen
    expect(distrusted()).toEqual(its.map((partition) => `store of ${partition} distrusted`).sort());
  });

  it('because it needs more heap than it may have takes nobody along, and is started again', async () => {
    await make({ heapMiB: 80 }).start();
    await handlers.onAssigned(active(0, 1));
    await until(() => supervisor.workers.every(({ memory }) => memory !== null));
    const limits = supervisor.workers.map(({ memory }) => Math.round((memory?.heapLimitBytes ?? 0) / 1_048_576));
    expect(limits).toEqual([80, 80]);
    Atomics.store(data.control, 0, 5);
    await until(() => supervisor.workers[0].restarts === 1);
    expect(said.find((line) => line.startsWith('worker 0 died'))).toContain('reaching memory limit');
    await until(() => data.started[0] === 2);
    expect([fatal, supervisor.workers[1].restarts]).toEqual([[], 0]);
  });

  it('while it gives up a partition has given it up: the assignment goes on', async () => {
    await make({ workers: 1 }).start();
    await handlers.onAssigned(active(0, 1));
    Atomics.store(data.control, 0, 4);
    await until(() => data.control[0] === 0);
    let given = false;
    const giving = handlers.onAssigned(active(1)).then(() => {
      given = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(given).toBe(false);
    said.length = 0;
    Atomics.store(data.control, 0, 2);
    await giving;
    await until(() => '1' in placed());
    expect(placed()).toEqual({ 1: '0' });
  });

  it('again and again ends the process, and leaves a stop that does not hang', async () => {
    await make({ workers: 1 }).start();
    await handlers.onAssigned(active(0));
    for (let deaths = 1; deaths <= 6; deaths++) {
      await until(() => data.started[0] === deaths);
      Atomics.store(data.control, 0, 2);
      await until(() => data.control[0] === 0);
    }
    await until(() => fatal.length === 1);
    expect(fatal[0]).toMatchObject({ code: 'worker-crashing' });
    expect(fatal[0].message).toContain('worker 0 died 6 times within a minute');
    await handlers.onAssigned(active(0, 1));
    await supervisor.stop();
    expect([left, data.started[0]]).toEqual([1, 6]);
  });
});

describe('a worker that fails at its start', () => {
  it('makes the start fail with its reason, and is not started again', async () => {
    const entry = inlineEntry('throw new Error("no such model")');
    await expect(make({ entry }).start()).rejects.toThrow('no such model');
    await new Promise((resolve) => setTimeout(resolve, 150)); // were it started again, it would die again
    await supervisor.stop();
    expect([fatal, said]).toEqual([[], []]);
  });

  it('by ending is said to have ended', async () => {
    await expect(make({ entry: inlineEntry('process.exit(3)') }).start()).rejects.toMatchObject({
      code: 'worker-start',
      message: expect.stringContaining('ended with code 3 at its start'),
    });
  });

  it('by never being ready is ended after a time', async () => {
    const entry = inlineEntry('setInterval(() => {}, 1000)');
    await expect(make({ entry, clock: hasty(200), workers: 1 }).start()).rejects.toMatchObject({
      code: 'worker-start',
      message: expect.stringContaining('did not start within 60 s'),
    });
    await supervisor.stop();
    expect(left).toBe(1);
  });
});
