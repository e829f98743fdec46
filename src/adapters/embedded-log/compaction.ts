/**
 * Owns compaction of topics with cleanup 'compact': of each key the newest record stays. Neighbours: `backend.ts` calls
 * it when a partition has doubled since the last time.
 * A record that a later one replaced stays replaced, so blocks are rewritten one transaction after the other while
 * others append. Offsets do not change; a block keeps the span it answers for. A tombstone goes after a day, when every
 * reader has had its chance to see it.
 */
import { BlockCursor, rewriteBlock } from './block.js';
import { baseOffsetOf, blockKey, headKey, putBlock, putHead, readHead, removeBlock } from './partition-store.js';
import { type LogStore, refresh, writeNow } from './store.js';

const TOMBSTONE_KEPT_MS = 24 * 60 * 60 * 1000;
/** Never compacted below this size: not worth a transaction. */
const SMALLEST_BYTES = 1024 * 1024;

/** Whether a partition has grown enough since it was last compacted. */
export function wantsCompaction(sizeBytes: number, compactedBytes: number): boolean {
  return sizeBytes > Math.max(SMALLEST_BYTES, 2 * compactedBytes);
}

/** Compacts one partition. Memory: its distinct keys and one block at a time. */
export async function compactPartition(
  store: LogStore,
  topicId: number,
  partition: number,
  nowMs: number,
): Promise<void> {
  refresh(store);
  const head = readHead(store, headKey(topicId, partition));
  if (!head) return;
  const range = { start: blockKey(topicId, partition, 0), end: blockKey(topicId, partition, head.end) };
  const bases = [...store.blocks.getKeys(range)].map((key) => baseOffsetOf(Buffer.from(key)));
  const newest = new Map<string, number>();
  for (const base of bases) {
    const cursor = cursorAt(store, topicId, partition, base);
    while (cursor?.next()) if (cursor.keyLength >= 0) newest.set(keyOf(cursor), cursor.offset);
    await breathe();
  }
  const keep = (cursor: BlockCursor) => {
    if (cursor.keyLength < 0) return true;
    if (newest.get(keyOf(cursor)) !== cursor.offset) return false;
    return cursor.valueLength >= 0 || cursor.appendedAtMs > nowMs - TOMBSTONE_KEPT_MS;
  };
  for (const base of bases) {
    rewrite(store, topicId, partition, base, keep);
    await breathe();
  }
  writeNow(store, () => {
    const key = headKey(topicId, partition);
    const now = readHead(store, key);
    if (now) putHead(store, key, { ...now, version: now.version + 1, compactedBytes: now.sizeBytes });
  });
}

function rewrite(
  store: LogStore,
  topicId: number,
  partition: number,
  base: number,
  keep: (cursor: BlockCursor) => boolean,
): void {
  const before = cursorAt(store, topicId, partition, base);
  if (!before) return;
  let kept = 0;
  while (before.next()) if (keep(before)) kept++;
  if (kept === before.count) return;
  writeNow(store, () => {
    const key = headKey(topicId, partition);
    const head = readHead(store, key);
    const block = store.blocks.getBinary(blockKey(topicId, partition, base));
    if (!head || !block) return;
    const rewritten = rewriteBlock(Buffer.from(block), base, keep);
    if (rewritten) putBlock(store, blockKey(topicId, partition, base), rewritten);
    else removeBlock(store, blockKey(topicId, partition, base));
    const sizeBytes = head.sizeBytes - block.length + (rewritten?.length ?? 0);
    putHead(store, key, { ...head, version: head.version + 1, sizeBytes });
  });
}

function cursorAt(store: LogStore, topicId: number, partition: number, base: number): BlockCursor | null {
  refresh(store);
  const block = store.blocks.getBinary(blockKey(topicId, partition, base));
  return block ? new BlockCursor(Buffer.from(block), 0, block.length, base) : null;
}

function keyOf(cursor: BlockCursor): string {
  return cursor.bytes.toString('latin1', cursor.keyStart, cursor.keyStart + cursor.keyLength);
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
