/** Owns what a task counts: plain numbers added to on the hot path, read some times a second for its status. */

/** Samples kept for latency quantiles. */
const SAMPLES = 512;

export interface Quantiles {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** The last {@link SAMPLES} values of a duration, in ms. */
export class RecentDurations {
  private readonly values = new Float64Array(SAMPLES);
  private count = 0;

  add(durationMs: number): void {
    this.values[this.count++ % SAMPLES] = durationMs;
  }

  /** Zeros while there is no value. */
  quantiles(): Quantiles {
    const held = Math.min(this.count, SAMPLES);
    if (held === 0) return { p50: 0, p99: 0, max: 0 };
    const sorted = this.values.slice(0, held).sort();
    const at = (share: number) => sorted[Math.min(held - 1, Math.floor(share * held))];
    return { p50: at(0.5), p99: at(0.99), max: sorted[held - 1] };
  }
}

/** Cumulative over a task's life in this process, recoveries included. */
export class TaskFigures {
  records = 0;
  deadLetters = 0;
  /** Prompt outputs: alerts. Counted when their epoch has committed. */
  alerts = 0;
  late = 0;
  recoveries = 0;
  readonly epochLatency = new RecentDurations();
  private readonly counters = new Map<string, number>();

  count(name: string, by = 1): void {
    this.counters.set(name, (this.counters.get(name) ?? 0) + by);
  }

  get named(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.counters);
  }
}
