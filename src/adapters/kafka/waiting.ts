/**
 * Owns waiting: pauses that can be cut short, deadlines, and pauses between retries that grow. Monotonic time only, so a
 * step of the wall clock neither shortens nor stretches a deadline.
 */

/** Monotonic time in ms. */
export const monotonicMs = (): number => performance.now();

/** Resolves after `ms`, or at once when `signal` aborts; never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}

/** A point in monotonic time. */
export class Deadline {
  private readonly atMs: number;

  constructor(readonly budgetMs: number) {
    this.atMs = monotonicMs() + budgetMs;
  }

  get passed(): boolean {
    return monotonicMs() >= this.atMs;
  }

  get leftMs(): number {
    return Math.max(0, this.atMs - monotonicMs());
  }
}

/** Pauses between tries: doubling from `firstMs` to `longestMs`. */
export class Backoff {
  private nextMs: number;

  constructor(
    private readonly firstMs: number,
    private readonly longestMs: number,
  ) {
    this.nextMs = firstMs;
  }

  reset(): void {
    this.nextMs = this.firstMs;
  }

  async wait(signal?: AbortSignal): Promise<void> {
    const ms = this.nextMs;
    this.nextMs = Math.min(this.longestMs, ms * 2);
    await pause(ms, signal);
  }
}

/** One-shot wake-up calls for any number of waiters. */
export class Bell {
  private readonly waiting = new Set<() => void>();

  ring(): void {
    for (const wake of this.waiting) wake();
  }

  /** Resolves at the next ring or after `timeoutMs`. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.waiting.add(wake);
    });
  }
}
