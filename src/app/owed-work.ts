/**
 * Owns what a start owes the database and cannot do without it: users of the demo, an empty rule book's first rules, rows
 * that a lost topic needs again. Where the database is there it is done before the API answers; where it is not, as soon
 * as it is. Neighbours: `access.ts`, `rule-admin.ts`, `risk-rows.ts` owe it, `analyst-side.ts` runs it.
 */
import { StreamError } from '../stream/errors.js';
import type { Clock } from '../stream/ports.js';
import { retryDelayMs } from '../stream/runtime/retries.js';

export class OwedWork {
  private readonly owed: (() => Promise<void>)[] = [];
  private stopped = false;

  constructor(private readonly clock: Clock) {}

  /** `work` may be run again after it failed for want of the database. */
  add(work: () => Promise<void>): void {
    this.owed.push(work);
  }

  /** Does all of it, in order; waits out a database that goes away meanwhile. Errors: anything else that goes wrong. */
  async run(): Promise<void> {
    for (const work of this.owed.splice(0)) {
      for (let failures = 0; !this.stopped; failures++) {
        try {
          await work();
          break;
        } catch (error) {
          if (!(error instanceof StreamError) || error.code !== 'database-unavailable') throw error;
          await new Promise<void>((resolve) => this.clock.schedule(retryDelayMs(failures), resolve));
        }
      }
    }
  }

  /** What is not done yet is left to the next start. */
  stop(): void {
    this.stopped = true;
  }
}
