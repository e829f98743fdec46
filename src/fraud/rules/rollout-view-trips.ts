/**
 * Owns handing trips on until each has been carried out: one at a time, the newest of each rule in each task, others
 * first where one fails. Neighbour: `rollout-view.ts` finds them.
 */
import { StreamError } from '../../stream/errors.js';
import type { Clock } from '../../stream/ports.js';
import { Signal } from '../../stream/runtime/signal.js';
import { type RuleTrip, rolloutKey } from './rollout.js';

export interface TripDeliveryParts {
  readonly clock: Clock;
  onTrip(trip: RuleTrip): Promise<unknown>;
  onTrouble?(error: StreamError, retryInMs: number): void;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;
const IDLE_MS = 60_000;

export class TripDelivery {
  /** Bounded by this pipeline's tasks times the rules that tripped in them: a key each. */
  private readonly waiting = new Map<string, RuleTrip>();
  private readonly signal: Signal;
  private failures = 0;
  private stopping = false;

  constructor(private readonly parts: TripDeliveryParts) {
    this.signal = new Signal(parts.clock);
  }

  /** An older trip of the same rule in the same task gives way. */
  add(trip: RuleTrip): void {
    this.waiting.set(rolloutKey(trip), trip);
    this.signal.wake();
  }

  stop(): void {
    this.stopping = true;
    this.signal.wake();
  }

  /** Runs until stopped. Never rejects. */
  async run(): Promise<void> {
    while (!this.stopping) {
      const next = this.waiting.entries().next();
      if (next.done) await this.signal.wait(IDLE_MS);
      else await this.deliver(...next.value);
    }
  }

  private async deliver(key: string, trip: RuleTrip): Promise<void> {
    try {
      await this.parts.onTrip(trip);
      if (this.waiting.get(key) === trip) this.waiting.delete(key);
      this.failures = 0;
    } catch (thrown) {
      const newest = this.waiting.get(key) ?? trip;
      this.waiting.delete(key);
      this.waiting.set(key, newest);
      const delayMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.failures++, 10));
      this.parts.onTrouble?.(asStreamError(trip, thrown), delayMs);
      const until = this.parts.clock.monotonic() + delayMs;
      for (let leftMs = delayMs; leftMs > 0 && !this.stopping; leftMs = until - this.parts.clock.monotonic()) {
        await this.signal.wait(leftMs);
      }
    }
  }
}

function asStreamError({ ruleId, taskId }: RuleTrip, thrown: unknown): StreamError {
  const code = thrown instanceof StreamError ? thrown.code : 'trip-not-carried-out';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new StreamError(code, `Pausing rule ${ruleId}, which tripped in ${taskId}: ${message}`, { cause: thrown });
}
