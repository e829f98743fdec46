/**
 * Owns reading one partition of the in-memory log. Neighbours: `memory-partition.ts` holds the records, the faults of
 * `memory-log.ts` cut what one read may give.
 */
import { OffsetOutOfRangeError, StreamError } from '../errors.js';
import type { Clock, PartitionReader } from '../ports.js';
import type { RecordBatch, RecordHeader } from '../records.js';
import type { MemoryPartition, MemoryRecord } from './memory-partition.js';

export class MemoryReader implements PartitionReader {
  readonly topic: string;
  readonly partition: number;
  position: number;
  private closed = false;
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly source: MemoryPartition,
    from: number,
    private readonly clock: Clock,
    /** Most records that one read may give now, whatever the batch's capacity. */
    private readonly readLimit: () => number,
  ) {
    this.topic = source.topic;
    this.partition = source.partition;
    this.position = from;
  }

  get knownEndOffset(): number {
    return this.source.end;
  }

  read(batch: RecordBatch): number {
    batch.count = 0;
    batch.fromOffset = this.position;
    batch.nextOffset = this.position;
    if (this.closed) return 0;
    this.check();
    const limit = Math.min(batch.capacity, this.readLimit());
    const records = this.source.slice(this.position, limit);
    pack(records, batch);
    // The gap behind the last record is passed at once only where nothing lies behind it.
    const last = records.at(-1);
    const more = last !== undefined && this.source.slice(last.offset + 1, 1).length > 0;
    this.position = last !== undefined && more ? last.offset + 1 : this.source.end;
    batch.nextOffset = this.position;
    return batch.count;
  }

  whenReadable(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        cancel();
        forget();
        this.waiting.delete(settle);
        try {
          if (!this.closed) this.check();
          resolve();
        } catch (error) {
          reject(error);
        }
      };
      let cancel = () => {};
      let forget = () => {};
      if (this.closed || this.source.deleted || this.outOfRange() || this.source.end > this.position) return settle();
      cancel = this.clock.schedule(timeoutMs, settle);
      forget = this.source.onChange(settle);
      this.waiting.add(settle);
    });
  }

  async endOffset(): Promise<number> {
    this.check();
    return this.source.end;
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const settle of [...this.waiting]) settle();
  }

  private outOfRange(): boolean {
    return this.position < this.source.start || this.position > this.source.end;
  }

  private check(): void {
    const { topic, partition, start, end, deleted } = this.source;
    if (deleted) {
      throw new StreamError('topic-deleted', `Topic ${topic} was deleted while it was read; open it again to go on`);
    }
    if (this.outOfRange()) {
      throw new OffsetOutOfRangeError(
        `Offset ${this.position} of ${topic}/${partition} is not in the log, which holds ${start} to ${end}`,
      );
    }
  }
}

/** Packs the records into one fresh buffer, as a fetch from a real log would bring them. */
export function pack(records: readonly MemoryRecord[], batch: RecordBatch): void {
  let size = 0;
  const headers = records.map((record) => packHeaders(record.headers));
  for (const [index, { key, value }] of records.entries()) {
    size += (key?.length ?? 0) + (value?.length ?? 0) + headers[index].length;
  }
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  const put = (part: Buffer | null) => {
    if (part === null) return -1;
    at += part.copy(bytes, at);
    return part.length;
  };
  for (const [index, record] of records.entries()) {
    batch.keyStart[index] = at;
    batch.keyLength[index] = put(record.key);
    batch.valueStart[index] = at;
    batch.valueLength[index] = put(record.value);
    batch.offset[index] = record.offset;
    batch.timestampMs[index] = record.timestampMs;
    put(headers[index]);
    batch.headersEnd[index] = at;
  }
  batch.bytes = bytes;
  batch.parseHeaders = parseHeaders;
  batch.count = records.length;
}

const NO_BYTES = Buffer.alloc(0);

/** Any form that can be read back will do for headers in memory. */
function packHeaders(headers: readonly RecordHeader[]): Buffer {
  if (headers.length === 0) return NO_BYTES;
  return Buffer.from(JSON.stringify(headers.map(([name, value]) => [name, value.toString('base64')])));
}

function parseHeaders(bytes: Buffer, start: number, end: number): RecordHeader[] {
  if (start === end) return [];
  const packed = JSON.parse(bytes.toString('utf8', start, end)) as [name: string, value: string][];
  return packed.map(([name, value]) => [name, Buffer.from(value, 'base64')] as const);
}
