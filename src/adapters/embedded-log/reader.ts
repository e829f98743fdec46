/**
 * Owns reading one partition of the embedded log. Neighbours: `store.ts` for heads and blocks, `block.ts` for their
 * form, `wake-up.ts` to wait. LMDB is memory-mapped: a read is a lookup and a copy, so nothing is fetched in the
 * background; what was copied and not yet handed out is the buffer, bounded by `bufferBytes` (one block at least).
 * Invariant: bytes handed out are copies of our own, never views into the map, which die with the read transaction.
 */
import { OffsetOutOfRangeError, StreamError } from '../../stream/errors.js';
import type { PartitionReader } from '../../stream/ports.js';
import type { RecordBatch } from '../../stream/records.js';
import { BlockCursor, parseHeaders, spanOf } from './block.js';
import { blockFrom, blockHolding, type Head, headKey, readHead, type StoredBlock } from './partition-store.js';
import { type LogStore, refresh } from './store.js';
import type { WakeUps } from './wake-up.js';

/** Small blocks are gathered into one buffer up to this size, so that a batch is not as small as they are. */
const GATHER_BYTES = 512 * 1024;

export class EmbeddedReader implements PartitionReader {
  position: number;
  knownEndOffset = 0;
  private readonly headKey: Buffer;
  /** Cursors over the blocks of the current buffer, those already handed out removed. */
  private cursors: BlockCursor[] = [];
  private closed = false;
  private readonly waiting = new Set<() => void>();

  constructor(
    private readonly store: LogStore,
    private readonly wakeUps: WakeUps,
    readonly topic: string,
    private readonly topicId: number,
    readonly partition: number,
    from: number,
    private readonly bufferBytes: number,
    private readonly onClose: (reader: EmbeddedReader) => void,
  ) {
    this.position = from;
    this.headKey = headKey(topicId, partition);
  }

  read(batch: RecordBatch): number {
    batch.count = 0;
    batch.fromOffset = this.position;
    batch.nextOffset = this.position;
    if (this.closed) return 0;
    if (this.cursors.length === 0) this.fetch();
    if (this.cursors.length > 0) this.handOut(batch);
    batch.nextOffset = this.position;
    return batch.count;
  }

  async whenReadable(timeoutMs: number): Promise<void> {
    if (this.closed || this.cursors.length > 0) return;
    refresh(this.store);
    if (this.isReadable()) return;
    await this.wakeUps.wait(
      () => this.isReadable(),
      timeoutMs,
      (endEarly) => {
        this.waiting.add(endEarly);
        return () => this.waiting.delete(endEarly);
      },
    );
  }

  async endOffset(): Promise<number> {
    refresh(this.store);
    return this.head().end;
  }

  async close(): Promise<void> {
    this.closed = true;
    this.cursors = [];
    for (const endEarly of [...this.waiting]) endEarly();
    this.onClose(this);
  }

  private isReadable(): boolean {
    return this.closed || this.checkedHead().end > this.position;
  }

  private head(): Head {
    const head = readHead(this.store, this.headKey);
    if (!head) {
      throw new StreamError(
        'topic-deleted',
        `Topic ${this.topic} was deleted while it was read; open it again to go on`,
      );
    }
    this.knownEndOffset = head.end;
    return head;
  }

  private checkedHead(): Head {
    const head = this.head();
    if (this.position < head.start || this.position > head.end) {
      throw new OffsetOutOfRangeError(
        `Offset ${this.position} of ${this.topic}/${this.partition} is not in the log, which holds ${head.start} to ${head.end}`,
      );
    }
    return head;
  }

  /** Copies the blocks at the position, or moves it over a gap. */
  private fetch(): void {
    refresh(this.store);
    const { end } = this.checkedHead();
    const blocks: StoredBlock[] = [];
    let sizeBytes = 0;
    let at = this.position;
    const limit = Math.min(this.bufferBytes, GATHER_BYTES);
    while (at < end && (sizeBytes < limit || blocks.length === 0)) {
      const block =
        blockHolding(this.store, this.topicId, this.partition, at) ??
        blockFrom(this.store, this.topicId, this.partition, at, end);
      if (block) {
        blocks.push(block);
        sizeBytes += block.bytes.length;
        at = block.base + spanOf(block.bytes);
      } else at = end;
    }
    if (blocks.length === 0) this.position = at;
    const bytes = blocks.length === 1 ? blocks[0].bytes : Buffer.concat(blocks.map((block) => block.bytes));
    let start = 0;
    for (const block of blocks) {
      this.cursors.push(new BlockCursor(bytes, start, start + block.bytes.length, block.base));
      start += block.bytes.length;
    }
  }

  private handOut(batch: RecordBatch): void {
    const { capacity } = batch;
    batch.bytes = this.cursors[0].bytes;
    batch.parseHeaders = parseHeaders;
    let count = 0;
    while (this.cursors.length > 0 && count < capacity) {
      const cursor = this.cursors[0];
      while (count < capacity && cursor.next()) {
        // A reader may have begun in the middle of a block.
        if (cursor.offset < this.position) continue;
        batch.keyStart[count] = cursor.keyStart;
        batch.keyLength[count] = cursor.keyLength;
        batch.valueStart[count] = cursor.valueStart;
        batch.valueLength[count] = cursor.valueLength;
        batch.offset[count] = cursor.offset;
        batch.timestampMs[count] = cursor.timestampMs;
        batch.headersEnd[count] = cursor.headersEnd;
        count++;
        this.position = cursor.offset + 1;
      }
      if (cursor.index + 1 < cursor.count) break;
      this.position = cursor.nextOffset;
      this.cursors.shift();
    }
    batch.count = count;
  }
}
