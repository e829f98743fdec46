/**
 * Owns the tasks of one worker thread: starts and stops them as the supervisor says, tries a failed one again, and
 * reports what it cannot mend. Knows no thread: `worker.ts` gives it a way to speak.
 *
 * A task that fails is started again from its last commit. It is given up ("poisoned") when its error needs a person
 * (FINAL_CODES), or when it failed MAX_TRIES times without committing anything in between.
 */
import type { Clock } from '../ports.js';
import type { TaskStatus } from './status.js';
import { describe, type TaskEnd } from './task.js';

/** What a host needs of a task; {@link Task} is one. */
export interface HostedTask {
  readonly taskId: string;
  run(): Promise<TaskEnd>;
  stop(): void;
  status(): TaskStatus;
}

export interface FatalTask {
  readonly taskId: string;
  readonly code: string;
  readonly message: string;
}

/** Errors that trying again cannot mend. */
const FINAL_CODES: ReadonlySet<string> = new Set([
  'dead-letter-limit',
  'offset-out-of-range',
  'state-lost',
  'state-log-behind-store',
  'state-version',
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
const PASSING_CODES: ReadonlySet<string> = new Set(['kafka-unreachable']);
const LONGEST_PAUSE_MS = 10_000;
/**
 * Whoever fenced a task owns its partition now, and the group is about to say so. Taking it back before a heartbeat has
 * had its chance would only fence the rightful owner.
 */
const FENCED_RETRY_MS = 10_000;

interface Hosted {
  task: HostedTask | null;
  wanted: boolean;
  /** Ends the pause before a next try, if there is one. */
  wake: () => void;
  readonly ended: Promise<void>;
}

export class TaskHost {
  private readonly hosted = new Map<number, Hosted>();
  private readonly lastStatus = new Map<number, TaskStatus>();
  private stopping = false;
  private lastCall = 0;
  /** Partitions whose local store the next task must not trust. */
  private readonly distrusted = new Set<number>();

  constructor(
    private readonly makeTask: (partition: number, trustsStore: boolean) => HostedTask,
    private readonly clock: Clock,
    private readonly onFatal: (fatal: FatalTask) => void,
    private readonly say: (level: 'info' | 'warn', message: string) => void,
  ) {}

  /**
   * Runs exactly these partitions from now on; resolves when tasks of others have stopped. The newest call decides: one
   * that was still waiting for tasks to stop starts nothing any more.
   */
  async own(partitions: readonly number[], distrusted: readonly number[] = []): Promise<void> {
    for (const partition of distrusted) this.distrusted.add(partition);
    const call = ++this.lastCall;
    const wanted = new Set(partitions);
    // One that is stopping already is waited for as well: it begins anew, from where it ended.
    const leaving = [...this.hosted].filter(([partition, hosted]) => !hosted.wanted || !wanted.has(partition));
    for (const [, hosted] of leaving) {
      hosted.wanted = false;
      hosted.task?.stop();
      hosted.wake();
    }
    await Promise.all(leaving.map(([, hosted]) => hosted.ended));
    if (call !== this.lastCall) return;
    if (!this.stopping) this.forgetStatuses(wanted);
    for (const partition of wanted) if (!this.hosted.has(partition)) this.start(partition);
  }

  /** Stops every task cleanly. How far they came stays to be told: `statuses` goes on showing them. */
  stop(): Promise<void> {
    this.stopping = true;
    return this.own([]);
  }

  statuses(): TaskStatus[] {
    for (const [partition, { task }] of this.hosted) if (task !== null) this.lastStatus.set(partition, task.status());
    return [...this.lastStatus.values()];
  }

  /** Tasks given up, and those that failed for good before they were: another process tells of them now. */
  private forgetStatuses(wanted: ReadonlySet<number>): void {
    for (const partition of this.lastStatus.keys()) if (!wanted.has(partition)) this.lastStatus.delete(partition);
  }

  private start(partition: number): void {
    const hosted: Hosted = { task: null, wanted: true, wake: () => {}, ended: Promise.resolve() };
    const ended = this.keepRunning(partition, hosted).finally(() => {
      this.hosted.delete(partition);
    });
    this.hosted.set(partition, Object.assign(hosted, { ended }));
  }

  private async keepRunning(partition: number, hosted: Hosted): Promise<void> {
    let tries = 0;
    let lastOffset = -1;
    while (hosted.wanted) {
      const task = this.makeTask(partition, !this.distrusted.delete(partition));
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
        this.lastStatus.set(partition, task.status());
      }
    }
  }

  private mayTryAgain(task: HostedTask, error: unknown, tries: number): boolean {
    const { code, message } = describe(error);
    if (FINAL_CODES.has(code)) {
      this.onFatal({ taskId: task.taskId, code, message });
      return false;
    }
    if (tries >= MAX_TRIES && !PASSING_CODES.has(code)) {
      const { committedOffset, epoch } = task.status();
      const where = epoch >= 0 ? `at source offset ${committedOffset}` : 'before it had recovered';
      this.onFatal({
        taskId: task.taskId,
        code: 'poisoned',
        message: `failed ${tries} times ${where}, each time with: ${message}`,
      });
      return false;
    }
    const stack = error instanceof Error && code === 'unexpected' ? `\n${error.stack ?? ''}` : '';
    this.say('warn', `${task.taskId} failed (${code}: ${message}); starting it again${stack}`);
    return true;
  }

  private pause(hosted: Hosted, ms: number): Promise<void> {
    if (!hosted.wanted) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = this.clock.schedule(ms, resolve);
      hosted.wake = () => {
        cancel();
        resolve();
      };
    });
  }
}
