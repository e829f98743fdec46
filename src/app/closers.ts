/**
 * Owns what has been started and must be stopped: last started, first stopped. Each part gets its turn even if the one
 * before failed to stop; what went wrong is told at the end. All of it together takes no longer than `TOTAL_MS` and a
 * moment for each part: what is lost by not waiting longer comes back from the state log.
 */
import { StreamError } from '../stream/errors.js';
import type { Clock } from '../stream/ports.js';

interface Closer {
  readonly name: string;
  close(): Promise<void>;
}

const LONGEST_CLOSE_MS = 3_000;
/** People count on a stop within 5 s. */
const TOTAL_MS = 4_000;
/** What a part gets when those before it have used up the time. */
const LEAST_CLOSE_MS = 100;

export class Closers {
  private readonly stack: Closer[] = [];
  private stopping = false;

  constructor(private readonly clock: Clock) {}

  /**
   * Stops `close` in its turn, before everything that was added earlier.
   * Errors: `stopping` after {@link refuse}; the part is stopped all the same.
   */
  add(name: string, close: () => Promise<void>): void {
    this.stack.push({ name, close });
    if (this.stopping) throw new StreamError('stopping', `${name} came up while the process was stopping`);
  }

  /** Ends a start under way: whatever is added from now on is the last thing it brings up. */
  refuse(): void {
    this.stopping = true;
  }

  /** Stops everything, once; returns what did not stop well, in words. */
  async closeAll(): Promise<readonly string[]> {
    this.refuse();
    const problems: string[] = [];
    const deadline = this.clock.monotonic() + TOTAL_MS;
    for (let closer = this.stack.pop(); closer !== undefined; closer = this.stack.pop()) {
      const leftMs = Math.max(LEAST_CLOSE_MS, deadline - this.clock.monotonic());
      try {
        await this.bounded(closer, Math.min(LONGEST_CLOSE_MS, leftMs));
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
    }
    return problems;
  }

  private bounded({ name, close }: Closer, limitMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.schedule(limitMs, () =>
        reject(new Error(`${name} did not stop within ${(limitMs / 1_000).toFixed(1)} s`)),
      );
      close().then(
        () => {
          cancel();
          resolve();
        },
        (error: unknown) => {
          cancel();
          reject(new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`));
        },
      );
    });
  }
}
