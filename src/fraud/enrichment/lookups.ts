/**
 * Owns the calls to the merchant-risk service of one thread: whom to ask, how many at once, for how long, and when not
 * to ask at all. Neighbours: `merchant-risk.ts` asks for the rows of a batch, `circuit-breaker.ts` decides whether the
 * service is called, `risk-cache.ts` keeps what it said.
 *
 * Invariants
 * 1. One call a merchant at a time: whoever asks meanwhile waits for the same {@link PendingLookup}.
 * 2. At most `inFlight` calls run, at most `waiting` wait for their turn; more are answered "failed" at once.
 * 3. Every pending lookup settles once, by the deadline of the batch that asked first at the latest. An answer that
 *    comes later is dropped.
 * 4. A pending lookup carries its own answer: what the cache evicts meanwhile changes nothing for those who wait.
 */
import type { StepContext } from '../../stream/pipeline/pipeline.js';
import { type Admission, type BreakerSettings, CircuitBreaker } from './circuit-breaker.js';
import { isMerchantRisk, type MerchantRiskLookup, MerchantUnknownError } from './merchant-risk-lookup.js';
import { ANSWER, type AnswerKind, RiskCache } from './risk-cache.js';

export interface LookupSettings {
  /** From the batch's preparation to the answer, waiting for a turn included. */
  readonly timeoutMs: number;
  readonly inFlight: number;
  readonly waiting: number;
  readonly cacheEntries: number;
  /** How long an answer is kept; up to a tenth less, so that answers fetched together do not expire together. */
  readonly expiryMs: number;
  readonly unknownExpiryMs: number;
  readonly failedExpiryMs: number;
  readonly breaker: BreakerSettings;
}

export class PendingLookup {
  readonly key: Buffer;
  /** 0 until settled. */
  kind: AnswerKind | 0 = 0;
  risk = 0;
  asOfMs = 0;
  /** Set once the service is being called. */
  admission: Admission | null = null;
  /** Called once, when settled. */
  readonly listeners: (() => void)[] = [];

  constructor(
    readonly merchantId: string,
    readonly hash: number,
    readonly asker: Asker,
  ) {
    this.key = Buffer.from(merchantId, 'utf8');
  }
}

/** The lookups that one batch asked for first: they share its deadline, its abort signal and its task's counters. */
export class Asker {
  readonly abort = new AbortController();
  readonly asked: PendingLookup[] = [];
  private unsettled = 0;
  private readonly cancelDeadline: () => void;

  constructor(
    readonly context: StepContext,
    timeoutMs: number,
    onDeadline: (asker: Asker) => void,
  ) {
    this.cancelDeadline = context.clock.schedule(timeoutMs, () => onDeadline(this));
  }

  add(pending: PendingLookup): void {
    this.asked.push(pending);
    this.unsettled += 1;
  }

  settledOne(): void {
    this.unsettled -= 1;
    if (this.unsettled === 0) this.cancelDeadline();
  }
}

export class MerchantLookups {
  readonly cache: RiskCache;
  private readonly breaker: CircuitBreaker;
  private readonly pending = new Map<string, PendingLookup>();
  private queue: PendingLookup[] = [];
  private running = 0;

  constructor(
    private readonly lookup: MerchantRiskLookup,
    readonly settings: LookupSettings,
  ) {
    this.cache = new RiskCache(settings.cacheEntries);
    this.breaker = new CircuitBreaker(settings.breaker);
  }

  /** False where {@link ask} would return null for any merchant: spares callers the merchant's string. */
  mayAnswer(nowMs: number): boolean {
    return this.pending.size > 0 || this.breaker.wouldAdmit(nowMs);
  }

  /** Begins what a batch asks for. */
  asker(context: StepContext): Asker {
    return new Asker(context, this.settings.timeoutMs, (asker) => this.expire(asker));
  }

  /** A lookup to wait for, or null where none is worth waiting for: the breaker is open, a probe runs, or too many wait. */
  ask(merchantId: string, hash: number, nowMs: number, askerOf: () => Asker): PendingLookup | null {
    const known = this.pending.get(merchantId);
    if (known !== undefined) return known.admission?.probe ? null : known;
    const free = this.running < this.settings.inFlight;
    if (!free && this.queue.length >= this.settings.waiting) return null;
    const admission = free ? this.breaker.admit(nowMs) : null;
    if (free ? admission === null : !this.breaker.wouldAdmit(nowMs)) return null;
    const asker = askerOf();
    const pending = new PendingLookup(merchantId, hash, asker);
    asker.add(pending);
    this.pending.set(merchantId, pending);
    if (admission === null) {
      this.queue.push(pending);
      return pending;
    }
    this.start(pending, admission);
    return admission.probe ? null : pending;
  }

  private start(pending: PendingLookup, admission: Admission): void {
    pending.admission = admission;
    this.running += 1;
    const { asker } = pending;
    asker.context.count('enrich.lookups');
    let call: Promise<unknown>;
    try {
      call = this.lookup.lookup(pending.merchantId, asker.abort.signal);
    } catch (error) {
      call = Promise.reject(error);
    }
    call.then(
      (answer) => this.answered(pending, answer),
      (error: unknown) => this.answered(pending, error),
    );
  }

  /** Takes what a call came to: an answer, or what it was rejected with. */
  private answered(pending: PendingLookup, answer: unknown): void {
    if (pending.kind !== 0 || pending.admission === null) return;
    if (isMerchantRisk(answer)) {
      this.breaker.succeeded(pending.admission);
      this.settle(pending, ANSWER.known, answer.risk, answer.asOfMs);
    } else if (answer instanceof MerchantUnknownError) {
      this.breaker.succeeded(pending.admission);
      this.settle(pending, ANSWER.unknown, 0, 0);
    } else {
      this.fail(pending, 'enrich.failures');
    }
    this.startWaiting();
  }

  /** The asker's deadline has passed: whatever of it is not settled counts as timed out, in its turn or not. */
  private expire(asker: Asker): void {
    for (const pending of asker.asked) {
      if (pending.kind === 0) this.fail(pending, 'enrich.timeouts');
    }
    // After they have settled: the rejections that this causes are then too late to count again.
    asker.abort.abort();
    this.startWaiting();
  }

  private fail(pending: PendingLookup, counter: 'enrich.failures' | 'enrich.timeouts'): void {
    const { context } = pending.asker;
    context.count(counter);
    if (pending.admission !== null && this.breaker.failed(pending.admission, context.clock.monotonic())) {
      context.count('enrich.breakerOpen');
    }
    this.settle(pending, ANSWER.failed, 0, 0);
  }

  private settle(pending: PendingLookup, kind: AnswerKind, risk: number, asOfMs: number): void {
    const { asker, hash, key, merchantId, admission } = pending;
    pending.kind = kind;
    pending.risk = risk;
    pending.asOfMs = asOfMs;
    this.pending.delete(merchantId);
    if (admission !== null) {
      this.running -= 1;
      // What never had its turn says nothing of the merchant and is not remembered.
      this.cache.put(key, hash, kind, risk, asOfMs, asker.context.clock.monotonic() + this.expiryMs(kind, hash));
    }
    asker.settledOne();
    for (const listener of pending.listeners) listener();
  }

  private expiryMs(kind: AnswerKind, hash: number): number {
    const { expiryMs, unknownExpiryMs, failedExpiryMs } = this.settings;
    const full = kind === ANSWER.known ? expiryMs : kind === ANSWER.unknown ? unknownExpiryMs : failedExpiryMs;
    return full * (1 - (hash & 1023) / 10_240);
  }

  /** Gives turns to those that wait; once the breaker refuses, they all settle as failed at once. */
  private startWaiting(): void {
    let next = 0;
    while (next < this.queue.length && this.running < this.settings.inFlight) {
      const pending = this.queue[next++];
      if (pending.kind !== 0) continue;
      const admission = this.breaker.admit(pending.asker.context.clock.monotonic());
      if (admission !== null) this.start(pending, admission);
      else this.settle(pending, ANSWER.failed, 0, 0);
    }
    if (next > 0) this.queue = this.queue.slice(next);
  }
}
