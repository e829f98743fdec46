/**
 * Owns the way of changed state to the store: behind the epochs, at any pace, never in the hot loop. The state log is
 * the durable truth meanwhile (I5). Measured: writing each epoch's changes to RocksDB cost 7 µs of CPU a payment, and
 * writing all at a checkpoint stalled for 300 ms.
 *
 * At each epoch's close some of the slots dirty for longest are encoded, as of that epoch. They go to the store once
 * the epoch has committed, in one batch with the resume point of the oldest change still unwritten. One batch at a time.
 */
import type { StateEntry, StateStore } from '../ports.js';
import { ByteWriter } from './byte-writer.js';
import type { KeyedState } from './keyed-state.js';
import {
  encodePendingTimers,
  encodeResumePoint,
  encodeStoredValue,
  RESUME_KEY,
  type ResumePoint,
  stateKey,
  timerKey,
} from './stored-form.js';

export interface WriteBehindOptions {
  /** A dirty slot waits this many ms for more changes before it is written. */
  readonly ageMs: number;
  /** Slots encoded at one epoch's close at most; four times as many when over half of all slots are dirty. */
  readonly slotsAtOnce: number;
}

/** Slots of one batch, where all that are dirty shall be written. */
const WRITES_AT_ONCE = 8_192;
/** How far epochs that change nothing may run ahead of the stored resume point. */
const EPOCHS_BETWEEN_RESUME_POINTS = 256;

interface PendingWrite {
  /** The newest epoch that the encoded values reflect: they wait for its commit. */
  readonly epoch: number;
  readonly resumeEpoch: number;
  readonly entries: StateEntry[];
  readonly slots: number[];
}

interface EpochRecord extends ResumePoint {
  readonly closedAtMs: number;
}

export class WriteBehind {
  /** What the store is known to reflect: the resume point of the last acknowledged batch. */
  stored: ResumePoint;
  private pending: PendingWrite | null = null;
  private writing: Promise<void> | null = null;
  private failure: unknown = null;
  private committedEpoch: number;
  /** Resume points by epoch, from the oldest one that may still be asked for. */
  private readonly epochs = new Map<number, EpochRecord>();
  private readonly scratch = new ByteWriter(4096);

  constructor(
    private readonly state: KeyedState,
    private readonly store: StateStore,
    private readonly options: WriteBehindOptions,
    start: ResumePoint,
  ) {
    this.stored = start;
    this.committedEpoch = start.epoch;
    this.epochs.set(start.epoch, { ...start, closedAtMs: Number.NEGATIVE_INFINITY });
  }

  /** True while nothing is encoded or being written and no slot is dirty. */
  get settled(): boolean {
    return this.pending === null && this.writing === null && this.state.dirtyKeys === 0;
  }

  /** At the close of `epoch`, before the next one changes anything: encodes slots whose time has come. */
  sweep(epoch: number, nowMs: number): void {
    if (this.pending !== null || this.writing !== null) return;
    const { state } = this;
    const pressed = state.dirtyKeys > state.capacity / 2;
    const limit = this.options.slotsAtOnce * (pressed ? 4 : 1);
    const write: PendingWrite = { epoch, resumeEpoch: epoch, entries: [], slots: [] };
    while (write.slots.length < limit) {
      const slot = state.oldestDirty();
      if (slot < 0) break;
      if (!pressed && !this.isOldEnough(state.firstDirtyEpoch[slot], nowMs)) break;
      this.encode(write, state.takeOldestDirty());
    }
    this.finishEncoding(write);
  }

  /**
   * As {@link sweep}, but whatever their age: for shut-down and for making room. `wholeEpoch` is the newest epoch all
   * of whose changes are in memory; a replay in the middle of epoch n passes n - 1.
   */
  sweepAll(epoch: number, wholeEpoch: number, limit = WRITES_AT_ONCE): void {
    if (this.pending !== null || this.writing !== null) return;
    const write: PendingWrite = { epoch, resumeEpoch: wholeEpoch, entries: [], slots: [] };
    while (write.slots.length < limit && this.state.oldestDirty() >= 0)
      this.encode(write, this.state.takeOldestDirty());
    this.finishEncoding(write);
  }

  /** Brings every dirty slot to the store; all their changes up to `epoch` have committed. Rejects when a write failed. */
  async writeAll(epoch: number): Promise<void> {
    await this.idle();
    while (!this.settled) {
      this.sweepAll(epoch, epoch);
      await this.idle();
    }
  }

  /** `point.epoch` has committed (or was read back from the state log). Starts the write that waited for it. */
  committed(point: ResumePoint, closedAtMs: number): void {
    this.committedEpoch = point.epoch;
    this.epochs.set(point.epoch, { ...point, closedAtMs });
    this.start();
  }

  /** Resolves when the write under way, if any, is acknowledged. Rejects when a write failed: the task cannot go on. */
  async idle(): Promise<void> {
    while (this.writing !== null) await this.writing;
    if (this.failure !== null) throw this.failure;
  }

  /** Throws if a write failed since. Called each round of the task's loop. */
  check(): void {
    if (this.failure !== null) throw this.failure;
  }

  private isOldEnough(dirtySince: number, nowMs: number): boolean {
    // The change fell into epoch `dirtySince`: it is at least as old as the close of that epoch.
    const closed = this.epochs.get(dirtySince);
    return closed !== undefined && nowMs - closed.closedAtMs >= this.options.ageMs;
  }

  private encode(write: PendingWrite, slot: number): void {
    const { state, scratch } = this;
    const key = state.index.key(slot);
    scratch.clear();
    encodeStoredValue(scratch, state.epochOf[slot], state.layout.version, state.codec, slot);
    write.slots.push(slot);
    write.entries.push({ key: stateKey(key), value: Buffer.from(scratch.written()) });
    const due = encodePendingTimers(state.codec, slot);
    if (due !== null) {
      write.entries.push({ key: timerKey(key), value: due });
      state.timerStored[slot] = 1;
    } else if (state.timerStored[slot] === 1) {
      write.entries.push({ key: timerKey(key), value: null });
      state.timerStored[slot] = 0;
    }
  }

  private finishEncoding(write: PendingWrite): void {
    const oldest = this.state.oldestDirty();
    const resumeEpoch =
      oldest < 0 ? write.resumeEpoch : Math.min(write.resumeEpoch, this.state.firstDirtyEpoch[oldest] - 1);
    // Epochs without state changes move the resume point too, now and then: the log's tail and `epochs` stay short.
    if (write.slots.length === 0 && resumeEpoch - this.stored.epoch < EPOCHS_BETWEEN_RESUME_POINTS) return;
    this.pending = { ...write, resumeEpoch };
    this.start();
  }

  private start(): void {
    const write = this.pending;
    if (write === null || this.writing !== null || write.epoch > this.committedEpoch) return;
    // What a failed batch should have brought is missing for good: a later one's resume point would pass over it (I5).
    if (this.failure !== null) return;
    this.pending = null;
    const resume = this.epochs.get(write.resumeEpoch);
    if (resume === undefined) throw new Error(`no resume point is known for epoch ${write.resumeEpoch}`);
    const { closedAtMs: _, ...point } = resume;
    write.entries.push({ key: RESUME_KEY, value: encodeResumePoint(point) });
    this.writing = this.store.writeBatch(write.entries).then(
      () => {
        for (const slot of write.slots) this.state.beingWritten[slot] = 0;
        this.stored = point;
        for (const epoch of this.epochs.keys()) if (epoch < point.epoch) this.epochs.delete(epoch);
        this.writing = null;
      },
      (error: unknown) => {
        this.failure = error;
        this.writing = null;
      },
    );
  }
}
