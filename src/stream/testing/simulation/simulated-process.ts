/**
 * Owns one life of a simulated process: everything that it waits for comes back to it through here, so killing it is
 * never coming back. A dead process's code stays where it waits for ever; a paused one goes on later from there, with
 * answers and timers that are long overdue.
 * Neighbours: `faults.ts` says what each step meets; `cluster.ts` starts, kills and pauses.
 */
import { StreamError } from '../../errors.js';
import type { Clock } from '../../ports.js';
import type { DiskFault, FaultPlan, LocalStep, Moment, ProcessFault, RemoteStep } from './faults.js';
import type { SeededRandom } from './random.js';
import type { SimulatedTime } from './simulated-time.js';
import type { Trace } from './trace.js';

/** Wall clock at the start of every schedule, ms since 1970. */
export const START_MS = 1_700_000_000_000;

/** No answer came in time: whether the request was carried out is not known. */
export class NoAnswerError extends Error {}

/** The log asks to try again: it was not carried out. */
export class RetriableError extends Error {}

export interface ProcessSurroundings {
  readonly time: SimulatedTime;
  readonly random: SeededRandom;
  readonly faults: FaultPlan;
  readonly trace: Trace;
  /** Longest way of a request or an answer in the normal course, ms. */
  readonly networkMs: number;
  readonly diskMs: number;
}

interface WorkOptions {
  /** Fails while the disk is full. */
  readonly needsSpace?: boolean;
  /** For the trace. */
  readonly what?: string;
}

export class SimulatedProcess {
  private alive = true;
  private paused = false;
  private readonly overdue: (() => void)[] = [];
  private wallClockOffMs = 0;
  private diskFullUntilMs = 0;
  private writesStallUntilMs = 0;
  private readsFailUntilMs = 0;
  private stepsLeft = Number.POSITIVE_INFINITY;

  constructor(
    readonly name: string,
    private readonly around: ProcessSurroundings,
    private readonly onFault: (fault: ProcessFault) => void,
  ) {}

  get isAlive(): boolean {
    return this.alive;
  }

  get isPaused(): boolean {
    return this.paused;
  }

  readonly clock: Clock = {
    now: () => Math.floor(START_MS + this.around.time.nowMs + this.wallClockOffMs),
    monotonic: () => this.around.time.nowMs,
    schedule: (delayMs, fire) => {
      let due: (() => void) | null = fire;
      const cancel = this.after(delayMs, () => due?.());
      return () => {
        due = null;
        cancel();
      };
    },
  };

  kill(): void {
    this.alive = false;
    this.overdue.length = 0;
  }

  /** Dies at its so-and-so-many-th step from now, before it is sent or right after. */
  crashAfter(steps: number): void {
    this.stepsLeft = steps;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    for (const run of this.overdue.splice(0)) this.around.time.schedule(0, () => this.deliver(run));
  }

  jumpClock(byMs: number): void {
    this.wallClockOffMs += byMs;
  }

  fillDisk(forMs: number): void {
    this.diskFullUntilMs = this.around.time.nowMs + forMs;
  }

  /** Writes to the store that begin within `forMs` take seconds. */
  stallWrites(forMs: number): void {
    this.writesStallUntilMs = this.around.time.nowMs + forMs;
  }

  /** Some reads from the store that begin within `forMs` fail. */
  failReads(forMs: number): void {
    this.readsFailUntilMs = this.around.time.nowMs + forMs;
  }

  /** Runs `run` in this process after `delayMs`, if it lives then; when it goes on, if it is paused. */
  after(delayMs: number, run: () => void): () => void {
    return this.around.time.schedule(delayMs, () => this.deliver(run));
  }

  /**
   * Asks the log for `act`, which happens there at once when the request arrives, whatever became of us meanwhile.
   * Errors: what `act` threw; {@link NoAnswerError} after `timeoutMs`; {@link RetriableError}.
   */
  request<T>(step: RemoteStep, act: () => T, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.alive || this.crashesNow()) return;
      const { time, random, faults, trace, networkMs } = this.around;
      const { fault, process } = faults.ofRequest(step);
      trace.note(`${this.name} ${step}${fault === null ? '' : ` (${fault})`}`);
      if (process !== null && this.strikeAt('before', process, step) && !this.alive) return;
      let settled = false;
      const settle = (end: () => void) => {
        if (settled) return;
        settled = true;
        cancelTimeout();
        end();
        this.strikeSoon(process, step);
      };
      const cancelTimeout = this.after(timeoutMs, () => settle(() => reject(new NoAnswerError(`${step}: no answer`))));
      const answer = (end: () => void) => {
        if (process !== null) this.strikeAt('applied', process, step);
        if (fault === 'answer-lost') return;
        const slow = fault === 'answer-late' ? random.skewed(timeoutMs / 2, timeoutMs * 4) : 0;
        this.after(slow + random.skewed(0.1, networkMs), () => settle(end));
      };
      const arrive = () => {
        let result: T;
        try {
          if (fault === 'retriable-error' || time.nowMs < faults.logMovesUntilMs)
            throw new RetriableError(`${step}: not here, not now`);
          if (fault === 'fatal-error') throw new StreamError('log-refused', `${step} was refused for good`);
          result = act();
        } catch (error) {
          answer(() => reject(error));
          return;
        }
        answer(() => resolve(result));
      };
      if (fault === 'request-lost') return;
      const late = fault === 'request-late' ? random.skewed(timeoutMs / 2, timeoutMs * 8) : 0;
      time.schedule(late + random.skewed(0.1, networkMs), arrive);
      if (fault === 'request-doubled') time.schedule(random.skewed(0.1, timeoutMs * 4), arrive);
    });
  }

  /** Works on a disk of this machine or on the snapshot store. Errors: what `act` threw, and of the disk itself. */
  work<T>(step: LocalStep, act: () => T | Promise<T>, options: WorkOptions = {}): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.alive || this.crashesNow()) return;
      const { random, faults, trace, diskMs, time } = this.around;
      const { fault, process } = faults.ofWork(step);
      const readFails = time.nowMs < this.readsFailUntilMs;
      trace.note(`${this.name} ${step}${options.what ?? ''}${fault === null ? '' : ` (${fault})`}`);
      if (process !== null && this.strikeAt('before', process, step) && !this.alive) return;
      const done = (end: () => void) => {
        if (process !== null) this.strikeAt('applied', process, step);
        this.after(random.skewed(0, diskMs), () => {
          end();
          this.strikeSoon(process, step);
        });
      };
      this.after(this.workMs(step, fault), () => {
        const isBadBlock = step === 'store-read' && readFails && random.chance(0.3);
        if (fault === 'io-error' || isBadBlock) return done(() => reject(new Error(`${step}: the disk gave an error`)));
        if (options.needsSpace && time.nowMs < this.diskFullUntilMs) {
          faults.count('disk-full-refusal');
          return done(() => reject(new Error(`${step}: no space left on device`)));
        }
        Promise.resolve()
          .then(act)
          .then(
            (result) => done(() => resolve(result)),
            (error: unknown) => done(() => reject(error)),
          );
      });
    });
  }

  private workMs(step: LocalStep, fault: DiskFault | null): number {
    const { random, diskMs, time } = this.around;
    const stalls = step === 'store-write' && time.nowMs < this.writesStallUntilMs;
    return random.skewed(0, diskMs) + (fault === 'slow' || stalls ? random.skewed(50, 5_000) : 0);
  }

  private crashesNow(): boolean {
    this.stepsLeft -= 1;
    if (this.stepsLeft !== 0) return false;
    if (this.around.random.chance(0.5)) this.onFault('crash');
    else this.around.time.schedule(0, () => this.onFault('crash'));
    return !this.alive;
  }

  private deliver(run: () => void): void {
    if (!this.alive) return;
    if (this.paused) this.overdue.push(run);
    else run();
  }

  /** Once the process has made of the answer what it can at once. */
  private strikeSoon(process: { readonly fault: ProcessFault; readonly moment: Moment } | null, step: string): void {
    if (process === null) return;
    this.around.time.schedule(0, () => this.strikeAt('answered', process, step));
  }

  private strikeAt(
    moment: Moment,
    at: { readonly fault: ProcessFault; readonly moment: Moment },
    step: string,
  ): boolean {
    if (at.moment !== moment || !this.alive) return false;
    this.around.faults.count(`${at.fault} ${moment} ${step}`);
    this.around.trace.note(`${this.name}: ${at.fault} at ${step}, ${moment}`);
    this.onFault(at.fault);
    return true;
  }
}
