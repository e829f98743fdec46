/**
 * Owns how a partition lies in the store: keys, its head, its blocks and their facts. Neighbours: `store.ts` opens the
 * databases and says when a read is fresh, `block.ts` knows what is inside a block.
 * Invariant: a block is put and removed together with its facts, and its head changes in the same transaction.
 */
import { appendedAtOf, spanOf } from './block.js';
import type { LogStore } from './store.js';

/** What is known of a partition without touching its blocks. */
export interface Head {
  readonly version: number;
  /** First offset kept. */
  readonly start: number;
  /** Offset that the next record gets. */
  readonly end: number;
  /** Size of all blocks kept. */
  readonly sizeBytes: number;
  /** 1 once a task keeps its state log here: truncated on request alone, never by retention. */
  readonly stateLog: 0 | 1;
  /** Size after the last compaction. */
  readonly compactedBytes: number;
}

export function headKey(topicId: number, partition: number): Buffer {
  const key = Buffer.allocUnsafe(8);
  key.writeUInt32BE(topicId, 0);
  key.writeUInt32BE(partition, 4);
  return key;
}

export function blockKey(topicId: number, partition: number, baseOffset: number): Buffer {
  const key = Buffer.allocUnsafe(16);
  key.writeUInt32BE(topicId, 0);
  key.writeUInt32BE(partition, 4);
  key.writeUInt32BE(Math.floor(baseOffset / 0x1_0000_0000), 8);
  key.writeUInt32BE(baseOffset % 0x1_0000_0000, 12);
  return key;
}

export function baseOffsetOf(key: Buffer): number {
  return key.readUInt32BE(8) * 0x1_0000_0000 + key.readUInt32BE(12);
}

/** What is known of a block without reading it: forgetting old blocks must not bring a gigabyte back from disk. */
export interface BlockFacts {
  readonly base: number;
  readonly span: number;
  readonly sizeBytes: number;
  readonly appendedAtMs: number;
}

/** Writes a block and its facts within a running write. */
export function putBlock(store: LogStore, key: Buffer, block: Buffer): void {
  const facts = Buffer.allocUnsafeSlow(16);
  facts.writeUInt32LE(block.length, 0);
  facts.writeUInt32LE(spanOf(block), 4);
  facts.writeDoubleLE(appendedAtOf(block), 8);
  store.blocks.put(key, block);
  store.facts.put(key, facts);
}

/** Removes a block and its facts within a running write. */
export function removeBlock(store: LogStore, key: Buffer): void {
  store.blocks.remove(key);
  store.facts.remove(key);
}

/** The partition's oldest blocks, `limit` at most. */
export function oldestBlocks(store: LogStore, topicId: number, partition: number, limit: number): BlockFacts[] {
  const start = blockKey(topicId, partition, 0);
  return [...store.facts.getRange({ start, end: blockKey(topicId, partition + 1, 0), limit })].map(
    ({ key, value }) => ({
      base: baseOffsetOf(Buffer.from(key)),
      sizeBytes: value.readUInt32LE(0),
      span: value.readUInt32LE(4),
      appendedAtMs: value.readDoubleLE(8),
    }),
  );
}

/** A block and where it begins. The bytes are a copy of the caller's own. */
export interface StoredBlock {
  readonly base: number;
  readonly bytes: Buffer;
}

/** The block that holds `offset`, or null where there is none: outside the partition, or compacted away. */
export function blockHolding(store: LogStore, topicId: number, partition: number, offset: number): StoredBlock | null {
  const exact = store.blocks.getBinary(blockKey(topicId, partition, offset));
  if (exact) return { base: offset, bytes: asBuffer(exact) };
  const range = {
    start: blockKey(topicId, partition, offset),
    end: blockKey(topicId, partition, 0),
    reverse: true,
    inclusiveEnd: true,
    limit: 1,
  };
  for (const key of store.blocks.getKeys(range)) {
    const base = baseOffsetOf(Buffer.from(key));
    const bytes = store.blocks.getBinary(key);
    if (bytes && base + spanOf(bytes) > offset) return { base, bytes: asBuffer(bytes) };
  }
  return null;
}

/** The first block whose base lies from `offset` on and before `end`. */
export function blockFrom(
  store: LogStore,
  topicId: number,
  partition: number,
  offset: number,
  end: number,
): StoredBlock | null {
  const range = { start: blockKey(topicId, partition, offset), end: blockKey(topicId, partition, end), limit: 1 };
  for (const key of store.blocks.getKeys(range)) {
    const bytes = store.blocks.getBinary(key);
    if (bytes) return { base: baseOffsetOf(Buffer.from(key)), bytes: asBuffer(bytes) };
  }
  return null;
}

/** lmdb-js hands out plain typed arrays at times. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

const HEAD_BYTES = 48;

export function encodeHead(head: Head): Buffer {
  const bytes = Buffer.allocUnsafeSlow(HEAD_BYTES);
  bytes.writeDoubleLE(head.version, 0);
  bytes.writeDoubleLE(head.start, 8);
  bytes.writeDoubleLE(head.end, 16);
  bytes.writeDoubleLE(head.sizeBytes, 24);
  bytes.writeDoubleLE(head.stateLog, 32);
  bytes.writeDoubleLE(head.compactedBytes, 40);
  return bytes;
}

export const EMPTY_HEAD: Head = { version: 1, start: 0, end: 0, sizeBytes: 0, stateLog: 0, compactedBytes: 0 };

/** The head of a partition, or null where its topic is not there (any more). */
export function readHead(store: LogStore, key: Buffer): Head | null {
  const bytes = store.heads.get(key);
  return bytes ? decodeHead(bytes) : null;
}

export function decodeHead(bytes: Buffer): Head {
  return {
    version: bytes.readDoubleLE(0),
    start: bytes.readDoubleLE(8),
    end: bytes.readDoubleLE(16),
    sizeBytes: bytes.readDoubleLE(24),
    stateLog: bytes.readDoubleLE(32) === 1 ? 1 : 0,
    compactedBytes: bytes.readDoubleLE(40),
  };
}

/** Writes a changed head within a running write; its version must be one above the one it replaces. */
export function putHead(store: LogStore, key: Buffer, head: Head): unknown {
  return store.heads.put(key, encodeHead(head), head.version);
}
