/**
 * Owns watching a state log while a service writes it, as any reader of committed records can: how far each partition is
 * committed, whether epochs are whole and contiguous (I2), and what the cards' state has become. It asks no service.
 * Neighbours: `runs.ts` waits for it, `compare.ts` compares the state with the reference's.
 */
import { type CardColumns, cardState } from '../../src/fraud/cards/state.js';
import { type DeltaRecord, StateLogDecoder } from '../../src/stream/epoch/delta.js';
import type { LogBackend, PartitionReader } from '../../src/stream/ports.js';
import { RecordBatch } from '../../src/stream/records.js';
import { makeColumns } from '../../src/stream/state/layout.js';
import { ValueCodec } from '../../src/stream/state/value-codec.js';
import { describeState } from './outcome.js';

export interface FollowedCommit {
  readonly partition: number;
  readonly epoch: number;
  /** When it became visible here, monotonic ms. */
  readonly atMs: number;
}

/** Records read at a time; state-log records are large. */
const READ_RECORDS = 32;
const WAIT_MS = 100;
const POLL_MS = 20;

export class StateFollower {
  private readonly partitions: FollowedPartition[] = [];
  private readonly loops: Promise<void>[] = [];
  private closed = false;
  private failure: Error | null = null;

  /** Begins to follow. `cards`: cards a partition at most; 0 leaves their state alone. The topic must exist. */
  static async open(backend: LogBackend, topic: string, cards: readonly number[]): Promise<StateFollower> {
    const follower = new StateFollower();
    for (const [partition, most] of cards.entries()) {
      const reader = await backend.openReader({ topic, partition, from: 'earliest' });
      const followed = new FollowedPartition(partition, most, reader);
      follower.partitions.push(followed);
      follower.loops.push(follower.follow(followed));
    }
    return follower;
  }

  /** Source offset up to which everything is committed, of each partition. */
  get committed(): readonly number[] {
    return this.partitions.map(({ to }) => to);
  }

  /** Source offset up to which each partition's newest checkpoint goes; 0 before the first. */
  get checkpointed(): readonly number[] {
    return this.partitions.map(({ checkpointed }) => checkpointed);
  }

  get epochs(): number {
    return this.partitions.reduce((total, { epochs }) => total + epochs, 0);
  }

  /** Monotonic ms of the first and the newest commit seen; null before the first. */
  get span(): { readonly firstMs: number; readonly lastMs: number } | null {
    const seen = this.partitions.filter(({ epochs }) => epochs > 0);
    if (seen.length === 0) return null;
    const firstMs = Math.min(...seen.map((partition) => partition.firstMs));
    return { firstMs, lastMs: Math.max(...seen.map((partition) => partition.lastMs)) };
  }

  /** What was wrong with the epochs, in words; empty where nothing was. */
  get problems(): readonly string[] {
    return this.partitions.flatMap(({ problems }) => problems);
  }

  /** By partition: state as text by card. */
  cards(): readonly ReadonlyMap<string, string>[] {
    return this.partitions.map((partition) => partition.describeCards());
  }

  /** Payments that the cards remember together. */
  get rememberedPayments(): number {
    return this.partitions.reduce((total, partition) => total + partition.rememberedPayments, 0);
  }

  /** Newest commit of a partition; null before its first. */
  newest(partition: number): FollowedCommit | null {
    const { epochs, epoch, lastMs } = this.partitions[partition];
    return epochs === 0 ? null : { partition, epoch, atMs: lastMs };
  }

  /** Everything before these offsets of the state log has been looked at. */
  hasRead(ends: readonly number[]): boolean {
    return this.partitions.every(({ reader }, partition) => reader.position >= ends[partition]);
  }

  /**
   * Resolves once every partition has committed the source record at its offset of `offsets`, with the moments at which
   * that was seen (monotonic ms); rejects as `when` does.
   */
  async passed(
    offsets: readonly number[],
    timeoutMs: number,
    what: string,
    until: Promise<never> = never,
  ): Promise<readonly number[]> {
    const marks = this.partitions.map((partition, index) => partition.mark(offsets[index]));
    const pending = () => marks.flatMap(({ atMs }, partition) => (atMs === null ? [partition] : []));
    const described = () => `${what}; partitions ${pending()} are missing`;
    await this.when(() => pending().length === 0, timeoutMs, described, until);
    return marks.map(({ atMs }) => atMs ?? 0);
  }

  /** Resolves once `isTrue`; rejects when following failed, after `timeoutMs`, or when `until` rejects. */
  async when(
    isTrue: () => boolean,
    timeoutMs: number,
    what: string | (() => string),
    until: Promise<never> = never,
  ): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    let ended: unknown = null;
    until.catch((error: unknown) => {
      ended = error;
    });
    for (;;) {
      if (this.failure !== null) throw this.failure;
      if (isTrue()) return;
      if (ended !== null) throw ended;
      if (performance.now() > deadline) {
        const told = typeof what === 'string' ? what : what();
        throw new Error(
          `waited ${Math.round(timeoutMs / 1_000)} s for ${told}; committed offsets are ${this.committed}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    await Promise.all(this.loops);
    for (const { reader } of this.partitions) await reader.close();
  }

  private async follow(partition: FollowedPartition): Promise<void> {
    try {
      while (!this.closed) {
        if (!partition.readSome()) await partition.reader.whenReadable(WAIT_MS);
      }
    } catch (error) {
      this.failure ??= error instanceof Error ? error : new Error(String(error));
    }
  }
}

const never: Promise<never> = new Promise(() => {});

/** A source offset that somebody waits to see committed. */
interface Mark {
  readonly offset: number;
  /** Monotonic ms; null until then. */
  atMs: number | null;
}

class FollowedPartition {
  private marks: Mark[] = [];
  epochs = 0;
  epoch = -1;
  to = 0;
  checkpointed = 0;
  firstMs = 0;
  lastMs = 0;
  readonly problems: string[] = [];
  private readonly batch = new RecordBatch(READ_RECORDS);
  private readonly decoder = new StateLogDecoder();
  private readonly columns: CardColumns;
  private readonly codec: ValueCodec;
  private readonly slots = new Map<string, number>();

  constructor(
    private readonly partition: number,
    private readonly most: number,
    readonly reader: PartitionReader,
  ) {
    this.columns = makeColumns(cardState, Math.max(1, most));
    this.codec = new ValueCodec(cardState, this.columns);
  }

  mark(offset: number): Mark {
    const mark: Mark = { offset, atMs: this.to > offset ? this.lastMs : null };
    if (mark.atMs === null) this.marks.push(mark);
    return mark;
  }

  /** False where there was nothing. */
  readSome(): boolean {
    const count = this.reader.read(this.batch);
    for (let index = 0; index < count; index++) {
      const value = this.batch.value(index);
      const record = value === null ? null : this.decoder.push(value, this.batch.offset[index]);
      if (record?.kind === 'delta') this.take(record);
      else if (record?.kind === 'pointer') this.checkpointed = record.pointer.resume.sourceOffset ?? 0;
    }
    return count > 0;
  }

  get rememberedPayments(): number {
    let total = 0;
    for (const slot of this.slots.values()) total += this.columns.paymentCount[slot];
    return total;
  }

  describeCards(): ReadonlyMap<string, string> {
    const cards = new Map<string, string>();
    for (const [card, slot] of this.slots) cards.set(card, describeState(cardState.fields, this.columns, slot));
    return cards;
  }

  private take(delta: DeltaRecord): void {
    const { head, changes } = delta;
    if (head.epoch !== this.epoch + 1 || head.from !== this.to || head.to < head.from) {
      this.problems.push(
        `partition ${this.partition}: epoch ${head.epoch} covers ${head.from} to ${head.to}, after epoch ${this.epoch} up to ${this.to}`,
      );
    }
    this.lastMs = performance.now();
    if (this.epochs === 0) this.firstMs = this.lastMs;
    this.epochs += 1;
    this.epoch = head.epoch;
    this.to = head.to;
    if (this.marks.length > 0) this.settleMarks();
    for (let left = this.most === 0 ? 0 : delta.changeCount; left > 0; left--) {
      const length = changes.u8();
      const card = changes.bytes.toString('utf8', changes.position, changes.position + length);
      changes.position += length;
      this.codec.read(changes, this.slotOf(card));
    }
  }

  private settleMarks(): void {
    for (const mark of this.marks) if (this.to > mark.offset) mark.atMs = this.lastMs;
    this.marks = this.marks.filter(({ atMs }) => atMs === null);
  }

  private slotOf(card: string): number {
    const known = this.slots.get(card);
    if (known !== undefined) return known;
    if (this.slots.size === this.most) {
      throw new Error(`partition ${this.partition} remembers more than the ${this.most} cards that pay in it: ${card}`);
    }
    this.slots.set(card, this.slots.size);
    return this.slots.size - 1;
  }
}
