/**
 * Owns one partition of the in-memory log: records, gaps, and readers that wait. Neighbours: `memory-log.ts` keeps the
 * partitions by topic, `memory-reader.ts` reads them, `memory-epoch-log.ts` appends to several at once.
 * Invariants: offsets rise and are never given twice; every append happens in one turn of the event loop, so that a
 * commit over several partitions is seen whole; stored bytes are copies that nobody else holds.
 */
import type { OutputRecord, RecordHeader } from '../records.js';

/** A record as it lies in the log. */
export interface MemoryRecord {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  readonly timestampMs: number;
}

export class MemoryPartition {
  /** First offset kept. */
  start = 0;
  /** Offset that the next record gets. */
  end = 0;
  /** Set when the topic was deleted; readers of this partition fail, even if the name exists again. */
  deleted = false;
  /** Records kept, by rising offset. */
  private records: MemoryRecord[] = [];
  private waiting = new Set<() => void>();

  constructor(
    readonly topic: string,
    readonly partition: number,
  ) {}

  /** Appends a copy of the record; returns its offset. Readers wake with {@link wake}, once all appends are done. */
  append(record: Pick<OutputRecord, 'key' | 'value' | 'headers' | 'timestampMs'>): number {
    const offset = this.end++;
    this.records.push({
      topic: this.topic,
      partition: this.partition,
      offset,
      key: record.key && Buffer.from(record.key),
      value: record.value && Buffer.from(record.value),
      headers: record.headers.map(([name, value]) => [name, Buffer.from(value)] as const),
      timestampMs: record.timestampMs,
    });
    return offset;
  }

  /** Leaves offsets that no record has: a commit's marker, or records of an aborted epoch with theirs. */
  appendGap(offsets: number): void {
    this.end += offsets;
  }

  /** Forgets what lies before `offset`, as retention and truncation do. Never beyond the end. */
  truncate(offset: number): void {
    this.start = Math.max(this.start, Math.min(offset, this.end));
    this.records = this.records.slice(this.indexOf(this.start));
    this.wake();
  }

  /** Up to `limit` records from `offset` on. */
  slice(offset: number, limit: number): readonly MemoryRecord[] {
    const first = this.indexOf(offset);
    return this.records.slice(first, first + limit);
  }

  /** Index of the first kept record at or after `offset`. */
  private indexOf(offset: number): number {
    let low = 0;
    let high = this.records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.records[middle].offset < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Calls `wakeUp` once at the next {@link wake}; returns a function that takes it back. */
  onChange(wakeUp: () => void): () => void {
    this.waiting.add(wakeUp);
    return () => this.waiting.delete(wakeUp);
  }

  wake(): void {
    const woken = this.waiting;
    this.waiting = new Set();
    for (const wakeUp of woken) wakeUp();
  }
}
