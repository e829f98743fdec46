/**
 * Owns the decision whether a failing service is to be called. Pure: it reads no clock and calls nothing; whoever
 * calls the service (`lookups.ts`) asks before and tells the outcome after.
 *
 *          share of failures over the limit, or too many failures in a row
 *   closed ────────────────────────────────► open ──(openMs passed)──► probing
 *     ▲                                       ▲                          │  │
 *     │                                       └──── a probe failed ──────┘  │
 *     └───────────────────── all probes succeeded ──────────────────────────┘
 *
 * Our own, not a library's: those wrap each call in a promise chain of theirs and own the time-out, while lookups here
 * share one deadline a batch and probes must not keep a batch waiting. It is 60 lines that a test can step through.
 *
 * Why two limits: a service that hangs makes every batch wait its whole time, and small batches bring few outcomes; after
 * many good ones the share alone needed half a minute. The share is for a service that fails now and then.
 */

export interface BreakerSettings {
  /** Outcomes looked back at. */
  readonly window: number;
  /** Outcomes needed before the share counts. */
  readonly minOutcomes: number;
  /** Opens at this share of failures, 0 to 1. */
  readonly failureShare: number;
  /** Opens at so many failures in a row, whatever the share and `minOutcomes`. */
  readonly consecutiveFailures: number;
  /** How long nothing is called once open. */
  readonly openMs: number;
  /** Calls let through to find out whether the service is back. */
  readonly probes: number;
}

export const BREAKER_DEFAULTS: BreakerSettings = {
  window: 100,
  minOutcomes: 20,
  failureShare: 0.5,
  consecutiveFailures: 5,
  openMs: 5_000,
  probes: 3,
};

/** A call let through; hand it back with the outcome. `probe`: do not wait for it. */
export interface Admission {
  readonly probe: boolean;
}

export class CircuitBreaker {
  private state: 'closed' | 'open' | 'probing' = 'closed';
  /** Replaced at every change of state: outcomes of calls let through before it are no longer heard. */
  private admission: Admission = { probe: false };
  private readonly outcomes: Uint8Array;
  private heard = 0;
  private failures = 0;
  private failuresInRow = 0;
  private reopensAt = 0;
  private probesLeft = 0;
  private probesSucceeded = 0;

  constructor(private readonly settings: BreakerSettings = BREAKER_DEFAULTS) {
    this.outcomes = new Uint8Array(settings.window);
  }

  /** Leave to call, or null. Times are of one monotonic clock, in ms. */
  admit(nowMs: number): Admission | null {
    if (this.state === 'closed') return this.admission;
    if (this.state === 'open') {
      if (nowMs < this.reopensAt) return null;
      this.state = 'probing';
      this.admission = { probe: true };
      this.probesLeft = this.settings.probes;
      this.probesSucceeded = 0;
    }
    if (this.probesLeft === 0) return null;
    this.probesLeft -= 1;
    return this.admission;
  }

  /** True where a call would be let through now; takes no leave. */
  wouldAdmit(nowMs: number): boolean {
    return this.state === 'closed' || (this.state === 'open' ? nowMs >= this.reopensAt : this.probesLeft > 0);
  }

  succeeded(admission: Admission): void {
    if (admission !== this.admission) return;
    if (this.state === 'closed') this.hear(0);
    else if (++this.probesSucceeded === this.settings.probes) this.close();
  }

  /** Returns true where this failure opened the breaker. */
  failed(admission: Admission, nowMs: number): boolean {
    if (admission !== this.admission) return false;
    if (this.state === 'closed') {
      this.hear(1);
      if (!this.isOverLimit()) return false;
    }
    this.state = 'open';
    this.admission = { probe: false };
    this.reopensAt = nowMs + this.settings.openMs;
    return true;
  }

  private close(): void {
    this.state = 'closed';
    this.admission = { probe: false };
    this.outcomes.fill(0);
    this.heard = 0;
    this.failures = 0;
    this.failuresInRow = 0;
  }

  private isOverLimit(): boolean {
    const { window, minOutcomes, failureShare, consecutiveFailures } = this.settings;
    if (this.failuresInRow >= consecutiveFailures) return true;
    const held = Math.min(this.heard, window);
    return held >= minOutcomes && this.failures >= held * failureShare;
  }

  private hear(failure: 0 | 1): void {
    const place = this.heard++ % this.settings.window;
    this.failures += failure - this.outcomes[place];
    this.outcomes[place] = failure;
    this.failuresInRow = failure === 1 ? this.failuresInRow + 1 : 0;
  }
}
