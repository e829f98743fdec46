/** An outbox in memory, which tests can let down, take away and put back to an earlier state. */
import type { Outbox, OutboxEntry, OutboxPage, SeatHandlers } from '../../../src/fraud/outbox/outbox.js';
import { StreamError } from '../../../src/stream/errors.js';

export class MemoryOutbox implements Outbox {
  entries: OutboxEntry[] = [];
  outboxId = 'outbox-a';
  lastSequence = 0;
  /** As many relays as ask for one get a seat where set: the seat alone must not be what keeps messages single. */
  manySeats = false;
  forgetFails = false;
  private holder: SeatHandlers | null = null;
  private readonly seated = new Set<SeatHandlers>();

  add(count: number, topic: (sequence: number) => string = () => 'labels'): void {
    for (let i = 0; i < count; i++) {
      const sequence = ++this.lastSequence;
      this.entries.push({
        sequence,
        topic: topic(sequence),
        key: `key-${sequence % 7}`,
        value: JSON.stringify({ sequence }),
        at: 1_000 + sequence,
      });
    }
    for (const handlers of this.seated) handlers.onEntries();
  }

  async head() {
    return { outboxId: this.outboxId, lastSequence: this.lastSequence };
  }

  async after(sequence: number, most: { readonly entries: number }): Promise<OutboxPage> {
    const entries = this.entries.filter((entry) => entry.sequence > sequence).slice(0, most.entries);
    return { ...(await this.head()), entries };
  }

  async forget(sequence: number): Promise<void> {
    if (this.forgetFails) throw new StreamError('database-unavailable', 'the database went away before it forgot');
    this.entries = this.entries.filter((entry) => entry.sequence > sequence);
  }

  async takeSeat(handlers: SeatHandlers, stopping: AbortSignal) {
    while (this.holder !== null && !this.manySeats) {
      if (stopping.aborted) return null;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    this.holder = handlers;
    this.seated.add(handlers);
    return {
      release: async () => {
        this.seated.delete(handlers);
        if (this.holder === handlers) this.holder = null;
      },
    };
  }

  /** As if the database had closed the seat's connection. */
  loseSeat(): void {
    const { holder } = this;
    this.holder = null;
    holder?.onLost(new Error('connection reset'));
  }
}
