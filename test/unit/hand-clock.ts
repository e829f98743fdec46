/** Owns a clock for tests that moves only when told to. */
import type { Clock } from '../../src/stream/ports.js';

/** A clock that moves only when told to. */
export class HandClock implements Clock {
  #nowMs: number;
  #due: { atMs: number; fire: () => void }[] = [];
  constructor(startMs = 1_000_000) {
    this.#nowMs = startMs;
  }
  now = () => this.#nowMs;
  monotonic = () => this.#nowMs;
  schedule(delayMs: number, fire: () => void): () => void {
    const entry = { atMs: this.#nowMs + delayMs, fire };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((other) => other !== entry);
    };
  }
  get waiting(): number {
    return this.#due.length;
  }
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#due.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#due = this.#due.filter((other) => other !== next);
      this.#nowMs = next.atMs;
      next.fire();
    }
    this.#nowMs = endMs;
  }
}
