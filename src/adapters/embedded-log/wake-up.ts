/**
 * Owns how waiting readers learn of new records: at once within this thread, by a broadcast from other threads of the
 * process, by looking now and then for what other processes wrote. Neighbours: `commit-queue.ts` signals, `reader.ts`
 * waits. A look costs 2 µs a waiting reader, but waking a process that sleeps costs 0.3 ms of CPU: so the looks come
 * every 5 to 25 ms while anything happens, 10 times a second after some quiet seconds, and never if nobody waits.
 */
import { BroadcastChannel } from 'node:worker_threads';
import type { Clock } from '../../stream/ports.js';

const FASTEST_POLL_MS = 5;
const ALERT_POLL_MS = 25;
const IDLE_POLL_MS = 100;
/** Growth of the interval up to the alert one (reached in 0.1 s), and on to the idle one (reached in 4 s more). */
const POLL_GROWTH = 1.5;
const IDLE_GROWTH = 1.02;

interface Waiter {
  /** Whether waiting is over; throws if it has failed. */
  readonly isReady: () => boolean;
  settle(error?: unknown): void;
}

export class WakeUps {
  private readonly waiters = new Set<Waiter>();
  private readonly channel: BroadcastChannel;
  private cancelPoll: (() => void) | null = null;
  private pollMs = FASTEST_POLL_MS;

  /** `refresh` is called before each round of looks, so that they see what is committed by then. */
  constructor(
    name: string,
    private readonly clock: Clock,
    private readonly refresh: () => void,
  ) {
    this.channel = new BroadcastChannel(`embedded-log ${name}`);
    this.channel.onmessage = () => this.look();
    this.channel.unref();
  }

  /** Tells every reader in this process that something was committed. */
  signal(): void {
    this.channel.postMessage(0);
    if (this.waiters.size > 0) this.look();
  }

  /** Resolves when `isReady` says so, or after `timeoutMs`; rejects if it throws. `onWait` gets a way to end it early. */
  wait(isReady: () => boolean, timeoutMs: number, onWait: (endEarly: () => void) => () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        isReady,
        settle: (error) => {
          this.waiters.delete(waiter);
          cancelTimeout();
          forget();
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      const cancelTimeout = this.clock.schedule(timeoutMs, () => waiter.settle());
      const forget = onWait(() => waiter.settle());
      this.waiters.add(waiter);
      this.startPolling();
    });
  }

  close(): void {
    this.cancelPoll?.();
    this.cancelPoll = null;
    this.channel.close();
    for (const waiter of [...this.waiters]) waiter.settle();
  }

  private startPolling(): void {
    if (this.cancelPoll) return;
    this.cancelPoll = this.clock.schedule(this.pollMs, () => {
      this.cancelPoll = null;
      this.pollMs = this.look() ? FASTEST_POLL_MS : slower(this.pollMs);
      if (this.waiters.size > 0) this.startPolling();
    });
  }

  /** Settles the waiters that are ready; true if there was one. */
  private look(): boolean {
    if (this.waiters.size === 0) return false;
    let found = false;
    this.refresh();
    for (const waiter of [...this.waiters]) {
      try {
        if (!waiter.isReady()) continue;
        waiter.settle();
      } catch (error) {
        waiter.settle(error);
      }
      found = true;
    }
    if (found) this.pollMs = FASTEST_POLL_MS;
    return found;
  }
}

function slower(pollMs: number): number {
  if (pollMs < ALERT_POLL_MS) return Math.min(pollMs * POLL_GROWTH, ALERT_POLL_MS);
  return Math.min(pollMs * IDLE_GROWTH, IDLE_POLL_MS);
}
