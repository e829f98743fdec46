/**
 * Owns one task's epochs on the embedded log: fencing by generation, atomic commits, its state log. Neighbours:
 * `commit-queue.ts` writes an epoch in one LMDB transaction on the condition that the generation is still the newest.
 *
 *   unfenced ── fence() ──► owner ── commit rejected ──► unfenced
 */
import { OffsetOutOfRangeError, StreamError } from '../../stream/errors.js';
import type { Clock, CommitReceipt, EpochLog, EpochWrites } from '../../stream/ports.js';
import { BlockCursor, packBlocks } from './block.js';
import type { CommitQueue, Placement } from './commit-queue.js';
import { blockHolding, type Head, headKey, putHead, readHead } from './partition-store.js';
import { checkSize, placeRecords } from './placing.js';
import { deleteBlocksBefore } from './retention.js';
import { type LogStore, refresh, type TopicMeta, writeNow } from './store.js';

/** Larger deltas are cut by the core; one chunk is one LMDB value's worth of copying at a time. */
export const MAX_STATE_LOG_RECORD_BYTES = 4 * 1024 * 1024;

export class EmbeddedEpochLog implements EpochLog {
  readonly maxRecordBytes = MAX_STATE_LOG_RECORD_BYTES;
  private generation: number | null = null;
  private committing = false;
  private readonly stateLogKey: Buffer;
  private nextKeyless = 0;

  constructor(
    private readonly store: LogStore,
    private readonly queue: CommitQueue,
    private readonly clock: Clock,
    private readonly taskId: string,
    private readonly topic: string,
    private readonly meta: TopicMeta,
    private readonly partition: number,
  ) {
    this.stateLogKey = headKey(meta.id, partition);
  }

  async fence(): Promise<void> {
    this.generation = null;
    const key = Buffer.from(this.taskId);
    this.generation = writeNow(this.store, () => {
      const generation = (this.store.tasks.get(key)?.readDoubleLE(0) ?? 0) + 1;
      const bytes = Buffer.allocUnsafeSlow(8);
      bytes.writeDoubleLE(generation, 0);
      this.store.tasks.put(key, bytes, generation);
      const head = this.head();
      // From now on retention leaves this partition alone.
      if (head.stateLog === 0) {
        putHead(this.store, this.stateLogKey, { ...head, stateLog: 1, version: head.version + 1 });
      }
      return generation;
    });
  }

  async commit(writes: EpochWrites): Promise<CommitReceipt> {
    const generation = this.generation;
    if (generation === null || this.committing) {
      const why = this.committing ? 'another one is under way' : 'fence() has not succeeded since the last failure';
      throw new StreamError('commit-refused', `Task ${this.taskId} may not commit now: ${why}`);
    }
    this.committing = true;
    try {
      refresh(this.store);
      const stateLog = this.placeStateLog(writes.stateLog);
      const outputs = placeRecords(this.store, writes.outputs, this.clock.now(), this.nextKeyless++);
      const [placed] = await this.queue.submit([stateLog, ...outputs], { taskId: this.taskId, generation });
      return { firstStateLogOffset: placed.first, nextStateLogOffset: placed.next };
    } catch (error) {
      // Only if nobody fenced anew meanwhile: this failure says nothing about the generation that came after. // I3
      if (this.generation === generation) this.generation = null;
      throw error;
    } finally {
      this.committing = false;
    }
  }

  async stateLogRange(): Promise<{ start: number; end: number }> {
    refresh(this.store);
    const { start, end } = this.head();
    return { start, end };
  }

  async readStateLog(
    fromOffset: number,
    onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
  ): Promise<number> {
    refresh(this.store);
    const { start, end } = this.head();
    if (fromOffset < start || fromOffset > end) throw this.outOfRange(fromOffset);
    let position = fromOffset;
    while (position < end) {
      const cursor = this.blockAt(position);
      while (cursor.next()) {
        if (cursor.offset < position) continue;
        const { bytes, valueStart, valueLength } = cursor;
        const value = bytes.subarray(valueStart, valueStart + Math.max(valueLength, 0));
        const settled = onRecord(value, cursor.offset, cursor.offset + 1);
        if (settled instanceof Promise) await settled;
      }
      position = cursor.nextOffset;
    }
    return position;
  }

  async truncateStateLog(offset: number): Promise<void> {
    await deleteBlocksBefore(this.store, this.meta.id, this.partition, offset);
  }

  async close(): Promise<void> {
    this.generation = null;
  }

  private placeStateLog(values: readonly Buffer[]): Placement {
    for (const value of values) checkSize(this.topic, value.length, this.maxRecordBytes);
    const now = this.clock.now();
    const records = values.map((value) => ({ key: null, value, headers: [], timestampMs: now }));
    return { topic: this.topic, topicId: this.meta.id, partition: this.partition, blocks: packBlocks(records, now) };
  }

  /** The block that holds `position`; truncation may have taken it since the last look. */
  private blockAt(position: number): BlockCursor {
    refresh(this.store);
    const block = blockHolding(this.store, this.meta.id, this.partition, position);
    if (!block) throw this.outOfRange(position);
    return new BlockCursor(block.bytes, 0, block.bytes.length, block.base);
  }

  private outOfRange(offset: number): OffsetOutOfRangeError {
    const { start, end } = this.head();
    return new OffsetOutOfRangeError(
      `State log ${this.topic}/${this.partition} of task ${this.taskId} holds ${start} to ${end}, not ${offset}`,
    );
  }

  private head(): Head {
    const head = readHead(this.store, this.stateLogKey);
    if (!head) throw new StreamError('topic-deleted', `The state log's topic ${this.topic} was deleted`);
    return head;
  }
}
