/**
 * Owns how a request to S3 is made: a slot for it first, a time limit for each try, tries again while trouble passes and
 * the deadline has not, and an error that an operator can act on. The SDK's own retries are off: they do not cover bodies
 * that break off, and two kinds of retry multiply.
 * Neighbours: `s3-objects.ts` says what is asked, `s3-errors.ts` what an answer means.
 */
import type { Clock } from '../../stream/ports.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
import { passes, type S3Address, toldOf } from './s3-errors.js';

const PAUSES = { firstMs: 200, longestMs: 5_000 } as const;

export interface S3Patience {
  /** One try may take this long, its body included. */
  readonly requestTimeoutMs: number;
  /** No try begins later than this after the first one. */
  readonly deadlineMs: number;
  /** Requests under way at once; what they hold in memory is bounded by this times the size of a part. */
  readonly slots: number;
}

export class S3Requests {
  private free: number;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly address: S3Address,
    private readonly patience: S3Patience,
    private readonly clock: Clock,
    /** From 0 to 1; spreads the tries of many tasks. */
    private readonly random: () => number,
  ) {
    this.free = patience.slots;
  }

  /** `tries` counts from 1. `doing` names it in errors: `read x from`. */
  async make<T>(doing: string, request: (signal: AbortSignal, tries: number) => Promise<T>): Promise<T> {
    await this.takeSlot();
    try {
      return await this.persevere(doing, request);
    } finally {
      this.giveSlot();
    }
  }

  private async persevere<T>(doing: string, request: (signal: AbortSignal, tries: number) => Promise<T>): Promise<T> {
    const startedAtMs = this.clock.monotonic();
    for (let tries = 1; ; tries++) {
      try {
        return await this.within(request, tries);
      } catch (error) {
        const triedMs = this.clock.monotonic() - startedAtMs;
        const pauseMs = retryDelayMs(tries - 1, PAUSES) * (0.5 + this.random() / 2);
        if (!passes(error) || triedMs + pauseMs > this.patience.deadlineMs) {
          throw toldOf(error, doing, this.address, triedMs);
        }
        await new Promise<void>((resolve) => void this.clock.schedule(pauseMs, resolve));
      }
    }
  }

  private async within<T>(request: (signal: AbortSignal, tries: number) => Promise<T>, tries: number): Promise<T> {
    const limit = new AbortController();
    const cancel = this.clock.schedule(this.patience.requestTimeoutMs, () => {
      const timedOut = new Error(`no answer within ${this.patience.requestTimeoutMs} ms`);
      timedOut.name = 'TimeoutError';
      limit.abort(timedOut);
    });
    try {
      return await request(limit.signal, tries);
    } catch (error) {
      throw limit.signal.aborted ? limit.signal.reason : error;
    } finally {
      cancel();
    }
  }

  private async takeSlot(): Promise<void> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  /** Hands the slot on to whoever waits longest. */
  private giveSlot(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.free++;
    else next();
  }
}
