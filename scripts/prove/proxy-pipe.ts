/**
 * Owns one direction of a connection through the proxy: bytes wait here for their delay to pass, for their share of a
 * limited rate, or for a hole to close, and never overtake each other. Bounded: a source is paused while much waits.
 * Neighbour: `proxy.ts` owns the connections and the faults.
 */
import type { Socket } from 'node:net';

/** What bytes of one direction suffer, over all connections. */
export class Passage {
  delayMs = 0;
  holed = false;
  private bytesPerSecond: number | null = null;
  private freeAtMs = 0;

  limit(bytesPerSecond: number | null): void {
    this.bytesPerSecond = bytesPerSecond;
    this.freeAtMs = 0;
  }

  /** Takes `bytes` of the rate; tells when they may pass, of `performance.now()`. */
  reserve(bytes: number, nowMs: number): number {
    if (this.bytesPerSecond === null) return nowMs;
    const atMs = Math.max(nowMs, this.freeAtMs);
    this.freeAtMs = atMs + (bytes * 1_000) / this.bytesPerSecond;
    return atMs;
  }

  get isLimited(): boolean {
    return this.bytesPerSecond !== null;
  }
}

interface Waiting {
  readonly bytes: Buffer;
  readonly arrivedMs: number;
  /** What follows once they have passed. */
  readonly onPassed: (() => void) | null;
}

/** A source is paused while this much waits. */
const MOST_WAITING_BYTES = 256 * 1024;
/** Of a limited rate, a connection takes so much at a time, that others get their turn. */
const SLICE_BYTES = 4 * 1024;

export class Pipe {
  private readonly waiting: Waiting[] = [];
  private waitingBytes = 0;
  private timer: NodeJS.Timeout | null = null;
  /** When the first of those waiting may pass by the rate; null: not reserved yet. */
  private reservedMs: number | null = null;
  private ended = false;

  constructor(
    private readonly from: Socket,
    private readonly to: Socket,
    private readonly passage: Passage,
  ) {
    to.on('drain', () => this.flow());
  }

  /** Takes bytes in. `onPassed` is called when they have passed. */
  push(bytes: Buffer, onPassed: (() => void) | null = null): void {
    const arrivedMs = performance.now();
    const size = this.passage.isLimited ? SLICE_BYTES : Math.max(1, bytes.length);
    for (let at = 0; at < bytes.length || at === 0; at += size) {
      const isLast = at + size >= bytes.length;
      this.waiting.push({ bytes: bytes.subarray(at, at + size), arrivedMs, onPassed: isLast ? onPassed : null });
    }
    this.waitingBytes += bytes.length;
    this.flow();
  }

  /** Lets pass what may pass now; called again whenever the faults change. */
  flow(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    while (!this.ended && !this.passage.holed && !this.to.writableNeedDrain) {
      const first = this.waiting[0];
      if (first === undefined) break;
      const nowMs = performance.now();
      if (!this.passage.isLimited) this.reservedMs = nowMs;
      this.reservedMs ??= this.passage.reserve(first.bytes.length, nowMs);
      const dueMs = Math.max(this.reservedMs, first.arrivedMs + this.passage.delayMs);
      if (dueMs > nowMs) {
        this.timer = setTimeout(() => this.flow(), dueMs - nowMs);
        break;
      }
      this.waiting.shift();
      this.reservedMs = null;
      this.waitingBytes -= first.bytes.length;
      this.to.write(first.bytes);
      first.onPassed?.();
    }
    if (this.ended) return;
    if (this.passage.holed || this.waitingBytes > MOST_WAITING_BYTES) this.from.pause();
    else this.from.resume();
  }

  end(): void {
    this.ended = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    this.waiting.length = 0;
  }
}
