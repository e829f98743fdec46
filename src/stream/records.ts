/**
 * Owns the two shapes in which records cross the edge of the stream core: a {@link RecordBatch} on the way in
 * (structure of arrays over one buffer, no object per record) and an {@link OutputRecord} on the way out.
 * Neighbours: readers fill a batch (`ports.ts`), sources decode it (`pipeline/`), epoch logs write outputs.
 */
import { CorruptDataError } from './errors.js';

/**
 * Up to `capacity` records of one partition, as places in one buffer.
 * `bytes` is replaced by every fill and never written again, so a view into it stays valid while it is held.
 */
export class RecordBatch {
  readonly capacity: number;
  /** The buffer that every start below points into. */
  bytes: Buffer = Buffer.alloc(0);
  count = 0;
  /** Where the key begins in `bytes`. */
  readonly keyStart: Int32Array;
  /** Key length in bytes; -1 is a null key. */
  readonly keyLength: Int32Array;
  readonly valueStart: Int32Array;
  /** Value length in bytes; -1 is a null value. */
  readonly valueLength: Int32Array;
  /** Source offset of each record. Whole numbers up to 2^53. */
  readonly offset: Float64Array;
  /** The log's own time of each record, ms since 1970. */
  readonly timestampMs: Float64Array;
  /**
   * Where each record's headers end in `bytes`; they begin right behind its value. Readers note this and no more: few
   * records are ever asked for their headers, so {@link headers} alone parses them.
   */
  readonly headersEnd: Int32Array;
  /** How the log that filled this batch writes headers. Set with every fill. */
  parseHeaders: HeaderParser = noHeaders;
  /** Position before the first record, and after the last one or the gap behind it. */
  fromOffset = 0;
  nextOffset = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.keyStart = new Int32Array(capacity);
    this.keyLength = new Int32Array(capacity);
    this.valueStart = new Int32Array(capacity);
    this.valueLength = new Int32Array(capacity);
    this.headersEnd = new Int32Array(capacity);
    this.offset = new Float64Array(capacity);
    this.timestampMs = new Float64Array(capacity);
  }

  /** The key's bytes as a view, or null. */
  key(index: number): Buffer | null {
    const length = this.keyLength[index];
    if (length < 0) return null;
    const start = this.keyStart[index];
    return this.bytes.subarray(start, start + length);
  }

  /** The value's bytes as a view, or null. */
  value(index: number): Buffer | null {
    const length = this.valueLength[index];
    if (length < 0) return null;
    const start = this.valueStart[index];
    return this.bytes.subarray(start, start + length);
  }

  /** A copy of the record's headers, in order. Errors: {@link CorruptDataError} where their bytes make no sense. */
  headers(index: number): RecordHeader[] {
    const start = this.valueStart[index] + Math.max(0, this.valueLength[index]);
    const headers = this.parseHeaders(this.bytes, start, this.headersEnd[index]);
    if (headers !== null) return headers;
    throw new CorruptDataError(
      `The headers of the record at offset ${this.offset[index]} are not whole; look at it with the log's own tools`,
    );
  }
}

/** Reads the headers that lie in `bytes` from `start` to `end`, and copies them. Null where they do not fit in there. */
export type HeaderParser = (bytes: Buffer, start: number, end: number) => RecordHeader[] | null;

const noHeaders: HeaderParser = () => [];

/** A header's name and bytes, in the order they are written. */
export type RecordHeader = readonly [name: string, value: Buffer];

/** One record on its way to a topic. */
export interface OutputRecord {
  readonly topic: string;
  /** Target partition; the writer's default partitioner (murmur2 of the key) decides where it is left out. */
  readonly partition?: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
  /** Record time in ms since 1970. */
  readonly timestampMs: number;
}
