/**
 * Owns one partition of the simulated log: every record ever written, of open, committed and aborted Kafka transactions
 * alike, with their markers; what of it a read-committed reader may see. Nothing is ever taken out: the oracle reads
 * what was truncated too. Neighbours: `simulated-log.ts` decides the transactions.
 */
import { StreamError } from '../../errors.js';
import type { OutputRecord } from '../../records.js';
import type { MemoryRecord } from '../memory-partition.js';

/** One Kafka transaction, of a task or of an upstream producer. */
export class LogTransaction {
  state: 'open' | 'committing' | 'aborting' | 'ended' = 'open';
  /** First offset in each partition that has a part of it. */
  readonly parts = new Map<SimulatedPartition, number>();
  /** Partitions in which its marker lies: there it is decided for readers. */
  readonly outcomes = new Map<SimulatedPartition, 'committed' | 'aborted'>();
  /** Requests taken in, by partition and sequence: the same one again changes nothing. */
  readonly received = new Map<string, number>();

  constructor(readonly owner: string) {}
}

interface Entry {
  /** Null is a marker. */
  readonly record: MemoryRecord | null;
  readonly transaction: LogTransaction | null;
  /** Superseded by a later record of its key, and removed. */
  compacted: boolean;
}

export interface Fetched {
  readonly records: readonly MemoryRecord[];
  readonly next: number;
  readonly end: number;
}

/** An offset asked for that is not in the log; the log says what it holds. */
export class NotInLogError extends Error {
  constructor(
    readonly offset: number,
    readonly partition: SimulatedPartition,
  ) {
    const { topic, start, end } = partition;
    super(`${topic}/${partition.partition} holds ${start} to ${end}, not ${offset}`);
  }
}

export class SimulatedPartition {
  start = 0;
  /** Its topic was deleted: nobody reaches it any more, and one of the same name is another. */
  isGone = false;
  private readonly entries: Entry[] = [];
  private readonly undecided = new Set<LogTransaction>();
  private waiting: (() => void)[] = [];

  constructor(
    readonly topic: string,
    readonly partition: number,
    /** Of this very topic. */
    readonly identity: string = topic,
  ) {}

  get end(): number {
    return this.entries.length;
  }

  /** Where read-committed readers end: before the first record of a transaction that is not decided here. */
  get stableEnd(): number {
    let end = this.entries.length;
    for (const transaction of this.undecided) end = Math.min(end, transaction.parts.get(this) ?? end);
    return end;
  }

  get hasUndecided(): boolean {
    return this.undecided.size > 0;
  }

  /** Returns the record's offset. */
  append(
    record: Pick<OutputRecord, 'key' | 'value' | 'headers' | 'timestampMs'>,
    transaction: LogTransaction | null,
  ): number {
    const offset = this.entries.length;
    if (transaction !== null && !transaction.parts.has(this)) {
      transaction.parts.set(this, offset);
      this.undecided.add(transaction);
    }
    const { topic, partition } = this;
    const { key, value, headers, timestampMs } = record;
    const kept: MemoryRecord = {
      topic,
      partition,
      offset,
      key: key && Buffer.from(key),
      value: value && Buffer.from(value),
      headers: headers.map(([name, bytes]) => [name, Buffer.from(bytes)] as const),
      timestampMs,
    };
    this.entries.push({ record: kept, transaction, compacted: false });
    if (transaction === null) this.wake();
    return offset;
  }

  /** Writes a transaction's marker. */
  decide(transaction: LogTransaction, outcome: 'committed' | 'aborted'): void {
    this.entries.push({ record: null, transaction, compacted: false });
    transaction.outcomes.set(this, outcome);
    this.undecided.delete(transaction);
    this.wake();
  }

  /** What a read-committed fetch gives from `from` on: at most `limit` entries are looked at. */
  fetch(from: number, limit: number): Fetched {
    this.expectThere();
    if (from < this.start || from > this.end) throw new NotInLogError(from, this);
    const end = this.stableEnd;
    const next = Math.max(from, Math.min(end, from + limit));
    const records: MemoryRecord[] = [];
    for (let offset = from; offset < next; offset++) {
      const entry = this.entries[offset];
      if (entry.record !== null && !entry.compacted && this.isCommitted(entry)) records.push(entry.record);
    }
    return { records, next, end };
  }

  /** Everything ever committed, in offset order, what was truncated or compacted since included. */
  history(): readonly MemoryRecord[] {
    const records: MemoryRecord[] = [];
    for (const entry of this.entries) {
      if (entry.record !== null && this.isCommitted(entry)) records.push(entry.record);
    }
    return records;
  }

  /** Errors: topic-deleted. */
  expectThere(): void {
    if (this.isGone) throw new StreamError('topic-deleted', `${this.identity} was deleted`);
  }

  /** Of the newest record that readers of committed ones will see; -1: there is none. */
  get lastOffset(): number {
    for (let offset = this.entries.length - 1; offset >= 0; offset--) {
      const entry = this.entries[offset];
      if (entry.record !== null && this.isCommitted(entry)) return offset;
    }
    return -1;
  }

  belongsTo(offset: number, transaction: LogTransaction): boolean {
    return this.entries[offset]?.transaction === transaction;
  }

  /** Whatever lies at an offset, committed or not. */
  record(offset: number): MemoryRecord | null {
    return this.entries[offset]?.record ?? null;
  }

  truncate(offset: number): void {
    this.start = Math.max(this.start, Math.min(offset, this.end));
    this.wake();
  }

  /**
   * Removes all but the newest record of each key, as a compacted topic's cleaner does in its own time. It leaves alone
   * what is younger than `youngestMs`: a reader that lags less never finds a key's update gone and the next not yet read.
   */
  compact(youngestMs: number): number {
    const newest = new Set<string>();
    let removed = 0;
    let end = this.stableEnd;
    while (end > 0 && (this.entries[end - 1].record?.timestampMs ?? Infinity) > youngestMs) end--;
    for (let offset = end - 1; offset >= this.start; offset--) {
      const entry = this.entries[offset];
      const key = entry.record?.key?.toString('latin1');
      if (key === undefined || entry.compacted || !this.isCommitted(entry)) continue;
      if (newest.has(key)) {
        entry.compacted = true;
        removed += 1;
      } else newest.add(key);
    }
    return removed;
  }

  /** Calls `wake` once, when more may be readable. */
  onChange(wake: () => void): void {
    this.waiting.push(wake);
  }

  private isCommitted({ transaction }: Entry): boolean {
    return transaction === null || transaction.outcomes.get(this) === 'committed';
  }

  private wake(): void {
    const { waiting } = this;
    this.waiting = [];
    for (const wake of waiting) wake();
  }
}
