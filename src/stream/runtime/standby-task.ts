/**
 * Owns a standby: another process runs the task, and this one keeps the task's own local store up to date from the state
 * log, so that taking over is a fence and little to replay. It never fences, commits, reads the source or makes
 * checkpoints; it holds committed epochs alone (I1), with few keys hot, and writes behind as a task does.
 * Neighbours: `epoch/recovery.ts` brings the store up to the log's end, `epoch/replay.ts` goes on from there,
 * `task-host.ts` starts it, stops it before the task itself begins here, and starts it again after an error.
 */
import type { TaskStore } from '../checkpoint/task-store.js';
import { catchUp, LAST_COMMIT_VISIBLE_MS } from '../epoch/recovery.js';
import { type Replay, StoppedError } from '../epoch/replay.js';
import { StreamError } from '../errors.js';
import { taskIdOf } from '../pipeline/pipeline.js';
import type { Clock, EpochLog, LocalDisk, LogBackend, OpenStateStore, SnapshotStore } from '../ports.js';
import { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields, StateLayout } from '../state/layout.js';
import type { ResumePoint } from '../state/stored-form.js';
import { WriteBehind, type WriteBehindOptions } from '../state/write-behind.js';
import { Signal } from './signal.js';
import type { StandbyState, StandbyStatus } from './status.js';
import { describe } from './task.js';
import { atTaskPlace } from './task-place.js';

export interface StandbyOptions {
  readonly stateLogTopic: string;
  /** Of the pipeline, 1 where left out. */
  readonly generation?: number;
  /** The same as the tasks': what a standby leaves there is what the task begins with. */
  readonly stateDirectory: string;
  /** Keys held in columns: far fewer than a task's, since nobody asks for them. */
  readonly hotKeys: number;
  readonly writeBehind: WriteBehindOptions;
  /** Pause between looks at the state log, ms. */
  readonly pollMs: number;
}

export interface StandbyParts<F extends LayoutFields> {
  readonly partition: number;
  readonly worker: number;
  readonly pipelineName: string;
  readonly layout: StateLayout<F>;
  readonly backend: LogBackend;
  readonly openStore: OpenStateStore;
  readonly snapshots: SnapshotStore;
  readonly disk: LocalDisk;
  readonly clock: Clock;
  readonly options: StandbyOptions;
  /** False: the local store is removed and built anew from checkpoint and state log. */
  readonly trustsStore: boolean;
  say(level: 'info' | 'warn', message: string): void;
}

export class StandbyTask<F extends LayoutFields> {
  readonly taskId: string;
  private state: StandbyState = 'starting';
  private error: StandbyStatus['error'] = null;
  private stopRequested = false;
  private readonly pause: Signal;
  private keyed: KeyedState<F> | null = null;
  private replay: Replay | null = null;
  /** Position in the state log behind what is applied, and its end as last seen. */
  private position = 0;
  private logEnd = 0;

  constructor(private readonly parts: StandbyParts<F>) {
    this.taskId = taskIdOf(parts.pipelineName, parts.partition);
    this.pause = new Signal(parts.clock);
  }

  /** Asks it to end: what it has applied is brought to the store. */
  stop(): void {
    this.stopRequested = true;
    if (this.state !== 'stopped' && this.state !== 'failed') this.state = 'stopping';
    this.pause.wake();
  }

  /**
   * Follows the task until it is stopped. Rejects with what made it fail: the next one begins with the local store, or
   * with the newest checkpoint where the state log has gone past that.
   */
  async run(): Promise<void> {
    try {
      await atTaskPlace({ ...this.parts, taskId: this.taskId }, async (storage, epochLog) => {
        await this.follow(storage, epochLog);
        this.state = 'stopped';
      });
    } catch (error) {
      if (error instanceof StoppedError) {
        this.state = 'stopped';
        return;
      }
      this.state = 'failed';
      this.error = describe(error);
      throw error;
    }
  }

  private async follow(storage: TaskStore, epochLog: EpochLog): Promise<void> {
    const { clock, options, say } = this.parts;
    this.enter('restoring');
    const startedAtMs = clock.monotonic();
    let writeBehind: WriteBehind | null = null;
    try {
      const { replay, end } = await this.catchUp(epochLog, storage, (opened) => {
        writeBehind = opened;
      });
      this.replay = replay;
      this.reached(end);
      const { deltas } = replay.totals;
      const tookMs = Math.round(clock.monotonic() - startedAtMs);
      say(
        'info',
        `standby of ${this.taskId} is at epoch ${replay.at.epoch}: ${deltas} epochs replayed in ${tookMs} ms`,
      );
      this.enter('following');
      while (!this.stopRequested) {
        await this.pause.wait(options.pollMs);
        if (this.stopRequested) break;
        // Asked for the end first, so that the status shows what is behind while it is being read.
        this.logEnd = (await epochLog.stateLogRange()).end;
        if (this.logEnd > this.position) await this.readOn(replay, epochLog);
        replay.writeSome();
      }
      await replay.writeAll();
    } finally {
      // No write may be under way when the store closes. Why the standby ends, if by an error, is known already.
      await (writeBehind as WriteBehind | null)?.idle().catch(() => {});
    }
  }

  /**
   * Brings the store up to the log's end. Errors: as `catchUp`; that the store is ahead of the log only where it stays so.
   * This very process may have been the owner until now: its last commit was acknowledged, and stored, some moments
   * before readers of committed records see it. A task waits for that by fencing.
   */
  private async catchUp(epochLog: EpochLog, storage: TaskStore, onOpened: (writeBehind: WriteBehind) => void) {
    const { clock, say } = this.parts;
    const giveUpAtMs = clock.monotonic() + LAST_COMMIT_VISIBLE_MS;
    for (;;) {
      try {
        return await catchUp({
          taskId: this.taskId,
          epochLog,
          storage,
          clock,
          openState: (start) => {
            const opened = this.openState(storage, start);
            onOpened(opened.writeBehind);
            return opened;
          },
          onProgress: (message) => say('info', `standby of ${message}`),
          shouldStop: () => this.stopRequested,
        });
      } catch (error) {
        const isAhead = error instanceof StreamError && error.code === 'state-log-behind-store';
        if (!isAhead || clock.monotonic() > giveUpAtMs) throw error;
        if (this.stopRequested) throw new StoppedError();
        await this.pause.wait(this.parts.options.pollMs);
      }
    }
  }

  /** A stop in mid-way leaves what was applied until then, whole epochs, which is worth storing. */
  private async readOn(replay: Replay, epochLog: EpochLog): Promise<void> {
    try {
      this.reached(await replay.readOn(epochLog, this.position, () => this.stopRequested));
    } catch (error) {
      if (!(error instanceof StoppedError)) throw error;
      replay.letGo();
    }
  }

  private reached(end: number): void {
    this.position = end;
    this.logEnd = Math.max(this.logEnd, end);
  }

  private openState(storage: TaskStore, start: ResumePoint) {
    const { layout, options } = this.parts;
    const ignore = () => {}; // the task reads its timers from the store when it begins
    this.keyed = new KeyedState(layout, options.hotKeys, storage.store, ignore);
    const state = this.keyed as unknown as KeyedState;
    this.position = start.stateLogOffset ?? 0;
    return { state, writeBehind: new WriteBehind(state, storage.store, options.writeBehind, start), onTimer: ignore };
  }

  private enter(state: StandbyState): void {
    if (!this.stopRequested) this.state = state;
  }

  status(): StandbyStatus {
    return {
      taskId: this.taskId,
      partition: this.parts.partition,
      worker: this.parts.worker,
      state: this.state,
      error: this.error,
      epoch: this.replay?.at.epoch ?? -1,
      stateLogOffset: this.position,
      endOffset: Math.max(this.logEnd, this.position),
      hotKeys: this.keyed?.hotKeys ?? 0,
      dirtyKeys: this.keyed?.dirtyKeys ?? 0,
    };
  }
}
