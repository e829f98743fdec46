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

/** How far the outbox has come. */
export interface OutboxHead {
  /** Names this very outbox: a new database has another one, whose sequences begin anew. */
  readonly outboxId: string;
  /** The last sequence given out; 0 before the first. */
  readonly lastSequence: number;
}

/** Head and entries as they stood at one moment. */
export interface OutboxPage extends OutboxHead {
  readonly entries: readonly OutboxEntry[];
}

/** Errors: code `database-unavailable`, worth another try. */
export interface Outbox {
  head(): Promise<OutboxHead>;
  /**
   * Entries after a sequence, in order: at most `entries`, and at most `bytes` of keys and values but one entry at
   * least, where there is one.
   */
  after(sequence: number, most: { readonly entries: number; readonly bytes: number }): Promise<OutboxPage>;
  /** Entries up to and with `sequence` have been relayed for good and may go. */
  forget(sequence: number): Promise<void>;
  /**
   * Takes the relay's seat, of which there is one to a database; resolves once it is free, or with null once `stopping`
   * is aborted. `onEntries` is called whenever there may be new entries, `onLost` when the seat is lost (the database
   * went away).
   */
  takeSeat(handlers: SeatHandlers, stopping: AbortSignal): Promise<OutboxSeat | null>;
}

export interface SeatHandlers {
  onEntries(): void;
  onLost(error: Error): void;
}

export interface OutboxSeat {
  /** Gives the seat back. Never rejects: a seat whose connection is gone is free already. */
  release(): Promise<void>;
}
