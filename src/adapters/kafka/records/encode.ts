/**
 * Owns writing record batches: sizes first, then one buffer of exactly that size, so a batch may be kept and sent again
 * byte for byte. Neighbours: `decode.ts` reads what is written here; `delivery.ts` sends it.
 * Measured by bench of the adapter: see docs/adr/0001-kafka-clients.md.
 */
import { crc32c } from '@node-rs/crc32';
import type { OutputRecord } from '../../../stream/records.js';
import { AT, FLAG, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC } from './format.js';

/** Who writes a batch. Kafka recognises a batch sent twice by these three. */
export interface BatchProducer {
  readonly producerId: bigint;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly transactional: boolean;
}

type EncodableRecord = Pick<OutputRecord, 'key' | 'value' | 'headers' | 'timestampMs'>;

/** More than a record can need besides key, value and headers: five varints of at most 5 bytes, one of 10, a byte. */
export const RECORD_OVERHEAD_BYTES = 36;

/** Bytes of a zigzag varint of a 32-bit number. */
function sizeOfVarint(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x200000 ? 3 : zigzag < 0x10000000 ? 4 : 5;
}

/** Bytes of a zigzag varint of a number up to 2^52. */
function sizeOfVarlong(value: number): number {
  let zigzag = value < 0 ? -value * 2 - 1 : value * 2;
  let bytes = 1;
  for (; zigzag >= 0x80; bytes++) zigzag = Math.floor(zigzag / 0x80);
  return bytes;
}

/** Bytes of a record from its attributes on (the length before them not counted). */
function sizeOfBody(record: EncodableRecord, offsetDelta: number, timestampDelta: number): number {
  const { key, value, headers } = record;
  let size = 1 + sizeOfVarlong(timestampDelta) + sizeOfVarint(offsetDelta);
  size += key === null ? 1 : sizeOfVarint(key.length) + key.length;
  size += value === null ? 1 : sizeOfVarint(value.length) + value.length;
  size += sizeOfVarint(headers.length);
  for (let i = 0; i < headers.length; i++) {
    const [name, bytes] = headers[i];
    const nameBytes = Buffer.byteLength(name);
    size += sizeOfVarint(nameBytes) + nameBytes + sizeOfVarint(bytes.length) + bytes.length;
  }
  return size;
}

/** An upper bound of what a record takes in a batch. */
export function boundOfRecord(record: EncodableRecord): number {
  let size = RECORD_OVERHEAD_BYTES + (record.key?.length ?? 0) + (record.value?.length ?? 0);
  for (const [name, bytes] of record.headers) size += 10 + Buffer.byteLength(name) + bytes.length;
  return size;
}

/** Encodes `records[from..to)` as one batch. At least one record. */
export function encodeBatch(
  records: readonly EncodableRecord[],
  from: number,
  to: number,
  producer: BatchProducer,
): Buffer {
  const baseTimestamp = records[from].timestampMs;
  let maxTimestamp = baseTimestamp;
  let size: number = HEADER_BYTES;
  const bodies = new Int32Array(to - from);
  for (let i = from; i < to; i++) {
    const { timestampMs } = records[i];
    const body = sizeOfBody(records[i], i - from, timestampMs - baseTimestamp);
    bodies[i - from] = body;
    size += sizeOfVarint(body) + body;
    if (timestampMs > maxTimestamp) maxTimestamp = timestampMs;
  }
  const batch = Buffer.allocUnsafe(size);
  batch.writeBigInt64BE(0n, AT.baseOffset);
  batch.writeInt32BE(size - LENGTH_PREFIX_BYTES, AT.batchLength);
  batch.writeInt32BE(-1, AT.leaderEpoch);
  batch[AT.magic] = MAGIC;
  batch.writeInt16BE(producer.transactional ? FLAG.transactional : 0, AT.attributes);
  batch.writeInt32BE(to - from - 1, AT.lastOffsetDelta);
  batch.writeBigInt64BE(BigInt(baseTimestamp), AT.baseTimestamp);
  batch.writeBigInt64BE(BigInt(maxTimestamp), AT.maxTimestamp);
  batch.writeBigInt64BE(producer.producerId, AT.producerId);
  batch.writeInt16BE(producer.producerEpoch, AT.producerEpoch);
  batch.writeInt32BE(producer.baseSequence, AT.baseSequence);
  batch.writeInt32BE(to - from, AT.count);
  let at: number = HEADER_BYTES;
  for (let i = from; i < to; i++) {
    at = writeVarint(batch, at, bodies[i - from]);
    at = writeRecord(batch, at, records[i], i - from, records[i].timestampMs - baseTimestamp);
  }
  batch.writeUInt32BE(crc32c(batch.subarray(AT.attributes)), AT.crc);
  return batch;
}

function writeRecord(
  batch: Buffer,
  start: number,
  record: EncodableRecord,
  offsetDelta: number,
  timestampDelta: number,
): number {
  let at = start;
  batch[at++] = 0;
  at = writeVarlong(batch, at, timestampDelta);
  at = writeVarint(batch, at, offsetDelta);
  at = writeBytes(batch, at, record.key);
  at = writeBytes(batch, at, record.value);
  const { headers } = record;
  at = writeVarint(batch, at, headers.length);
  for (let i = 0; i < headers.length; i++) {
    const [name, bytes] = headers[i];
    at = writeVarint(batch, at, Buffer.byteLength(name));
    at += batch.write(name, at);
    at = writeBytes(batch, at, bytes);
  }
  return at;
}

function writeBytes(batch: Buffer, start: number, bytes: Buffer | null): number {
  if (bytes === null) return writeVarint(batch, start, -1);
  const at = writeVarint(batch, start, bytes.length);
  batch.set(bytes, at);
  return at + bytes.length;
}

function writeVarint(batch: Buffer, start: number, value: number): number {
  let at = start;
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  while (zigzag >= 0x80) {
    batch[at++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  batch[at++] = zigzag;
  return at;
}

function writeVarlong(batch: Buffer, start: number, value: number): number {
  let at = start;
  let zigzag = value < 0 ? -value * 2 - 1 : value * 2;
  while (zigzag >= 0x80) {
    batch[at++] = (zigzag % 0x80) | 0x80;
    zigzag = Math.floor(zigzag / 0x80);
  }
  batch[at++] = zigzag;
  return at;
}
