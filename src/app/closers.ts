/**
 * Owns what has been started and must be stopped: last started, first stopped. Each part gets its turn even if the one
 * before failed to stop; what went wrong is told at the end, nothing hangs longer than its bound.
 */
import type { Clock } from '../stream/ports.js';

interface Closer {
  readonly name: string;
  close(): Promise<void>;
}

const LONGEST_CLOSE_MS = 10_000;

export class Closers {
  private readonly stack: Closer[] = [];

  constructor(private readonly clock: Clock) {}

  /** Stops `close` in its turn, before everything that was added earlier. */
  add(name: string, close: () => Promise<void>): void {
    this.stack.push({ name, close });
  }

  /** Stops everything, once; returns what did not stop well, in words. */
  async closeAll(): Promise<readonly string[]> {
    const problems: string[] = [];
    for (let closer = this.stack.pop(); closer !== undefined; closer = this.stack.pop()) {
      try {
        await this.bounded(closer);
      } catch (error) {
        problems.push(`${closer.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return problems;
  }

  private bounded({ name, close }: Closer): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.schedule(LONGEST_CLOSE_MS, () =>
        reject(new Error(`${name} did not stop within ${LONGEST_CLOSE_MS / 1000} s`)),
      );
      close().then(
        () => {
          cancel();
          resolve();
        },
        (error: unknown) => {
          cancel();
          reject(error instanceof Error ? error : new Error(String(error)));
        },
      );
    });
  }
}
