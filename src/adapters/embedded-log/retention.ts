/**
 * Owns what the embedded log forgets: by size and age on topics with cleanup 'delete', on request for state logs, and
 * how full the log is. Neighbours: `backend.ts` calls it after writes, `compaction.ts` does compacted topics.
 * Invariants: whole blocks go, oldest first, and the head's start moves with them in one transaction; a partition's
 * newest block stays; a state log is never shortened here but by `deleteBlocksBefore`.
 * Age is counted from the append, not from the record's own time: replayed payments of past years are not old.
 */
import type { Clock } from '../../stream/ports.js';
import {
  type BlockFacts,
  blockKey,
  decodeHead,
  type Head,
  headKey,
  oldestBlocks,
  putHead,
  readHead,
  removeBlock,
} from './partition-store.js';
import { type LogStore, writeNow } from './store.js';

/** Blocks deleted in one transaction at most: it blocks the thread and the write lock for some ms. */
const BLOCKS_A_TRANSACTION = 128;

export interface RetentionLimits {
  readonly retentionBytes: number;
  readonly retentionMs: number;
}

/** Forgets what is over the limits of one partition. */
export async function applyRetention(
  store: LogStore,
  topicId: number,
  partition: number,
  limits: RetentionLimits,
  nowMs: number,
): Promise<void> {
  const oldest = nowMs - limits.retentionMs;
  await deleteOldest(store, topicId, partition, (head, block) => {
    if (head.stateLog === 1 || block.base + block.span >= head.end) return false;
    return head.sizeBytes > limits.retentionBytes || block.appendedAtMs < oldest;
  });
}

/** Forgets all blocks that lie wholly before `offset`. */
export async function deleteBlocksBefore(
  store: LogStore,
  topicId: number,
  partition: number,
  offset: number,
): Promise<void> {
  await deleteOldest(store, topicId, partition, (_head, block) => block.base + block.span <= offset);
}

async function deleteOldest(
  store: LogStore,
  topicId: number,
  partition: number,
  mayGo: (head: Head, block: BlockFacts) => boolean,
): Promise<void> {
  const key = headKey(topicId, partition);
  for (;;) {
    const deleted = writeNow(store, () => {
      const before = readHead(store, key);
      if (!before) return 0;
      let head = before;
      let count = 0;
      // All facts first: no cursor may run over pages that the deletes change.
      for (const block of oldestBlocks(store, topicId, partition, BLOCKS_A_TRANSACTION)) {
        if (!mayGo(head, block)) break;
        removeBlock(store, blockKey(topicId, partition, block.base));
        head = { ...head, start: block.base + block.span, sizeBytes: head.sizeBytes - block.sizeBytes };
        count++;
      }
      if (count > 0) putHead(store, key, { ...head, version: before.version + 1 });
      return count;
    });
    if (deleted < BLOCKS_A_TRANSACTION) return;
    // Others may have the lock, and this thread, in between.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

/** Knows whether the log has room for more; looks at every head once in a while, and before it says no. */
export class Fullness {
  private usedBytes = 0;
  private lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly store: LogStore,
    private readonly clock: Clock,
    private readonly limitBytes: number,
    private readonly lookEveryMs: number,
  ) {}

  /** Whether `addBytes` more fit; if so they count as used until the next look. */
  take(addBytes: number): boolean {
    const now = this.clock.monotonic();
    if (now - this.lookedAtMs > this.lookEveryMs || this.usedBytes + addBytes > this.limitBytes) {
      this.lookedAtMs = now;
      this.usedBytes = 0;
      for (const { value } of this.store.heads.getRange({})) this.usedBytes += decodeHead(value).sizeBytes;
    }
    if (this.usedBytes + addBytes > this.limitBytes) return false;
    this.usedBytes += addBytes;
    return true;
  }
}
