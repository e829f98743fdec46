/**
 * Owns trying again after trouble that passes: how long the pause is after so many failures, and sitting it out.
 * Neighbours: whoever follows a log or a database without end (the projector, the relay, the roll-out view).
 */
import type { Clock } from '../ports.js';
import type { Signal } from './signal.js';

/** Pauses between tries, in ms. */
export interface RetryPauses {
  readonly firstMs: number;
  readonly longestMs: number;
}

/** Soon enough for a restarted database, seldom enough for one that stays away. */
const USUAL: RetryPauses = { firstMs: 100, longestMs: 5_000 };
/** Past this doubling is over, whatever the bounds: 2 to the power of a thousand failures is no number. */
const MOST_DOUBLINGS = 10;

/** The pause before the next try, doubling with each failure before this one (`failures`, from 0 on). */
export function retryDelayMs(failures: number, { firstMs, longestMs }: RetryPauses = USUAL): number {
  return Math.min(longestMs, firstMs * 2 ** Math.min(failures, MOST_DOUBLINGS));
}

/** Waits the whole pause, however often `signal` is woken meanwhile; no longer than until `stopped` holds. */
export async function sitOut(delayMs: number, signal: Signal, clock: Clock, stopped: () => boolean): Promise<void> {
  const until = clock.monotonic() + delayMs;
  for (let leftMs = delayMs; leftMs > 0 && !stopped(); leftMs = until - clock.monotonic()) await signal.wait(leftMs);
}
