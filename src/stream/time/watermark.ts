/**
 * Owns event-time progress of one task: a bounded-out-of-orderness watermark that depends on the records and their
 * order alone (never on where batches were cut), so a replay meets the same lateness and fires the same timers (I7).
 * Source: the bounded-out-of-orderness strategy of Akidau et al., "The Dataflow Model", VLDB 2015.
 */

/** A record that claims to be from the future moves the watermark at most this far past its log time. */
const FUTURE_ALLOWANCE_MS = 60_000;

export class Watermark {
  /** Highest accepted event time so far; -Infinity before the first record. */
  maxEventTimeMs = Number.NEGATIVE_INFINITY;

  constructor(readonly outOfOrdernessMs: number) {}

  /** No event before this is expected any more, ms since 1970. */
  get currentMs(): number {
    return this.maxEventTimeMs - this.outOfOrdernessMs;
  }

  /**
   * Takes note of a record. A clock gone wrong at one sender must not make everybody else late, so event time counts
   * up to the record's log time and a minute.
   */
  observe(eventTimeMs: number, logTimeMs: number): void {
    const bounded = Math.min(eventTimeMs, logTimeMs + FUTURE_ALLOWANCE_MS);
    if (bounded > this.maxEventTimeMs) this.maxEventTimeMs = bounded;
  }

  /** Moves on without records, for a source that has been idle: wall-clock time stands in for event time. */
  advanceTo(eventTimeMs: number): void {
    if (eventTimeMs > this.maxEventTimeMs) this.maxEventTimeMs = eventTimeMs;
  }
}
