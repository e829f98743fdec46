/**
 * Owns one client's stream of new alerts (server-sent events): frames, the place it has reached, and a bounded buffer.
 * Neighbours: `alert-streams.ts` hands it alerts.
 *
 * Invariants
 * E1 Every frame's id is the sequence up to which the client has all it wants: it may come back from any of them.
 * E2 Sequences only rise: an alert at or before the place reached is never sent again.
 */
import { Readable } from 'node:stream';
import { type FedAlert, type FeedFilter, isWanted } from '../../fraud/cases/alert-feed.js';

/** Sent and not taken: about 300 alerts. Who falls further behind comes back with Last-Event-ID. */
const MOST_BUFFERED_BYTES = 256 * 1024;
const WATER_MARK_BYTES = 32 * 1024;
/** What a client is told to wait before it comes back. */
const RETRY_MS = 1_000;

export class AlertStream {
  readonly readable: Readable;
  private ended = false;
  private wake: () => void = () => {};

  /** `reached`: the client has everything up to this sequence. */
  constructor(
    readonly filter: FeedFilter,
    private reached: number,
    /** When it was opened, monotonic ms. */
    readonly openedAtMs: number,
  ) {
    this.readable = new Readable({ highWaterMark: WATER_MARK_BYTES, read: () => this.wake() });
    this.readable.once('close', () => this.wake());
    this.readable.push(`retry: ${RETRY_MS}\nid: ${reached}\n: alerts follow as they are stored\n\n`);
  }

  get position(): number {
    return this.reached;
  }

  get isOpen(): boolean {
    return !this.ended && !this.readable.destroyed;
  }

  /** Sends an alert if it is wanted and new here. False where the client has fallen too far behind. */
  offer({ sequence, alert }: FedAlert): boolean {
    if (!this.isOpen || sequence <= this.reached) return true; // E2
    this.reached = sequence;
    if (!isWanted(this.filter, alert)) return true;
    this.readable.push(`id: ${sequence}\nevent: alert\ndata: ${JSON.stringify(alert)}\n\n`);
    return this.readable.readableLength <= MOST_BUFFERED_BYTES;
  }

  /** Nothing that the client wants lies between the place reached and this one. */
  passTo(sequence: number): void {
    this.reached = Math.max(this.reached, sequence);
  }

  /** A comment, with the place reached: clients of a narrow filter resume nearby, too. */
  heartbeat(): void {
    if (this.isOpen && this.readable.readableLength === 0) this.readable.push(`id: ${this.reached}\n: heartbeat\n\n`);
  }

  /** Resolves once the client takes more, or the stream is over. */
  async whenTaken(): Promise<void> {
    if (!this.isOpen || this.readable.readableLength < WATER_MARK_BYTES) return;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    this.wake = () => {};
  }

  /** Ends it with the reason as a comment. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.ended = true;
    this.readable.push(`: ${reason}\n\n`);
    this.readable.push(null);
    this.wake();
  }
}
