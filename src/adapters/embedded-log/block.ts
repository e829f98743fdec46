/**
 * Owns the binary form of a block: the records that one write put on one partition, stored as one LMDB value.
 * Neighbours: `writer.ts` and `epoch-log.ts` pack, `reader.ts` and `epoch-log.ts` read, `compaction.ts` rewrites.
 *
 * Little endian:
 *   count u32 · span u32 · appendedAtMs f64
 *   count × { delta u32 · keyLength i32 · valueLength i32 · headersLength u32 · timestampMs f64 }
 *   count × { key · value · headers }
 * An offset is the block's base (its LMDB key) plus delta; the block answers for `span` offsets, also for those that a
 * compaction took away. Length -1 is null. Headers: { nameLength u16 · name · valueLength u32 · value } repeated.
 */
import { CorruptDataError } from '../../stream/errors.js';
import type { OutputRecord, RecordHeader } from '../../stream/records.js';

export const BLOCK_HEADER_BYTES = 16;
export const ENTRY_BYTES = 24;

/** Blocks are cut near this size, so that one read or delete never moves much more. A record is never cut. */
const TARGET_BLOCK_BYTES = 1024 * 1024;

export interface PackedBlock {
  readonly bytes: Buffer;
  /** Offsets that the block takes. */
  readonly span: number;
}

type PackableRecord = Pick<OutputRecord, 'key' | 'value' | 'headers' | 'timestampMs'>;

/** Copies the records of one partition into as few blocks as the target size allows. */
export function packBlocks(records: readonly PackableRecord[], appendedAtMs: number): PackedBlock[] {
  const blocks: PackedBlock[] = [];
  let first = 0;
  let sizeBytes = BLOCK_HEADER_BYTES;
  for (let i = 0; i < records.length; i++) {
    const recordBytes = packedBytes(records[i]);
    if (i > first && sizeBytes + recordBytes > TARGET_BLOCK_BYTES) {
      blocks.push(packBlock(records, first, i, sizeBytes, appendedAtMs));
      first = i;
      sizeBytes = BLOCK_HEADER_BYTES;
    }
    sizeBytes += recordBytes;
  }
  if (records.length > first) blocks.push(packBlock(records, first, records.length, sizeBytes, appendedAtMs));
  return blocks;
}

function packedBytes(record: PackableRecord): number {
  return ENTRY_BYTES + (record.key?.length ?? 0) + (record.value?.length ?? 0) + headersBytes(record.headers);
}

function headersBytes(headers: readonly RecordHeader[]): number {
  let sizeBytes = 0;
  for (const [name, value] of headers) sizeBytes += 6 + Buffer.byteLength(name) + value.length;
  return sizeBytes;
}

function packBlock(
  records: readonly PackableRecord[],
  from: number,
  to: number,
  sizeBytes: number,
  appendedAtMs: number,
): PackedBlock {
  // Not from the pool: LMDB reads it by address on another thread until the write is done.
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  const count = to - from;
  bytes.writeUInt32LE(count, 0);
  bytes.writeUInt32LE(count, 4);
  bytes.writeDoubleLE(appendedAtMs, 8);
  let entry = BLOCK_HEADER_BYTES;
  let at = entry + count * ENTRY_BYTES;
  for (let i = from; i < to; i++, entry += ENTRY_BYTES) {
    const { key, value, headers, timestampMs } = records[i];
    bytes.writeUInt32LE(i - from, entry);
    bytes.writeInt32LE(key === null ? -1 : key.length, entry + 4);
    bytes.writeInt32LE(value === null ? -1 : value.length, entry + 8);
    bytes.writeDoubleLE(timestampMs, entry + 16);
    if (key !== null) at += key.copy(bytes, at);
    if (value !== null) at += value.copy(bytes, at);
    const headersStart = at;
    for (const header of headers) at = packHeader(bytes, at, header);
    bytes.writeUInt32LE(at - headersStart, entry + 12);
  }
  return { bytes, span: count };
}

function packHeader(bytes: Buffer, start: number, [name, value]: RecordHeader): number {
  const nameLength = bytes.write(name, start + 2, 'utf8');
  bytes.writeUInt16LE(nameLength, start);
  const valueStart = bytes.writeUInt32LE(value.length, start + 2 + nameLength);
  return valueStart + value.copy(bytes, valueStart);
}

/** Offsets that a block answers for, read from its first bytes. */
export function spanOf(block: Buffer): number {
  return block.readUInt32LE(4);
}

/** When a block was appended, ms since 1970, read from its first bytes. */
export function appendedAtOf(block: Buffer): number {
  return block.readDoubleLE(8);
}

/** Records of a block, one after the other, without copying. Checks every length against the block's end. */
export class BlockCursor {
  readonly count: number;
  readonly span: number;
  readonly appendedAtMs: number;
  /** Index of the record that the fields below describe; -1 before the first {@link next}. */
  index = -1;
  offset = 0;
  keyStart = 0;
  keyLength = -1;
  valueStart = 0;
  valueLength = -1;
  headersEnd = 0;
  timestampMs = 0;
  private entry: number;
  private payload: number;

  /** `start` and `end` bound the block in `bytes`. */
  constructor(
    readonly bytes: Buffer,
    private readonly start: number,
    private readonly end: number,
    readonly baseOffset: number,
  ) {
    if (end - start < BLOCK_HEADER_BYTES) throw this.corrupt();
    this.count = bytes.readUInt32LE(start);
    this.span = bytes.readUInt32LE(start + 4);
    this.appendedAtMs = bytes.readDoubleLE(start + 8);
    this.entry = start + BLOCK_HEADER_BYTES - ENTRY_BYTES;
    this.payload = start + BLOCK_HEADER_BYTES + this.count * ENTRY_BYTES;
    if (this.payload > end || this.count > this.span) throw this.corrupt();
  }

  /** Offset after everything that this block answers for. */
  get nextOffset(): number {
    return this.baseOffset + this.span;
  }

  /** Steps to the next record; false behind the last. */
  next(): boolean {
    if (this.index + 1 >= this.count) return false;
    this.index++;
    this.entry += ENTRY_BYTES;
    const { bytes, entry } = this;
    this.offset = this.baseOffset + bytes.readUInt32LE(entry);
    this.keyLength = bytes.readInt32LE(entry + 4);
    this.valueLength = bytes.readInt32LE(entry + 8);
    this.timestampMs = bytes.readDoubleLE(entry + 16);
    this.keyStart = this.payload;
    this.valueStart = this.keyStart + Math.max(this.keyLength, 0);
    this.headersEnd = this.valueStart + Math.max(this.valueLength, 0) + bytes.readUInt32LE(entry + 12);
    this.payload = this.headersEnd;
    if (this.payload > this.end) throw this.corrupt();
    return true;
  }

  private corrupt(): CorruptDataError {
    return new CorruptDataError(
      `The block at offset ${this.baseOffset}, ${this.end - this.start} bytes, is not a whole block of records; restore the log's directory or start over with an empty one`,
    );
  }
}

/** Copies the headers that lie between `start` and `end`; null where they do not fit in there. */
export function parseHeaders(bytes: Buffer, start: number, end: number): RecordHeader[] | null {
  const headers: RecordHeader[] = [];
  for (let at = start; at < end; ) {
    if (at + 2 > end) return null;
    const nameEnd = at + 2 + bytes.readUInt16LE(at);
    const valueStart = nameEnd + 4;
    if (valueStart > end) return null;
    const valueEnd = valueStart + bytes.readUInt32LE(nameEnd);
    if (valueEnd > end) return null;
    headers.push([bytes.toString('utf8', at + 2, nameEnd), Buffer.from(bytes.subarray(valueStart, valueEnd))]);
    at = valueEnd;
  }
  return headers;
}

/** Copies the records that `keep` marks into a block of the same base, span and time; null if none is left. */
export function rewriteBlock(block: Buffer, baseOffset: number, keep: (cursor: BlockCursor) => boolean): Buffer | null {
  const cursor = new BlockCursor(block, 0, block.length, baseOffset);
  const entries: Buffer[] = [];
  const payloads: Buffer[] = [];
  while (cursor.next()) {
    if (!keep(cursor)) continue;
    const entry = BLOCK_HEADER_BYTES + cursor.index * ENTRY_BYTES;
    entries.push(block.subarray(entry, entry + ENTRY_BYTES));
    payloads.push(block.subarray(cursor.keyStart, cursor.headersEnd));
  }
  if (entries.length === 0) return null;
  const header = Buffer.from(block.subarray(0, BLOCK_HEADER_BYTES));
  header.writeUInt32LE(entries.length, 0);
  return Buffer.concat([header, ...entries, ...payloads]);
}
