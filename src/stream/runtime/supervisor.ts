/**
 * Owns the worker threads of a process: which units run where, restarts of threads that died, and the pipeline's
 * status. Never touches a record. Neighbours: an {@link Assignment} tells which units are ours; `worker.ts` is
 * the other end of the talk.
 *
 * A worker that dies is started again with its units, at most MAX_RESTARTS times in RESTART_WINDOW_MS; past that,
 * or when a worker reports a task that cannot go on, `onFatal` is told and the process is to stop. One that never was
 * ready makes `start` reject instead: what is wrong then is wrong for good.
 */
import { Worker } from 'node:worker_threads';
import { StreamError } from '../errors.js';
import type { Assigned, Assignment, Clock, SourcePartition } from '../ports.js';
import { compareUnits, unitName } from '../source-partition.js';
import type { LateSettings } from './late-settings.js';
import type { StandbyStatus, TaskStatus, ThreadMemory, WorkerStatus } from './status.js';
import type { FromWorker, ToWorker } from './worker.js';

export interface SupervisorParts {
  /** Module of the worker entry, and what it gets as `workerData` besides its number. */
  readonly entry: URL;
  readonly workerData: unknown;
  /** Each thread gets a door to these as `workerData.door`, and waits there before it is ready. */
  readonly late?: LateSettings<unknown>;
  readonly workers: number;
  /** Most that V8's heap of one thread may take; a thread that needs more dies, and is started again. V8's own limit where left out. */
  readonly heapMiB?: number;
  readonly assignment: Assignment;
  readonly clock: Clock;
  onFatal(error: StreamError): void;
  say(level: 'info' | 'warn', message: string): void;
}

const MAX_RESTARTS = 5;
const RESTART_WINDOW_MS = 60_000;
const START_TIMEOUT_MS = 60_000;
/** A thread that has stopped its tasks and still does not end (an open handle keeps it) is ended after this. */
const EXIT_TIMEOUT_MS = 5_000;
/** V8's own for what has just been made; less of it would copy more of what soon dies. */
const YOUNG_GENERATION_MIB = 48;

const NOTHING: Assigned = { active: [], standby: [] };

interface Running {
  readonly number: number;
  thread: Worker;
  assigned: Assigned;
  tasks: readonly TaskStatus[];
  standbys: readonly StandbyStatus[];
  memory: ThreadMemory | null;
  restarts: number;
  restartTimes: number[];
  readonly waiting: Map<number, () => void>;
  wasReady: boolean;
  /** Its thread has ended, or has stopped its tasks and is about to; it is not started again. */
  stopped: boolean;
  onStopped: () => void;
}

export class Supervisor {
  private readonly running: Running[] = [];
  /** By thread: ready, or why it never was. */
  private readonly starting: Promise<void>[] = [];
  private lastRequest = 0;
  /** Names of units over whose local store a thread died. */
  private readonly distrusted = new Set<string>();
  private stopping = false;
  private stopped: Promise<void> | null = null;
  /** Assignments are applied one after another. */
  private applying: Promise<void> = Promise.resolve();

  constructor(private readonly parts: SupervisorParts) {}

  /** Starts the workers, then takes part in the assignment. Resolves once both have begun. */
  async start(): Promise<void> {
    this.grow(this.parts.workers);
    for (let ready = 0; ready < this.starting.length; ) {
      ready = this.starting.length;
      await Promise.all(this.starting);
    }
    await this.parts.assignment.join({
      onAssigned: (assigned) => this.apply(assigned),
      onLost: (reason) => {
        this.parts.say('warn', `group membership ended (${reason}); giving up all partitions until it is back`);
        return this.apply(NOTHING);
      },
      onFailed: (error) => {
        const code = error instanceof StreamError ? error.code : 'group-membership';
        this.parts.onFatal(
          new StreamError(code, `group membership ended for good: ${error.message}`, { cause: error }),
        );
      },
    });
  }

  /** Starts threads until there are `workers` of them; before the assignment is joined, which waits for them. */
  grow(workers: number): void {
    while (this.running.length < workers && !this.stopping) {
      const ready = this.startWorker(this.running.length);
      ready.catch(() => {}); // told to whoever awaits `start`
      this.starting.push(ready);
    }
  }

  /** Stops every task cleanly, then the threads, then leaves the group. Asked twice it is done once. */
  stop(): Promise<void> {
    this.stopping = true;
    this.parts.late?.close();
    this.stopped ??= this.stopAll();
    return this.stopped;
  }

  private async stopAll(): Promise<void> {
    await Promise.all(
      this.running.map(
        (worker) =>
          new Promise<void>((resolve) => {
            if (worker.stopped) {
              resolve();
              return;
            }
            worker.onStopped = resolve;
            this.send(worker, { type: 'stop' });
          }),
      ),
    );
    await this.parts.assignment.leave();
  }

  get tasks(): readonly TaskStatus[] {
    return this.running.flatMap(({ tasks }) => tasks).sort((a, b) => a.partition - b.partition);
  }

  get standbys(): readonly StandbyStatus[] {
    return this.running.flatMap(({ standbys }) => standbys).sort((a, b) => a.partition - b.partition);
  }

  get workers(): readonly WorkerStatus[] {
    return this.running.map(({ number, assigned, restarts, memory }) => ({
      worker: number,
      tasks: assigned.active.length,
      restarts,
      memory,
    }));
  }

  /** Applies an assignment once the one before is applied. */
  private apply(assigned: Assigned): Promise<void> {
    this.applying = this.applying.then(async () => {
      if (this.stopping) return;
      const shares = shared(
        assigned,
        this.running.map((worker) => worker.assigned),
      );
      await Promise.all(this.running.map((worker, i) => this.give(worker, shares[i])));
    });
    return this.applying;
  }

  private give(worker: Running, assigned: Assigned): Promise<void> {
    worker.assigned = assigned;
    if (worker.stopped) return Promise.resolve();
    const request = ++this.lastRequest;
    return new Promise((resolve) => {
      worker.waiting.set(request, resolve);
      const distrusted = unitsIn(assigned).filter((unit) => this.distrusted.delete(unitName(unit)));
      this.send(worker, { type: 'own', request, assigned, distrusted });
    });
  }

  private send(worker: Running, message: ToWorker): void {
    worker.thread.postMessage(message);
  }

  private startWorker(number: number): Promise<void> {
    const worker: Running = {
      number,
      thread: this.spawn(number),
      assigned: NOTHING,
      tasks: [],
      standbys: [],
      memory: null,
      restarts: 0,
      restartTimes: [],
      waiting: new Map(),
      wasReady: false,
      stopped: false,
      onStopped: () => {},
    };
    this.running.push(worker);
    return this.listen(worker);
  }

  private spawn(number: number): Worker {
    const { entry, workerData: data, late, heapMiB } = this.parts;
    const door = late?.door();
    return new Worker(entry, {
      workerData: { worker: number, data, ...(door !== undefined && { door }) },
      ...(door !== undefined && { transferList: [door] }),
      ...(heapMiB !== undefined && {
        resourceLimits: {
          maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB,
          maxOldGenerationSizeMb: heapMiB - YOUNG_GENERATION_MIB,
        },
      }),
      name: `worker-${number}`,
    });
  }

  /** Resolves when the thread says that it is ready. */
  private listen(worker: Running): Promise<void> {
    const { thread } = worker;
    return new Promise((resolve, reject) => {
      const cancel = this.afterStartTimeout(() => {
        reject(
          new StreamError('worker-start', `worker ${worker.number} did not start within ${START_TIMEOUT_MS / 1000} s`),
        );
        void thread.terminate(); // its exit is handled as any other
      });
      const settle = (act: () => void) => {
        cancel();
        act();
      };
      let lastError: unknown = null;
      thread.on('message', (message: FromWorker) => {
        if (message.type === 'ready') settle(resolve);
        this.onMessage(worker, message);
      });
      thread.on('error', (error) => {
        lastError = error;
        settle(() => reject(error));
      });
      thread.on('exit', (code) => {
        settle(() =>
          reject(new StreamError('worker-start', `worker ${worker.number} ended with code ${code} at its start`)),
        );
        this.onExit(worker, code, lastError);
      });
    });
  }

  /** Threads that wait for the late settings are not late themselves. Returns how to take it back. */
  private afterStartTimeout(act: () => void): () => void {
    const { clock, late } = this.parts;
    const look = () => {
      if (late === undefined || late.isGiven) act();
      else cancel = clock.schedule(START_TIMEOUT_MS, look);
    };
    let cancel = clock.schedule(START_TIMEOUT_MS, look);
    return () => cancel();
  }

  private onMessage(worker: Running, message: FromWorker): void {
    switch (message.type) {
      case 'status':
        worker.tasks = message.tasks;
        worker.standbys = message.standbys;
        worker.memory = message.memory;
        return;
      case 'owned':
        worker.waiting.get(message.request)?.();
        worker.waiting.delete(message.request);
        return;
      case 'say':
        this.parts.say(message.level, message.message);
        return;
      case 'fatal': {
        const { taskId, code, message: reason } = message.fatal;
        this.parts.onFatal(new StreamError(code, reason.startsWith(taskId) ? reason : `${taskId}: ${reason}`));
        return;
      }
      case 'stopped':
        worker.stopped = true;
        this.endSoon(worker);
        return;
      case 'ready':
        worker.wasReady = true;
        return;
    }
  }

  /** The thread has nothing left to do and should end by itself. */
  private endSoon({ thread, number }: Running): void {
    const cancel = this.parts.clock.schedule(EXIT_TIMEOUT_MS, () => {
      this.parts.say('warn', `worker ${number} has stopped but does not end; ending it`);
      void thread.terminate();
    });
    thread.once('exit', cancel);
  }

  private onExit(worker: Running, code: number, error: unknown): void {
    for (const resolve of worker.waiting.values()) resolve();
    worker.waiting.clear();
    if (this.stopping || worker.stopped || !worker.wasReady) {
      this.setStopped(worker);
      return;
    }
    const reason = error instanceof Error ? (error.stack ?? error.message) : `exit code ${code}`;
    const now = this.parts.clock.monotonic();
    worker.restartTimes = [...worker.restartTimes.filter((time) => now - time < RESTART_WINDOW_MS), now];
    if (worker.restartTimes.length > MAX_RESTARTS) {
      this.setStopped(worker);
      this.parts.onFatal(
        new StreamError(
          'worker-crashing',
          `worker ${worker.number} died ${worker.restartTimes.length} times within a minute, last: ${reason}`,
        ),
      );
      return;
    }
    worker.restarts++;
    // The store's native side may have been writing from memory that went with the thread: what it wrote is not trusted.
    for (const unit of unitsIn(worker.assigned)) this.distrusted.add(unitName(unit));
    this.parts.say('warn', `worker ${worker.number} died (${reason}); starting it again`);
    worker.thread = this.spawn(worker.number);
    this.listen(worker).then(
      () => this.give(worker, worker.assigned),
      (failure: unknown) => this.parts.say('warn', `worker ${worker.number} did not come back: ${String(failure)}`),
    );
  }

  private setStopped(worker: Running): void {
    worker.stopped = true;
    worker.onStopped();
  }
}

const unitsIn = ({ active, standby }: Assigned): SourcePartition[] => [...active, ...standby];

/**
 * Shares what the process was given among its workers, of which `held` says what each has. A unit stays with its worker,
 * whether as task or as standby: two workers never touch one local store. New ones go where there are fewest of their kind.
 */
function shared(wanted: Assigned, held: readonly Assigned[]): Assigned[] {
  const workerOf = new Map(held.flatMap((has, worker) => unitsIn(has).map((unit) => [unitName(unit), worker])));
  const place = (units: readonly SourcePartition[]): SourcePartition[][] => {
    const shares: SourcePartition[][] = held.map(() => []);
    const isPlaced = (unit: SourcePartition) => workerOf.has(unitName(unit));
    for (const unit of units.filter(isPlaced)) shares[workerOf.get(unitName(unit)) ?? 0].push(unit);
    for (const unit of units.filter((one) => !isPlaced(one)).sort(compareUnits)) {
      shares.reduce((least, share) => (share.length < least.length ? share : least)).push(unit);
    }
    return shares;
  };
  const [active, standby] = [place(wanted.active), place(wanted.standby)];
  return held.map((_, worker) => ({ active: active[worker], standby: standby[worker] }));
}
