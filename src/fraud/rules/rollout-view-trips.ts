/**
 * Owns handing trips on until each has been carried out: one at a time, the newest of each rule in each task, others
 * first where one fails. Neighbour: `rollout-view.ts` finds them.
 */
import { type StreamError, whileDoing } from '../../stream/errors.js';
import type { Clock } from '../../stream/ports.js';
import { retryDelayMs, sitOut } from '../../stream/runtime/retries.js';
import { Signal } from '../../stream/runtime/signal.js';
import { type RuleTrip, rolloutKey } from './rollout.js';

export interface TripDeliveryParts {
  readonly clock: Clock;
  onTrip(trip: RuleTrip): Promise<unknown>;
  onTrouble?(error: StreamError, retryInMs: number): void;
}

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
      const delayMs = retryDelayMs(this.failures++);
      const doing = `Pausing rule ${trip.ruleId}, which tripped in ${trip.taskId}`;
      this.parts.onTrouble?.(whileDoing(thrown, 'trip-not-carried-out', doing), delayMs);
      await sitOut(delayMs, this.signal, this.parts.clock, () => this.stopping);
    }
  }
}
