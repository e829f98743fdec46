/**
 * Owns the breakers of a task's rules: a rule version that fails too often is evaluated no more in this task. Neighbours:
 * `compile-rules.ts` asks and tells, `live-rules.ts` keeps them from one rule set to the next, `emit-alerts.ts` writes
 * down what tripped.
 *
 * A breaker trips on `failures` failures within the last `failures / share` evaluations (20 within 2,000). Only
 * evaluations row by row count: what runs over columns cannot fail. It never closes again; another version of the rule,
 * or the rule brought live again, begins anew, as does a task that starts. A task may never see the set without the rule:
 * `liveSince` tells that it was away.
 */
export interface RuleBreakerLimits {
  /** At least 1, at most {@link MAX_BREAKER_FAILURES}. */
  readonly failures: number;
  /** Above 0, at most 1. */
  readonly share: number;
}

/** Of so many the breaker of each rule remembers when they were. */
export const MAX_BREAKER_FAILURES = 1_000;

export const RULE_BREAKER_DEFAULTS: RuleBreakerLimits = { failures: 20, share: 0.01 };

/** A rule as breakers know it. */
export interface BreakableRule {
  readonly id: string;
  readonly version: number;
  readonly liveSince?: number;
}

export interface Trip {
  readonly rule: BreakableRule;
  /** The row at which it tripped; 0 for a timer. */
  readonly row: number;
  readonly failures: number;
  readonly evaluations: number;
  readonly reason: string;
}

class RuleBreaker {
  isOpen = false;
  evaluations = 0;
  /** The evaluations that failed last, as a ring. */
  private readonly failedAt: Float64Array;
  private failures = 0;

  constructor(private readonly limits: RuleBreakerLimits) {
    this.failedAt = new Float64Array(limits.failures);
  }

  /** The evaluations over which the failures were too many, or 0 while they are not. */
  failed(): number {
    const { failures: needed, share } = this.limits;
    const place = this.failures++ % needed;
    this.failedAt[place] = this.evaluations;
    if (this.failures < needed) return 0;
    const span = this.evaluations - this.failedAt[(place + 1) % needed] + 1;
    if (span > needed / share) return 0;
    this.isOpen = true;
    return span;
  }
}

export class RuleBreakers {
  private readonly byVersion = new Map<string, RuleBreaker>();
  private breakers: readonly RuleBreaker[] = [];
  private trips: Trip[] = [];

  constructor(private readonly limits: RuleBreakerLimits = RULE_BREAKER_DEFAULTS) {}

  /** Takes the rules of a set, in the set's order. Versions that ran on since the set before keep their breakers. */
  watch(rules: readonly BreakableRule[]): void {
    const kept = new Map<string, RuleBreaker>();
    for (const { id, version, liveSince } of rules) {
      const name = `${id}@${version}@${liveSince ?? ''}`;
      kept.set(name, this.byVersion.get(name) ?? new RuleBreaker(this.limits));
    }
    this.byVersion.clear();
    for (const [name, breaker] of kept) this.byVersion.set(name, breaker);
    this.breakers = [...kept.values()];
  }

  /** Whether the set's rule of this index is not to be evaluated any more. */
  isOpen(index: number): boolean {
    return this.breakers[index]?.isOpen ?? false;
  }

  evaluated(index: number): void {
    this.breakers[index].evaluations++;
  }

  /** After `evaluated`. */
  failed(index: number, rule: BreakableRule, row: number, reason: string): void {
    const evaluations = this.breakers[index].failed();
    if (evaluations > 0) this.trips.push({ rule, row, failures: this.limits.failures, evaluations, reason });
  }

  /** What tripped since the last call. */
  takeTrips(): readonly Trip[] {
    if (this.trips.length === 0) return [];
    const { trips } = this;
    this.trips = [];
    return trips;
  }
}
