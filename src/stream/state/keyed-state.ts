/**
 * Owns a task's hot keys: key to slot, columns, which slots changed in the open epoch, and which are newer than the
 * store. Neighbours: `write-behind.ts` brings dirty slots to the store, `epoch/delta.ts` writes changed slots to the
 * state log, `runtime/task.ts` acquires slots for rows.
 *
 * Invariants:
 *  - a slot is evicted only when it is clean, no write of it is under way, and no batch in flight uses it;
 *  - `epochOf[slot]` is the epoch that the slot's value reflects, and travels with the value to the store (I5);
 *  - within one epoch a slot is in `changed` at most once, and in the dirty queue at most once.
 */
import type { StateStore } from '../ports.js';
import { ByteReader } from './byte-writer.js';
import { hash32, KeyIndex } from './key-index.js';
import { type ColumnsOf, type LayoutFields, makeColumns, type StateLayout } from './layout.js';
import { decodeStoredValue, stateKey } from './stored-form.js';
import { ValueCodec } from './value-codec.js';

const CLEAN = -1;
const UNPINNED = -1;

export class KeyedState<F extends LayoutFields = LayoutFields> {
  readonly columns: ColumnsOf<F>;
  readonly codec: ValueCodec;
  readonly index: KeyIndex;
  /** Epoch that each slot's value reflects; -1 for a key never changed. */
  readonly epochOf: Float64Array;
  /** First epoch whose change of the slot the store does not have; -1 where clean. */
  readonly firstDirtyEpoch: Float64Array;
  /** 1 while an encoded value of the slot waits to be acknowledged by the store. */
  readonly beingWritten: Uint8Array;
  /** 1 where the store holds a timer entry of the key. */
  readonly timerStored: Uint8Array;

  private readonly pin: Float64Array;
  private readonly held: Uint8Array;
  private readonly referenced: Uint8Array;
  private readonly marks: Uint32Array;
  private used = 0;
  private hand = 0;
  /** Batches numbered from here on may still use their slots. */
  private oldestBatchInUse = 0;
  private lastBatch = 0;

  private changed = new Int32Array(4096);
  private changedCount = 0;
  private readonly dirtyQueue: Int32Array;
  private dirtyHead = 0;
  private dirtyLength = 0;
  private readonly loads = new Set<Promise<void>>();
  private loadFailure: unknown = null;
  private missingKeys: Buffer[] = [];
  private missingSlots: number[] = [];

  constructor(
    readonly layout: StateLayout<F>,
    readonly capacity: number,
    private readonly store: StateStore,
    /** Told of every timer set, for the timer queue. `key` is a view. */
    private readonly onTimerSet: (key: Buffer, dueMs: number) => void,
  ) {
    this.columns = makeColumns(layout, capacity);
    this.codec = new ValueCodec(layout, this.columns);
    this.index = new KeyIndex(capacity);
    this.epochOf = new Float64Array(capacity).fill(-1);
    this.firstDirtyEpoch = new Float64Array(capacity).fill(CLEAN);
    this.beingWritten = new Uint8Array(capacity);
    this.timerStored = new Uint8Array(capacity);
    this.pin = new Float64Array(capacity).fill(UNPINNED);
    this.held = new Uint8Array(capacity);
    this.referenced = new Uint8Array(capacity);
    this.marks = new Uint32Array(capacity * Math.max(1, this.codec.ringCount));
    this.dirtyQueue = new Int32Array(capacity);
    for (const { column } of this.codec.timers) {
      column.onSet = (slot, dueMs) => this.onTimerSet(this.index.key(slot), dueMs);
    }
  }

  get hotKeys(): number {
    return this.used;
  }

  get dirtyKeys(): number {
    return this.dirtyLength;
  }

  get changedSlots(): Int32Array {
    return this.changed.subarray(0, this.changedCount);
  }

  /**
   * The slot of a key, pinned for `batch`; a cold key gets one that `loadMissing` must fill before use.
   * -1: every slot is dirty or in use; the caller makes room (commits, writes) and asks again.
   */
  acquire(bytes: Uint8Array, start: number, length: number, batch: number): number {
    const hash = hash32(bytes, start, length);
    let slot = this.index.find(bytes, start, length, hash);
    if (slot < 0) {
      slot = this.freeSlot();
      if (slot < 0) return -1;
      this.index.insert(slot, bytes, start, length, hash);
      this.missingKeys.push(stateKey(this.index.key(slot)));
      this.missingSlots.push(slot);
    }
    if (batch > this.pin[slot]) this.pin[slot] = batch;
    this.referenced[slot] = 1;
    return slot;
  }

  /** As {@link acquire}, apart from any batch: the slot stays until `letGo`. */
  acquireHeld(key: Buffer): number {
    const slot = this.acquire(key, 0, key.length, UNPINNED);
    if (slot >= 0) this.held[slot] = 1;
    return slot;
  }

  letGo(slots: readonly number[]): void {
    for (const slot of slots) this.held[slot] = 0;
  }

  /** Numbers a batch of acquisitions; its slots stay until a later `releaseBatchesBefore`. */
  beginBatch(): number {
    return ++this.lastBatch;
  }

  /** Slots used only by batches before this one may be evicted from now on. Null: every batch so far is done with. */
  releaseBatchesBefore(batch: number | null): void {
    this.oldestBatchInUse = batch ?? this.lastBatch + 1;
  }

  /** Reads the cold keys acquired since the last call from the store. Null: there are none. */
  loadMissing(): Promise<void> | null {
    if (this.missingKeys.length === 0) return null;
    const keys = this.missingKeys;
    const slots = this.missingSlots;
    this.missingKeys = [];
    this.missingSlots = [];
    const load = this.store
      .getMany(keys)
      .then((values) => {
        for (let i = 0; i < slots.length; i++) this.fill(slots[i], values[i]);
      })
      .finally(() => this.loads.delete(load));
    this.loads.add(load);
    // Whoever waits for it sees the failure; who gave up before (another part of the batch failed) must not end the thread.
    load.catch((error: unknown) => {
      this.loadFailure ??= error;
    });
    return load;
  }

  /**
   * Resolves once every load under way has filled its slots, whoever asked for it. Rejects if any load ever failed: its
   * slots are bound to their keys and hold what others left there.
   */
  async loaded(): Promise<void> {
    await this.loadMissing();
    await Promise.all(this.loads);
    if (this.loadFailure !== null) throw this.loadFailure;
  }

  /** Marks a slot as changed in `epoch`. Call before the first write to its columns in that epoch. */
  touch(slot: number, epoch: number): void {
    if (this.epochOf[slot] === epoch) return;
    this.epochOf[slot] = epoch;
    const rings = this.codec.ringCount;
    for (let ring = 0; ring < rings; ring++) this.marks[slot * rings + ring] = this.codec.ringTotal(ring, slot);
    if (this.changedCount === this.changed.length) {
      const grown = new Int32Array(this.changedCount * 2);
      grown.set(this.changed);
      this.changed = grown;
    }
    this.changed[this.changedCount++] = slot;
    if (this.firstDirtyEpoch[slot] !== CLEAN) return;
    this.firstDirtyEpoch[slot] = epoch;
    let tail = this.dirtyHead + this.dirtyLength++;
    if (tail >= this.capacity) tail -= this.capacity;
    this.dirtyQueue[tail] = slot;
  }

  /** Ring totals of each slot as they were when its epoch began, `codec.ringCount` a slot. */
  get ringMarks(): Uint32Array {
    return this.marks;
  }

  /** Ends the open epoch's list of changed slots; their values stay, dirty. */
  forgetChanged(): void {
    this.changedCount = 0;
  }

  /** The slot dirty for longest, or -1. */
  oldestDirty(): number {
    return this.dirtyLength === 0 ? -1 : this.dirtyQueue[this.dirtyHead];
  }

  /** Takes the oldest dirty slot off the queue: its value as of now has been handed to a write. */
  takeOldestDirty(): number {
    const slot = this.dirtyQueue[this.dirtyHead];
    this.dirtyHead = this.dirtyHead + 1 === this.capacity ? 0 : this.dirtyHead + 1;
    this.dirtyLength--;
    this.firstDirtyEpoch[slot] = CLEAN;
    this.beingWritten[slot] = 1;
    return slot;
  }

  private freeSlot(): number {
    if (this.used < this.capacity) return this.used++;
    // Two sweeps: the first may only take reference bits away.
    for (let tried = 0; tried < this.capacity * 2; tried++) {
      const slot = this.hand;
      this.hand = this.hand + 1 === this.capacity ? 0 : this.hand + 1;
      if (this.firstDirtyEpoch[slot] !== CLEAN || this.beingWritten[slot] === 1) continue;
      if (this.pin[slot] >= this.oldestBatchInUse || this.held[slot] === 1) continue;
      if (this.referenced[slot] === 1) {
        this.referenced[slot] = 0;
        continue;
      }
      this.index.remove(slot);
      this.pin[slot] = UNPINNED;
      return slot;
    }
    return -1;
  }

  private fill(slot: number, stored: Uint8Array | null): void {
    this.timerStored[slot] = 0;
    this.epochOf[slot] = -1;
    this.codec.clear(slot);
    if (stored === null) return;
    const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
    const from = new ByteReader(bytes);
    this.epochOf[slot] = decodeStoredValue(from, this.layout, this.codec, slot, this.index.key(slot));
    for (const { column } of this.codec.timers) if (column.due[slot] > 0) this.timerStored[slot] = 1;
  }
}
