/**
 * Owns the tasks and standbys of one worker thread: starts and stops them as the supervisor says, tries a failed one
 * again, and reports what it cannot mend. Knows no thread: `worker.ts` gives it a way to speak.
 *
 * A task that fails is started again from its last commit. It is given up ("poisoned") when its error needs a person
 * (FINAL_CODES), or when it failed MAX_TRIES times without committing anything in between. A standby is never given up:
 * it only saves time. A unit's local store has one user at a time: what ran before has ended before what follows begins,
 * also where a standby becomes the task.
 */
import type { Assigned, Clock, SourcePartition } from '../ports.js';
import { unitName } from '../source-partition.js';
import type { StandbyStatus, TaskStatus } from './status.js';
import { describe, type TaskEnd } from './task.js';

/** What a host needs of a task; {@link Task} is one. */
export interface HostedTask {
  readonly taskId: string;
  run(): Promise<TaskEnd>;
  stop(): void;
  status(): TaskStatus;
}

/** What a host needs of a standby; {@link StandbyTask} is one. */
export interface HostedStandby {
  readonly taskId: string;
  run(): Promise<void>;
  stop(): void;
  status(): StandbyStatus;
}

export interface FatalTask {
  readonly taskId: string;
  readonly code: string;
  readonly message: string;
}

/** Errors that trying again cannot mend. */
const FINAL_CODES: ReadonlySet<string> = new Set([
  'dead-letter-limit',
  'source-not-keyed-by-card',
  'partitions-added',
  'offset-out-of-range',
  'state-lost',
  'state-log-behind-store',
  'state-version',
  'state-log-foreign',
  'generation-over',
  'corrupt-data',
  'timer-limit',
  'timer-loop',
  'hot-keys-too-few',
  'model-mismatch',
  'model-corrupt',
  'broadcast-unreadable',
  'kafka-denied',
  'kafka-topic-missing',
  'kafka-topic-remade',
  'topic-deleted',
  'unknown-partition',
  'registry-unavailable',
  'registry-denied',
]);
const MAX_TRIES = 4;
/** Trouble that passes by itself, however long it takes: tried again without end, more and more seldom. */
const PASSING_CODES: ReadonlySet<string> = new Set(['kafka-unreachable', 'object-store-unreachable']);
const LONGEST_PAUSE_MS = 10_000;
/**
 * Whoever fenced a task owns its partition now, and the group is about to say so. Taking it back before a heartbeat has
 * had its chance would only fence the rightful owner.
 */
const FENCED_RETRY_MS = 10_000;

/** A standby that failed this often in a row, and came no further, no longer trusts what its store holds. */
const STANDBY_TRIES = 2;

interface Hosted {
  readonly unit: SourcePartition;
  readonly isStandby: boolean;
  /** What runs now, if anything does. */
  task: HostedTask | null;
  standby: HostedStandby | null;
  wanted: boolean;
  /** Ends the pause before a next try, if there is one. */
  wake: () => void;
  readonly ended: Promise<void>;
}

export interface TaskHostParts {
  /** `trustsStore` false: what the task's local store holds is not to be used. */
  makeTask(unit: SourcePartition, trustsStore: boolean): HostedTask;
  /** Left out: standbys are not kept here. */
  makeStandby?(unit: SourcePartition, trustsStore: boolean): HostedStandby | undefined;
  readonly clock: Clock;
  onFatal(fatal: FatalTask): void;
  say(level: 'info' | 'warn', message: string): void;
}

export class TaskHost {
  /** By the name of the unit, as everything here. */
  private readonly hosted = new Map<string, Hosted>();
  private readonly lastStatus = new Map<string, TaskStatus>();
  private stopping = false;
  private lastCall = 0;
  /** Units whose local store the next task must not trust. */
  private readonly distrusted = new Set<string>();

  constructor(private readonly parts: TaskHostParts) {}

  /**
   * Runs exactly these units from now on; resolves when tasks of others have stopped. The newest call decides: one that
   * was still waiting for tasks to stop starts nothing any more.
   */
  async own(assigned: Assigned, distrusted: readonly SourcePartition[] = []): Promise<void> {
    for (const unit of distrusted) this.distrusted.add(unitName(unit));
    const call = ++this.lastCall;
    const wanted = new Map<string, { readonly unit: SourcePartition; readonly isStandby: boolean }>();
    for (const unit of assigned.standby) wanted.set(unitName(unit), { unit, isStandby: true });
    for (const unit of assigned.active) wanted.set(unitName(unit), { unit, isStandby: false });
    // One that is stopping already is waited for as well: it begins anew, from where it ended.
    const leaving = [...this.hosted].filter(
      ([name, hosted]) => !hosted.wanted || wanted.get(name)?.isStandby !== hosted.isStandby,
    );
    for (const [, hosted] of leaving) {
      hosted.wanted = false;
      hosted.task?.stop();
      hosted.standby?.stop();
      hosted.wake();
    }
    await Promise.all(leaving.map(([, hosted]) => hosted.ended));
    if (call !== this.lastCall) return;
    if (!this.stopping) this.forgetStatuses(new Set(assigned.active.map(unitName)));
    for (const [name, { unit, isStandby }] of wanted) if (!this.hosted.has(name)) this.start(unit, isStandby);
  }

  /** Stops every task cleanly. How far they came stays to be told: `statuses` goes on showing them. */
  stop(): Promise<void> {
    this.stopping = true;
    return this.own({ active: [], standby: [] });
  }

  statuses(): TaskStatus[] {
    for (const [name, { task }] of this.hosted) if (task !== null) this.lastStatus.set(name, task.status());
    return [...this.lastStatus.values()];
  }

  standbyStatuses(): StandbyStatus[] {
    return [...this.hosted.values()].flatMap(({ standby }) => (standby === null ? [] : [standby.status()]));
  }

  /** Tasks given up, and those that failed for good before they were: another process tells of them now. */
  private forgetStatuses(wanted: ReadonlySet<string>): void {
    for (const name of this.lastStatus.keys()) if (!wanted.has(name)) this.lastStatus.delete(name);
  }

  private start(unit: SourcePartition, isStandby: boolean): void {
    const name = unitName(unit);
    const idle = { task: null, standby: null, wanted: true, wake: () => {}, ended: Promise.resolve() };
    const hosted: Hosted = { unit, isStandby, ...idle };
    const ended = (isStandby ? this.keepStandby(name, hosted) : this.keepRunning(name, hosted)).finally(() => {
      this.hosted.delete(name);
    });
    this.hosted.set(name, Object.assign(hosted, { ended }));
  }

  private async keepStandby(name: string, hosted: Hosted): Promise<void> {
    let tries = 0;
    let lastEpoch = -1;
    while (hosted.wanted) {
      const isHopeless = tries > 0 && tries % STANDBY_TRIES === 0;
      const standby = this.parts.makeStandby?.(hosted.unit, !this.distrusted.delete(name) && !isHopeless);
      if (standby === undefined) return;
      hosted.standby = standby;
      try {
        await standby.run();
        return;
      } catch (error) {
        const { epoch } = standby.status();
        tries = epoch > lastEpoch ? 1 : tries + 1;
        lastEpoch = Math.max(lastEpoch, epoch);
        const { code, message } = describe(error);
        this.parts.say('warn', `the standby of ${standby.taskId} failed (${code}: ${message}); starting it again`);
        await this.pause(hosted, Math.min(LONGEST_PAUSE_MS, 100 * 2 ** tries));
      }
    }
  }

  private async keepRunning(name: string, hosted: Hosted): Promise<void> {
    let tries = 0;
    let lastOffset = -1;
    while (hosted.wanted) {
      const task = this.parts.makeTask(hosted.unit, !this.distrusted.delete(name));
      hosted.task = task;
      try {
        const end = await task.run();
        if (end === 'stopped') return;
        await this.pause(hosted, FENCED_RETRY_MS);
      } catch (error) {
        const { committedOffset, epoch } = task.status();
        // Before its recovery was complete a task knows no offset: that is no progress.
        const progressed = epoch >= 0 && committedOffset !== lastOffset;
        if (progressed) lastOffset = committedOffset;
        tries = progressed ? 1 : tries + 1;
        if (!this.mayTryAgain(task, error, tries)) return;
        await this.pause(hosted, Math.min(LONGEST_PAUSE_MS, 100 * 2 ** tries));
      } finally {
        this.lastStatus.set(name, task.status());
      }
    }
  }

  private mayTryAgain(task: HostedTask, error: unknown, tries: number): boolean {
    const { code, message } = describe(error);
    if (FINAL_CODES.has(code)) {
      this.parts.onFatal({ taskId: task.taskId, code, message });
      return false;
    }
    if (tries >= MAX_TRIES && !PASSING_CODES.has(code)) {
      const { committedOffset, epoch } = task.status();
      const where = epoch >= 0 ? `at source offset ${committedOffset}` : 'before it had recovered';
      this.parts.onFatal({
        taskId: task.taskId,
        code: 'poisoned',
        message: `failed ${tries} times ${where}, each time with: ${message}`,
      });
      return false;
    }
    const stack = error instanceof Error && code === 'unexpected' ? `\n${error.stack ?? ''}` : '';
    this.parts.say('warn', `${task.taskId} failed (${code}: ${message}); starting it again${stack}`);
    return true;
  }

  private pause(hosted: Hosted, ms: number): Promise<void> {
    if (!hosted.wanted) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.parts.clock.schedule(ms, resolve);
      hosted.wake = () => {
        cancel();
        resolve();
      };
    });
  }
}
