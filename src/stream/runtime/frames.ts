/**
 * Owns batches on their way: two frames taken in turn, so that the next batch is decoded, its cold keys are read from
 * the store and its lookups run while the one before is processed. Order is kept: frames are processed as filled.
 */
import type { StreamError } from '../errors.js';
import type { StepBatch } from '../pipeline/batch.js';
import { DeadLetterGuard } from '../pipeline/dead-letters.js';
import type { PipelineDefinition, RejectDetails, Rejects } from '../pipeline/pipeline.js';
import type { Clock, PartitionReader } from '../ports.js';
import type { RecordBatch } from '../records.js';
import type { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields } from '../state/layout.js';
import type { TaskFigures } from './figures.js';
import type { OpenedSteps } from './opened-steps.js';
import { MAX_TRIES_FOR_ROOM, noRoom } from './room.js';
import type { SourceKeys } from './source-keys.js';

export interface Rejected {
  readonly recordIndex: number;
  readonly code: string;
  readonly message: string;
  readonly details?: RejectDetails;
}

export interface Frame<B extends StepBatch> {
  readonly batch: B;
  /** Acquisition number of its slots. */
  number: number;
  rejected: Rejected[];
  /** Settles when state and enrichment are there. */
  ready: Promise<unknown> | null;
}

export interface FrameParts<B extends StepBatch, F extends LayoutFields> {
  readonly definition: PipelineDefinition<B, F>;
  readonly batchRecords: number;
  readonly reader: PartitionReader;
  readonly state: KeyedState<F>;
  readonly steps: OpenedSteps<B>;
  readonly figures: TaskFigures;
  readonly clock: Clock;
  /** Null where the source's keys are nobody's concern. */
  readonly keys: SourceKeys | null;
}

export class Frames<B extends StepBatch, F extends LayoutFields> {
  private readonly free: Frame<B>[] = [];
  private readonly guard: DeadLetterGuard;
  private held: Frame<B>[] = [];
  private unprepared: { readonly frame: Frame<B>; isDone: boolean; prepared: Promise<void> } | null = null;

  constructor(
    private readonly parts: FrameParts<B, F>,
    private readonly makeRoom: () => Promise<void>,
    private readonly stopping: () => boolean,
  ) {
    const { definition, batchRecords } = parts;
    for (let i = 0; i < 2; i++) {
      this.free.push({ batch: definition.source.makeBatch(batchRecords), number: 0, rejected: [], ready: null });
    }
    this.guard = new DeadLetterGuard(definition.deadLetters.limits);
  }

  get inUse(): boolean {
    return this.held.length > 0;
  }

  /** Why the session is to end once what was handed out is committed; null while it is to go on. */
  get stop(): StreamError | null {
    return this.parts.keys?.stop ?? null;
  }

  /** Settles when a batch that has been read can be decoded; null where none waits. Rejects if it never can. */
  get waiting(): Promise<void> | null {
    return this.unprepared?.prepared ?? null;
  }

  /** The next batch, decoded and with its waits under way; null where there is none yet, or it {@link waiting}. */
  async fill(): Promise<Frame<B> | null> {
    const frame = this.take();
    return frame === null ? null : this.complete(frame);
  }

  /** A frame with records that can be decoded. What those need may take long: meanwhile the batch before goes on. */
  private take(): Frame<B> | null {
    if (this.unprepared !== null) {
      const { frame, isDone } = this.unprepared;
      if (!isDone) return null;
      this.unprepared = null;
      return frame;
    }
    const frame = this.free[this.free.length - 1];
    const { records } = frame.batch;
    if (this.parts.reader.read(records) === 0) return null;
    this.free.pop();
    this.held.push(frame);
    const pending = this.prepare(records);
    if (pending === null) return frame;
    const { figures, clock } = this.parts;
    const beganAt = clock.monotonic();
    figures.count('source.waits');
    const unprepared = { frame, isDone: false, prepared: pending };
    unprepared.prepared = pending.then(() => {
      figures.count('source.waited-ms', Math.round(clock.monotonic() - beganAt));
      unprepared.isDone = true;
    });
    // Whoever waits sees the failure; until then it must not count as unhandled.
    unprepared.prepared.catch(() => {});
    this.unprepared = unprepared;
    return null;
  }

  /** What decoding waits for: where misplaced keys belong now, and what the source's step needs. */
  private prepare(records: RecordBatch): Promise<void> | null {
    const looked = this.parts.keys?.look(records) ?? null;
    const prepareSource = () => this.parts.definition.source.prepare?.(records, this.stopping) ?? null;
    return looked === null ? prepareSource() : looked.then(() => prepareSource() ?? undefined);
  }

  /** Null where nothing of it is to be processed, as the session is to {@link stop} before it. */
  private async complete(frame: Frame<B>): Promise<Frame<B> | null> {
    const { batch } = frame;
    const { definition, state, steps, keys } = this.parts;
    if (batch.records.count === 0) return null;
    batch.reset();
    const rejected: Rejected[] = [];
    const rejects: Rejects = {
      reject: (recordIndex, code, message, details) => {
        rejected.push({ recordIndex, code, message, ...(details !== undefined && { details }) });
      },
    };
    definition.source.decode(batch, batch.records, rejects);
    if (keys !== null && !keys.compare(batch)) return null;
    frame.rejected = rejected;
    this.guard.observe(batch.records, rejected);
    frame.number = state.beginBatch();
    const waits: Promise<unknown>[] = [];
    await this.acquireSlots(frame, waits);
    for (const step of steps.enrich) {
      const pending = step.prepare(batch);
      if (pending !== null) waits.push(pending);
    }
    frame.ready = waits.length === 0 ? null : Promise.all(waits);
    // Whoever processes the frame sees the failure; until then it must not count as unhandled.
    frame.ready?.catch(() => {});
    return frame;
  }

  /** Everything before `current` is done with; its frame and slots may be used again. */
  release(current: Frame<B> | null): void {
    const inUse = (frame: Frame<B>) => frame === current || frame === this.unprepared?.frame;
    this.free.push(...this.held.filter((frame) => !inUse(frame)));
    this.held = this.held.filter(inUse);
    this.parts.state.releaseBatchesBefore(current?.number ?? null);
  }

  private async acquireSlots(frame: Frame<B>, waits: Promise<unknown>[]): Promise<void> {
    const { state, definition } = this.parts;
    // Without keyed steps there is no state to hold.
    if (definition.keyed.length === 0) return;
    const { batch, number } = frame;
    for (let row = 0; row < batch.count; row++) {
      const bytes = batch.textBytes(row);
      let slot = state.acquire(bytes, batch.keyStart[row], batch.keyLength[row], number);
      for (let tries = 0; slot < 0; tries++) {
        if (tries > MAX_TRIES_FOR_ROOM) throw noRoom(state.capacity);
        const loads = state.loadMissing();
        if (loads !== null) await loads;
        await this.makeRoom();
        slot = state.acquire(bytes, batch.keyStart[row], batch.keyLength[row], number);
      }
      batch.slot[row] = slot;
    }
    const loads = state.loadMissing();
    if (loads !== null) waits.push(loads);
  }
}
