/**
 * Owns one task's life: a source partition, its keyed state, its epochs. It recovers, runs a session until the session
 * ends, and decides what follows: a commit in doubt → recover; fenced → stop; anything else → fail, for the supervisor.
 * The life is drawn at {@link TaskState}. Neighbours: `session.ts` does the work, `worker.ts` owns tasks.
 */
import { type CheckpointOptions, Checkpoints } from '../checkpoint/checkpoints.js';
import { generationOver, readSeal } from '../checkpoint/seal.js';
import type { TaskStore } from '../checkpoint/task-store.js';
import { afterFailure, type CommitFailure, type EpochLimits } from '../epoch/protocol.js';
import { recover } from '../epoch/recovery.js';
import { StoppedError } from '../epoch/replay.js';
import { CommitDoubtfulError, FencedError, StreamError } from '../errors.js';
import type { StepBatch } from '../pipeline/batch.js';
import { type PipelineDefinition, type StepContext, taskIdOf } from '../pipeline/pipeline.js';
import type {
  Clock,
  EpochLog,
  LocalDisk,
  LogBackend,
  OpenStateStore,
  PartitionReader,
  SnapshotStore,
} from '../ports.js';
import { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields } from '../state/layout.js';
import type { ResumePoint } from '../state/stored-form.js';
import { WriteBehind, type WriteBehindOptions } from '../state/write-behind.js';
import { TimerQueue } from '../time/timer-queue.js';
import { Watermark } from '../time/watermark.js';
import { BroadcastInputs } from './broadcast-inputs.js';
import { TaskFigures } from './figures.js';
import { closeSteps, type OpenedSteps, openSteps } from './opened-steps.js';
import { Session } from './session.js';
import { Signal } from './signal.js';
import { SourceKeys, type SourceKeysOptions } from './source-keys.js';
import type { TaskState, TaskStatus } from './status.js';
import { atTaskPlace } from './task-place.js';

export interface TaskOptions {
  readonly startFrom: 'earliest' | 'latest';
  readonly epoch: EpochLimits;
  readonly batchRecords: number;
  readonly readBufferBytes: number;
  /** Keys a task holds in columns. */
  readonly hotKeys: number;
  readonly maxTimers: number;
  readonly writeBehind: WriteBehindOptions;
  readonly checkpoint: CheckpointOptions;
  /** Source idle for this long: event time goes on by the clock. 0 switches it off. */
  readonly idleTimeoutMs: number;
  readonly stateLogTopic: string;
  /** Of the pipeline, 1 where left out: each has a state log and owner ids of its own. */
  readonly generation?: number;
  /** Holds a directory a task. */
  readonly stateDirectory: string;
}

export interface TaskParts<B extends StepBatch, F extends LayoutFields> {
  readonly partition: number;
  readonly worker: number;
  readonly definition: PipelineDefinition<B, F>;
  readonly backend: LogBackend;
  readonly openStore: OpenStateStore;
  readonly snapshots: SnapshotStore;
  readonly disk: LocalDisk;
  readonly clock: Clock;
  readonly options: TaskOptions;
  /** False: the local store is removed and built anew from checkpoint and state log. True where left out. */
  readonly trustsStore?: boolean;
  /** The source is to be keyed as the rows are, and is checked for it. Left out: its keys are nobody's concern. */
  readonly sourceKeys?: SourceKeysOptions;
  /** Plain sentences for the log. */
  say(level: 'info' | 'warn', message: string): void;
}

const LONGEST_BACKOFF_MS = 2_000;

export type TaskEnd = 'stopped' | 'fenced';

export class Task<B extends StepBatch, F extends LayoutFields> {
  readonly taskId: string;
  private state: TaskState = 'starting';
  private error: { code: string; message: string } | null = null;
  private readonly figures = new TaskFigures();
  private readonly signal: Signal;
  /** Woken by a stop alone: what wakes a session must not cut short the pause after it. */
  private readonly pause: Signal;
  private stopRequested = false;
  private session: Session<B, F> | null = null;
  private reader: PartitionReader | null = null;
  private checkpoints: Checkpoints | null = null;
  private keyedState: KeyedState<F> | null = null;
  private timers: TimerQueue;
  private watermark: Watermark;
  private lastCommitted: ResumePoint | null = null;

  constructor(private readonly parts: TaskParts<B, F>) {
    this.taskId = taskIdOf(parts.definition.name, parts.partition);
    this.signal = new Signal(parts.clock);
    this.pause = new Signal(parts.clock);
    this.timers = new TimerQueue(parts.options.maxTimers);
    this.watermark = new Watermark(parts.definition.outOfOrdernessMs);
  }

  /** Asks for a clean stop: what is read is processed and committed, state is stored. */
  stop(): void {
    this.stopRequested = true;
    if (this.state === 'running') this.state = 'stopping';
    this.session?.stop();
    this.signal.wake();
    this.pause.wake();
  }

  /** Runs until stopped or fenced. Rejects with what made it fail. */
  async run(): Promise<TaskEnd> {
    const { definition, trustsStore = true } = this.parts;
    const place = { ...this.parts, taskId: this.taskId, pipelineName: definition.name, trustsStore };
    try {
      return await atTaskPlace(place, async (storage, epochLog) => {
        const end = await this.sessions(storage, epochLog);
        this.state = end;
        return end;
      });
    } catch (error) {
      this.state = 'failed';
      this.error = describe(error);
      throw error;
    }
  }

  private async sessions(storage: TaskStore, epochLog: EpochLog): Promise<TaskEnd> {
    for (let attempt = 0; ; attempt++) {
      if (this.stopRequested) return 'stopped';
      const before = this.lastCommitted?.epoch ?? -1;
      try {
        await this.runSession(storage, epochLog);
        return 'stopped';
      } catch (error) {
        if (error instanceof StoppedError) return 'stopped';
        const next = afterFailure(kindOf(error));
        if (next === 'stop') {
          await this.expectOpen(epochLog);
          this.error = describe(error);
          this.parts.say(
            'warn',
            `${this.taskId}: another instance owns this partition now; everything held here is dropped`,
          );
          return 'fenced';
        }
        if (next === 'fail') throw error;
        this.figures.recoveries++;
        if ((this.lastCommitted?.epoch ?? -1) > before) attempt = 0;
        this.parts.say(
          'warn',
          `${this.taskId}: a commit is in doubt (${describe(error).message}); reading the state log for the truth`,
        );
        await this.pause.wait(Math.min(LONGEST_BACKOFF_MS, 20 * 2 ** attempt));
      }
    }
  }

  /**
   * Whoever took over may have ended the generation: that is told at once. A log that cannot be read now is asked again
   * by the next try, which begins with a recovery.
   */
  private async expectOpen(epochLog: EpochLog): Promise<void> {
    const seal = await readSeal(epochLog).catch(() => null);
    if (seal !== null) throw generationOver(this.taskId, seal);
  }

  private async runSession(storage: TaskStore, epochLog: EpochLog): Promise<void> {
    const { definition, clock, options, backend } = this.parts;
    this.state = 'recovering';
    const startedAt = clock.monotonic();
    this.timers = new TimerQueue(options.maxTimers);
    const timers = this.timers;
    let opened: { state: KeyedState<F>; writeBehind: WriteBehind } | null = null;
    const recovered = await recover({
      taskId: this.taskId,
      epochLog,
      storage,
      clock,
      openState: (start) => {
        timers.clear();
        const state = new KeyedState(definition.layout, options.hotKeys, storage.store, (key, due) =>
          timers.push(key, due),
        );
        const erased = state as unknown as KeyedState;
        const writeBehind = new WriteBehind(erased, storage.store, options.writeBehind, start);
        opened = { state, writeBehind };
        return { state: erased, writeBehind, onTimer: (key, due) => timers.push(key, due) };
      },
      onProgress: (message) => this.parts.say('info', message),
      onLostCheckpoint: (kind, message) => {
        this.figures.count(`checkpoint.${kind}`);
        this.parts.say('warn', message);
      },
      shouldStop: () => this.stopRequested,
    });
    if (opened === null) throw new Error('recovery ended without a state');
    const { state, writeBehind } = opened as { state: KeyedState<F>; writeBehind: WriteBehind };
    this.keyedState = state;
    this.lastCommitted = recovered.at;
    if (recovered.deltas > 0) {
      this.parts.say(
        'info',
        `${this.taskId}: recovered to epoch ${recovered.at.epoch}, source offset ${recovered.at.sourceOffset}: ` +
          `${recovered.deltas} epochs with ${recovered.changes} changes (${recovered.skipped} already stored) in ${Math.round(clock.monotonic() - startedAt)} ms`,
      );
    }
    this.watermark = new Watermark(definition.outOfOrdernessMs);
    if (recovered.at.maxEventTimeMs !== null) this.watermark.maxEventTimeMs = recovered.at.maxEventTimeMs;
    const steps = await openSteps(definition, this.stepContext(), state.columns);
    let broadcasts: BroadcastInputs | null = null;
    let reader: PartitionReader | null = null;
    try {
      broadcasts = await BroadcastInputs.open(steps.broadcasts, backend, recovered.at.cursors, clock);
      reader = await backend.openReader({
        topic: definition.source.topic,
        partition: this.parts.partition,
        from: recovered.at.sourceOffset ?? options.startFrom,
        bufferBytes: options.readBufferBytes,
      });
      this.reader = reader;
      await this.startSession({
        storage,
        epochLog,
        state,
        writeBehind,
        recovered: recovered.at,
        steps,
        broadcasts,
        reader,
      });
    } finally {
      this.reader = null;
      await reader?.close();
      await broadcasts?.close();
      await closeSteps(steps);
    }
  }

  private async startSession(live: {
    storage: TaskStore;
    epochLog: EpochLog;
    state: KeyedState<F>;
    writeBehind: WriteBehind;
    recovered: ResumePoint;
    steps: OpenedSteps<B>;
    broadcasts: BroadcastInputs;
    reader: PartitionReader;
  }): Promise<void> {
    const { options, definition, clock, partition } = this.parts;
    const { storage, epochLog } = live;
    this.checkpoints = new Checkpoints(storage, epochLog, clock, options.checkpoint, (message) =>
      this.parts.say('warn', `${this.taskId}: ${message}`),
    );
    const session = new Session<B, F>({
      ...live,
      taskId: this.taskId,
      definition,
      partition,
      clock,
      signal: this.signal,
      figures: this.figures,
      limits: options.epoch,
      batchRecords: options.batchRecords,
      idleTimeoutMs: options.idleTimeoutMs,
      startOffset: live.reader.position,
      checkpoints: this.checkpoints,
      timers: this.timers,
      watermark: this.watermark,
      keys: this.sourceKeys(),
    });
    this.session = session;
    this.state = 'running';
    if (this.stopRequested) this.stop();
    try {
      await session.run();
    } catch (error) {
      await session.abandon();
      throw error;
    } finally {
      this.lastCommitted = session.committed;
      this.session = null;
    }
  }

  private sourceKeys(): SourceKeys | null {
    const { sourceKeys, definition, partition } = this.parts;
    if (sourceKeys === undefined) return null;
    const source = { topic: definition.source.topic, partition };
    return new SourceKeys(source, sourceKeys, (name, by) => this.figures.count(name, by), {
      clock: this.parts.clock,
      warn: (message) => this.parts.say('warn', `${this.taskId}: ${message}`),
    });
  }

  private stepContext(): StepContext {
    return {
      taskId: this.taskId,
      source: { topic: this.parts.definition.source.topic, partition: this.parts.partition },
      clock: this.parts.clock,
      count: (name, by) => this.figures.count(name, by),
    };
  }

  status(): TaskStatus {
    const { figures, session, reader, checkpoints } = this;
    const committed = session?.committed ?? this.lastCommitted;
    // A gap behind the last record (control records of the producers) is no lag.
    const committedOffset =
      session?.settled === true && reader !== null ? reader.position : (committed?.sourceOffset ?? 0);
    const { id, completedAt, durationMs, sizeBytes, failures } = checkpoints?.figures ?? NO_CHECKPOINT;
    return {
      taskId: this.taskId,
      partition: this.parts.partition,
      worker: this.parts.worker,
      state: this.state,
      error: this.error,
      committedOffset,
      endOffset: Math.max(reader?.knownEndOffset ?? 0, committedOffset),
      epoch: committed?.epoch ?? -1,
      watermarkMs: Number.isFinite(this.watermark.currentMs) ? this.watermark.currentMs : 0,
      records: figures.records,
      deadLetters: figures.deadLetters,
      alerts: figures.alerts,
      late: figures.late,
      recoveries: figures.recoveries,
      epochLatencyMs: figures.epochLatency.quantiles(),
      checkpoint: { id, completedAt, durationMs, sizeBytes, failures },
      hotKeys: this.keyedState?.hotKeys ?? 0,
      dirtyKeys: this.keyedState?.dirtyKeys ?? 0,
      pendingTimers: this.timers.size,
      counters: figures.named,
    };
  }
}

const NO_CHECKPOINT = { id: null, completedAt: null, durationMs: null, sizeBytes: null, failures: 0 } as const;

function kindOf(error: unknown): CommitFailure {
  if (error instanceof FencedError) return 'fenced';
  return error instanceof CommitDoubtfulError ? 'in-doubt' : 'fatal';
}

export function describe(error: unknown): { code: string; message: string } {
  if (error instanceof StreamError) return { code: error.code, message: error.message };
  return { code: 'unexpected', message: error instanceof Error ? error.message : String(error) };
}
