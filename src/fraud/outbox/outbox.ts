/**
 * Owns the outbox: messages that a change in the database owes to a topic. They are written in the change's own database
 * transaction and relayed afterwards, each exactly once and in order. Neighbours: stores add messages,
 * `relay.ts` carries them to the log, `src/adapters/postgres/outbox-table.ts` keeps them.
 */

/** What a change owes. */
export interface OutboxMessage {
  readonly topic: string;
  readonly key: string;
  /** JSON, or null for a tombstone. */
  readonly value: unknown | null;
}

export interface OutboxEntry {
  /** Rises in the order of commits: what is committed later has a higher one. */
  readonly sequence: number;
  readonly topic: string;
  readonly key: string;
  /** JSON text; null for a tombstone. */
  readonly value: string | null;
  /** When it was written, ms since 1970. */
  readonly at: number;
}

/** Errors: code `database-unavailable`, worth another try. */
export interface Outbox {
  /** Entries after a sequence, in order, at most `limit`. */
  after(sequence: number, limit: number): Promise<readonly OutboxEntry[]>;
  /** Entries up to and with `sequence` have been relayed for good and may go. */
  forget(sequence: number): Promise<void>;
  /**
   * Takes the relay's seat, of which there is one in the whole deployment; resolves once it is free. `onEntries` is
   * called whenever there may be new entries, `onLost` when the seat is lost (the database went away).
   */
  takeSeat(handlers: { onEntries(): void; onLost(error: Error): void }): Promise<OutboxSeat>;
}

export interface OutboxSeat {
  release(): Promise<void>;
}
