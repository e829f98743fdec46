/**
 * Owns a task's checkpoints: a snapshot of the store every interval, a pointer to it in the state log (within the next
 * epoch's commit), and the truncation of the log behind the oldest pointer kept. The stream goes on meanwhile.
 *
 *   idle ──due──► taking (snapshot, upload) ──► waiting for an epoch to carry the pointer ──committed──► idle, truncate
 *                    └─ failed or timed out: counted, said, tried again after the interval and once its work has ended
 *
 * The log is never truncated past the oldest kept pointer's resume point. After a restart nothing is truncated until
 * `retained` new checkpoints are complete: what was kept before is not trusted to memory.
 */
import { type CheckpointPointer, encodePointer } from '../epoch/delta.js';
import type { Clock, EpochLog } from '../ports.js';
import type { ResumePoint } from '../state/stored-form.js';
import type { TaskStore } from './task-store.js';

export interface CheckpointOptions {
  readonly intervalMs: number;
  /** At least this long between the end of one checkpoint and the start of the next. */
  readonly minPauseMs: number;
  readonly timeoutMs: number;
  /** Checkpoints kept. At least 1. */
  readonly retained: number;
  /**
   * Whether the log may forget what the kept checkpoints cover. Only where every process that may own the task can
   * reach the snapshot store; else a successor on another machine could find neither log nor checkpoint.
   */
  readonly truncateLog: boolean;
}

export interface CheckpointFigures {
  id: string | null;
  completedAt: number | null;
  durationMs: number | null;
  sizeBytes: number | null;
  failures: number;
  lastFailure: string | null;
}

interface Ready {
  readonly pointer: CheckpointPointer;
  readonly startedAtMs: number;
  readonly sizeBytes: number;
}

export class Checkpoints {
  readonly figures: CheckpointFigures = {
    id: null,
    completedAt: null,
    durationMs: null,
    sizeBytes: null,
    failures: 0,
    lastFailure: null,
  };
  private lastEndedAtMs: number;
  private lastStartedAtMs: number;
  private taking: Promise<void> | null = null;
  /** Resolves when the one being taken has timed out, be its work at an end or not. */
  private givenUp: Promise<void> = Promise.resolve();
  private forgetting: Promise<void> = Promise.resolve();
  private ready: Ready | null = null;
  private carried: Ready | null = null;
  private readonly kept: CheckpointPointer[] = [];

  constructor(
    private readonly storage: TaskStore,
    private readonly epochLog: EpochLog,
    private readonly clock: Clock,
    private readonly options: CheckpointOptions,
    private readonly onProblem: (message: string) => void,
  ) {
    this.lastStartedAtMs = clock.monotonic();
    this.lastEndedAtMs = this.lastStartedAtMs;
  }

  /** A finished snapshot waits for an epoch to carry its pointer. */
  get pointerWaits(): boolean {
    return this.ready !== null;
  }

  /** Starts a checkpoint if one is due. `stored` is what the store is known to reflect. */
  startIfDue(stored: ResumePoint): void {
    if (this.taking !== null || this.ready !== null || this.carried !== null) return;
    const now = this.clock.monotonic();
    if (now - this.lastStartedAtMs < this.options.intervalMs) return;
    if (now - this.lastEndedAtMs < this.options.minPauseMs) return;
    if (stored.stateLogOffset === null || stored.epoch === this.kept.at(-1)?.resume.epoch) return;
    this.lastStartedAtMs = now;
    this.taking = this.take(stored, now).finally(() => {
      this.taking = null;
      this.lastEndedAtMs = this.clock.monotonic();
    });
  }

  /** State-log records to go with the epoch being closed: the pointer, once a snapshot is complete. */
  recordsFor(epoch: number): Buffer[] {
    if (this.ready === null) return [];
    this.carried = this.ready;
    this.ready = null;
    return encodePointer(epoch, this.carried.pointer, this.epochLog.maxRecordBytes);
  }

  /** The epoch that carried a pointer is durable: the checkpoint is complete, older ones and the log's tail go. */
  async committed(): Promise<void> {
    const done = this.carried;
    if (done === null) return;
    this.carried = null;
    this.figures.id = done.pointer.snapshotId;
    this.figures.completedAt = done.pointer.completedAtMs;
    this.figures.sizeBytes = done.sizeBytes;
    this.figures.durationMs = this.clock.monotonic() - done.startedAtMs;
    this.kept.push(done.pointer);
    if (this.figures.durationMs > this.options.intervalMs * 0.3) {
      this.onProblem(
        `checkpoint ${done.pointer.snapshotId} took ${Math.round(this.figures.durationMs)} ms, over 30 % of the interval`,
      );
    }
    if (this.kept.length < this.options.retained) return;
    while (this.kept.length > this.options.retained) this.kept.shift();
    this.forgetting = this.forgetOlder().catch((error: unknown) => {
      this.fail('truncating behind the checkpoint failed', error);
    });
    await this.forgetting;
  }

  /** Waits for what is under way; for a checkpoint no longer than it may take. */
  async idle(): Promise<void> {
    if (this.taking !== null) await Promise.race([this.taking, this.givenUp]);
    await this.forgetting;
  }

  private async forgetOlder(): Promise<void> {
    const { snapshotId, resume } = this.kept[0];
    if (this.options.truncateLog && resume.stateLogOffset !== null) {
      await this.epochLog.truncateStateLog(resume.stateLogOffset);
    }
    // Ids order as epochs do. Newer ones stay whoever made them: this may be a zombie that does not know it yet.
    for (const id of await this.storage.snapshots.list(this.storage.taskId)) {
      if (id < snapshotId) await this.storage.snapshots.delete(this.storage.taskId, id);
    }
  }

  private async take(resume: ResumePoint, startedAtMs: number): Promise<void> {
    const snapshotId = `chk-${String(resume.epoch).padStart(12, '0')}-${this.clock.now()}`;
    const scratch = this.storage.scratchDirectory;
    const { timeoutMs } = this.options;
    let timedOut = false;
    let cancel = () => {};
    this.givenUp = new Promise((resolve) => {
      cancel = this.clock.schedule(timeoutMs, () => {
        timedOut = true;
        this.fail(`checkpoint ${snapshotId} failed`, new Error(`it took longer than ${timeoutMs} ms`));
        resolve();
      });
    });
    try {
      await this.storage.disk.remove(scratch);
      await this.storage.disk.make(scratch);
      await this.storage.store.snapshot(scratch);
      const { sizeBytes } = await this.storage.snapshots.put(this.storage.taskId, snapshotId, scratch);
      if (timedOut) return;
      this.ready = { pointer: { snapshotId, completedAtMs: this.clock.now(), resume }, startedAtMs, sizeBytes };
    } catch (error) {
      if (timedOut) this.onProblem(`checkpoint ${snapshotId}, given up before, ended with: ${messageOf(error)}`);
      else this.fail(`checkpoint ${snapshotId} failed`, error);
    } finally {
      cancel();
      await this.storage.disk.remove(scratch).catch((error: unknown) => this.fail(`removing ${scratch} failed`, error));
    }
  }

  private fail(what: string, error: unknown): void {
    this.figures.failures++;
    this.figures.lastFailure = messageOf(error);
    this.onProblem(`${what}: ${this.figures.lastFailure}`);
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
