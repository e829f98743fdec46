/**
 * Owns what has been started and must be stopped: last started, first stopped, but those that others must not hold up,
 * which go before all. Each part gets its turn even if the one before failed to stop; what went wrong is told at the end. All of it together takes no longer than `TOTAL_MS` and a
 * moment for each part: what is lost by not waiting longer comes back from the state log.
 */
import { StreamError } from '../stream/errors.js';
import type { Clock } from '../stream/ports.js';

interface Closer {
  readonly name: string;
  /** Null: the usual time, which all share. */
  readonly limitMs: number | null;
  close(): Promise<void>;
}

const LONGEST_CLOSE_MS = 3_000;
/** People count on a stop within 5 s. */
const TOTAL_MS = 4_000;
/** What a part gets when those before it have used up the time. */
const LEAST_CLOSE_MS = 100;

export class Closers {
  private readonly stack: Closer[] = [];
  private readonly foremost: Closer[] = [];
  private stopping = false;

  constructor(private readonly clock: Clock) {}

  /**
   * Stops `close` in its turn, before everything that was added earlier.
   * With `limitMs` it has a time of its own, which does not count for the others.
   * Errors: `stopping` after {@link refuse}; the part is stopped all the same.
   */
  add(name: string, close: () => Promise<void>, limitMs: number | null = null): void {
    this.push(this.stack, { name, limitMs, close });
  }

  /** As {@link add}, to be stopped before all that is added there, whenever that is: it needs the time most. */
  addForemost(name: string, close: () => Promise<void>): void {
    this.push(this.foremost, { name, limitMs: null, close });
  }

  private push(onto: Closer[], closer: Closer): void {
    onto.push(closer);
    const { name } = closer;
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
    let deadline = this.clock.monotonic() + TOTAL_MS;
    const next = () => this.foremost.pop() ?? this.stack.pop();
    for (let closer = next(); closer !== undefined; closer = next()) {
      const startedAtMs = this.clock.monotonic();
      const leftMs = Math.max(LEAST_CLOSE_MS, deadline - startedAtMs);
      try {
        await this.bounded(closer, closer.limitMs ?? Math.min(LONGEST_CLOSE_MS, leftMs));
      } catch (error) {
        problems.push(error instanceof Error ? error.message : String(error));
      }
      if (closer.limitMs !== null) deadline += this.clock.monotonic() - startedAtMs;
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
