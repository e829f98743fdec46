/**
 * Owns a steady pace: how many items are due at a moment. Pure. Neighbours: `demo-world.ts` and `fraud feed` ask it in
 * short slices. What could not be sent in time is caught up, but only for `maxCatchUpMs`: after a long pause (a suspended
 * machine, a log that was full) the pace goes on as if the time before had not been.
 */
export class Pace {
  readonly #perMs: number;
  readonly #maxCatchUpMs: number;
  /** Items are due since then; moves on when time is given up. */
  #sinceMs: number;
  #taken = 0;

  /** `perSecond` may be Infinity: everything is due at once. */
  constructor(perSecond: number, startMs: number, maxCatchUpMs = 2_000) {
    this.#perMs = perSecond / 1_000;
    this.#sinceMs = startMs;
    this.#maxCatchUpMs = maxCatchUpMs;
  }

  /** How many items are due by `nowMs` (monotonic). They count as owed until {@link take}. */
  due(nowMs: number): number {
    if (this.#perMs === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    const behindMs = nowMs - this.#sinceMs - this.#taken / this.#perMs;
    if (behindMs > this.#maxCatchUpMs) this.#sinceMs += behindMs - this.#maxCatchUpMs;
    return Math.max(0, Math.floor((nowMs - this.#sinceMs) * this.#perMs + 1e-9) - this.#taken);
  }

  /** Takes note of what was sent. */
  take(count: number): void {
    this.#taken += count;
  }
}
