/**
 * Owns which keys have timers pending and when: a binary heap by due time over copies of the keys. The due time in the
 * key's state is the truth; entries here are hints and may be stale (a timer cleared or set anew leaves its old entry
 * behind), so whoever takes an entry compares it with the state. Rebuilt from the store and the deltas on recovery.
 * Bounded: past `limit` entries `push` throws, since silently forgetting a timer would lose what it stands for.
 */
import { StreamError } from '../errors.js';

export interface PendingTimer {
  readonly dueMs: number;
  readonly key: Buffer;
}

export class TimerQueue {
  private readonly heap: PendingTimer[] = [];

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.heap.length;
  }

  /** Earliest due time pending, or Infinity. */
  get nextDueMs(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0].dueMs;
  }

  /** `key` is copied. */
  push(key: Uint8Array, dueMs: number): void {
    if (this.heap.length >= this.limit) {
      throw new StreamError(
        'timer-limit',
        `more than ${this.limit} timers are pending in one task; use more partitions, or look at which pattern sets so many`,
      );
    }
    const { heap } = this;
    const entry = { dueMs, key: Buffer.from(key) };
    let place = heap.push(entry) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (heap[parent].dueMs <= dueMs) break;
      heap[place] = heap[parent];
      place = parent;
    }
    heap[place] = entry;
  }

  /** Takes the earliest entry off, if it is due at `watermarkMs`. */
  popDue(watermarkMs: number): PendingTimer | null {
    if (this.nextDueMs > watermarkMs) return null;
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (last !== undefined && heap.length > 0) this.sink(last);
    return first;
  }

  clear(): void {
    this.heap.length = 0;
  }

  private sink(entry: PendingTimer): void {
    const { heap } = this;
    let place = 0;
    for (;;) {
      let child = place * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1].dueMs < heap[child].dueMs) child++;
      if (heap[child].dueMs >= entry.dueMs) break;
      heap[place] = heap[child];
      place = child;
    }
    heap[place] = entry;
  }
}
