/**
 * Owns reading one partition of the simulated log ahead, read-committed, in fetches that can be short, late, lost and
 * repeated. It promises what the port {@link PartitionReader} does, and no more.
 */
import { OffsetOutOfRangeError } from '../../errors.js';
import type { PartitionReader } from '../../ports.js';
import type { RecordBatch } from '../../records.js';
import type { MemoryRecord } from '../memory-partition.js';
import { pack } from '../memory-reader.js';
import type { RemoteStep } from './faults.js';
import { type Fetched, NotInLogError, type SimulatedPartition } from './simulated-partition.js';
import { NoAnswerError, RetriableError, type SimulatedProcess } from './simulated-process.js';

const FETCH_TIMEOUT_MS = 200;
const RETRY_AFTER_MS = 11;
const MOST_BUFFERED = 64;

interface Chunk {
  records: readonly MemoryRecord[];
  readonly next: number;
}

export interface ReadLimits {
  /** Entries that the next fetch looks at. */
  fetch(): number;
  /** Records that the next read gives. */
  read(): number;
}

export class SimulatedReader implements PartitionReader {
  readonly topic: string;
  readonly partition: number;
  position: number;
  knownEndOffset = 0;
  private fetchAt: number;
  private fetching = false;
  private buffered = 0;
  private readonly chunks: Chunk[] = [];
  private failure: unknown = null;
  private closed = false;
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly process: SimulatedProcess,
    private readonly source: SimulatedPartition,
    from: number,
    private readonly step: RemoteStep,
    private readonly limits: ReadLimits,
  ) {
    this.topic = source.topic;
    this.partition = source.partition;
    this.position = from;
    this.fetchAt = from;
    this.fetch();
  }

  read(batch: RecordBatch): number {
    if (this.failure !== null) throw this.failure;
    batch.count = 0;
    batch.fromOffset = this.position;
    if (!this.closed) this.take(batch);
    batch.nextOffset = this.position;
    this.fetch();
    return batch.count;
  }

  whenReadable(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let cancel = () => {};
      const settle = () => {
        cancel();
        this.waiting.delete(settle);
        if (this.failure !== null && !this.closed) reject(this.failure);
        else resolve();
      };
      if (this.closed || this.failure !== null || this.chunks.length > 0) return settle();
      cancel = this.process.clock.schedule(timeoutMs, settle);
      this.waiting.add(settle);
    });
  }

  async endOffset(): Promise<number> {
    for (;;) {
      try {
        return await this.process.request(this.step, () => this.source.stableEnd, FETCH_TIMEOUT_MS);
      } catch (error) {
        if (!isPassing(error)) throw error;
        await new Promise<void>((resolve) => this.process.clock.schedule(RETRY_AFTER_MS, resolve));
      }
    }
  }

  async close(): Promise<void> {
    this.closed = true;
    this.wake();
  }

  /** Records of one fetch, or what is left of it; passes gaps. */
  private take(batch: RecordBatch): void {
    for (let chunk = this.chunks.at(0); chunk !== undefined; chunk = this.chunks.at(0)) {
      const count = Math.min(batch.capacity, this.limits.read(), chunk.records.length);
      const taken = chunk.records.slice(0, count);
      chunk.records = chunk.records.slice(count);
      this.buffered -= count;
      const last = taken.at(-1);
      if (chunk.records.length === 0) {
        this.chunks.shift();
        this.position = chunk.next;
      } else if (last !== undefined) this.position = last.offset + 1;
      if (count === 0) continue;
      pack(taken, batch);
      return;
    }
  }

  private fetch(): void {
    if (this.fetching || this.closed || this.failure !== null || this.buffered > MOST_BUFFERED) return;
    this.fetching = true;
    const from = this.fetchAt;
    this.process
      .request(this.step, () => this.source.fetch(from, this.limits.fetch()), FETCH_TIMEOUT_MS)
      .then(
        (fetched) => this.onFetched(fetched),
        (error: unknown) => this.onFailed(error),
      );
  }

  private onFetched({ records, next, end }: Fetched): void {
    this.fetching = false;
    this.knownEndOffset = end;
    if (next > this.fetchAt) {
      this.fetchAt = next;
      this.chunks.push({ records, next });
      this.buffered += records.length;
      this.wake();
      this.fetch();
      return;
    }
    this.fetching = true;
    const again = () => {
      this.fetching = false;
      this.fetch();
    };
    if (this.source.stableEnd > next || this.source.start > next) this.process.after(1, again);
    else this.source.onChange(() => this.process.after(1, again));
  }

  private onFailed(error: unknown): void {
    this.fetching = false;
    if (isPassing(error)) {
      this.process.after(RETRY_AFTER_MS, () => this.fetch());
      return;
    }
    this.failure = error instanceof NotInLogError ? new OffsetOutOfRangeError(error.message) : error;
    this.wake();
  }

  private wake(): void {
    for (const settle of [...this.waiting]) settle();
  }
}

const isPassing = (error: unknown) => error instanceof NoAnswerError || error instanceof RetriableError;
