/**
 * Owns which failed requests the log hears of: those that are our fault, and of one that goes on and on, such as a
 * database that is away, one every few seconds with the number of those in between. Neighbours: `http-errors.ts` says
 * which refusals are our fault; the composition root writes the log.
 *
 * F1 What callers bring about at will (too many streams, too many sign-ins) never gets here: nobody fills our disk.
 * F2 Memory is bounded by the codes, which are words of this code and never of a request.
 */
import type { Clock } from '../stream/ports.js';
import type { ApiParts } from './parts.js';

export const QUIET_MS = 5_000;

type FailedRequest = Parameters<ApiParts['onUnexpected']>[1];

export class FailureLog {
  private readonly told = new Map<string, { atMs: number; leftOut: number }>();

  constructor(
    private readonly onUnexpected: ApiParts['onUnexpected'],
    private readonly clock: Pick<Clock, 'monotonic'>,
  ) {}

  /** Tells of each. */
  tell(error: unknown, request: FailedRequest): void {
    this.onUnexpected(error, request);
  }

  /** Tells of the first of a code, and then of one at most every {@link QUIET_MS}. */
  tellOnceInAWhile(code: string, error: unknown, request: FailedRequest): void {
    const nowMs = this.clock.monotonic();
    const last = this.told.get(code);
    if (last !== undefined && nowMs - last.atMs < QUIET_MS) {
      last.leftOut++;
      return;
    }
    this.told.set(code, { atMs: nowMs, leftOut: 0 });
    this.onUnexpected(
      error,
      last === undefined || last.leftOut === 0 ? request : { ...request, leftOut: last.leftOut },
    );
  }
}
