/**
 * Owns the places and flags of Kafka's record batch format, version 2, which writer and reader share.
 * Source: https://kafka.apache.org/documentation/#recordbatch
 *
 *   0 baseOffset i64 · 8 batchLength i32 · 12 partitionLeaderEpoch i32 · 16 magic i8 · 17 crc u32 (of all from 21 on)
 *   21 attributes i16 · 23 lastOffsetDelta i32 · 27 baseTimestamp i64 · 35 maxTimestamp i64
 *   43 producerId i64 · 51 producerEpoch i16 · 53 baseSequence i32 · 57 count i32 · 61 records
 */
export const AT = {
  baseOffset: 0,
  batchLength: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  count: 57,
  records: 61,
} as const;

/** Bytes before `batchLength` begins to count. */
export const LENGTH_PREFIX_BYTES = 12;
export const HEADER_BYTES = AT.records;
export const MAGIC = 2;

export const FLAG = { compression: 0x07, logAppendTime: 0x08, transactional: 0x10, control: 0x20 } as const;

/** A signed 64-bit number that is known to fit in 53 bits, or a small negative one. */
export function readI64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 4294967296 + bytes.readUInt32BE(at + 4);
}
