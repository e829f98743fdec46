/**
 * Owns running a rule set over batches. The strictest decision wins; among rules of that decision the one of the
 * highest severity, then the first of the set, is the deciding one, whose id is part of the alert's id (I6).
 * Neighbours: `condition.ts` compiles conditions, `../alerts/emit-alerts.ts` turns decisions into alerts.
 *
 * Allocates per batch nothing, but for the first batch of a larger capacity. Not to be shared between threads; tasks of
 * one thread may share it, as `evaluate` and the reads that follow it are synchronous.
 */
import { DECISIONS, type Decision, SEVERITIES } from '../alerts/alert.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { type CompiledCondition, type ConditionCompiler, compileCondition } from './condition.js';
import { parseRuleSet, type Rule, type RuleSet, type RuleTrigger, ruleHash } from './rule-set.js';
import { makeSignals, type Signals, type SignalValues } from './signals.js';

export interface CompiledRule {
  readonly rule: Rule;
  /** 16 hex digits. */
  readonly hash: string;
  /** The counter that its firings add to. */
  readonly counter: string;
  readonly condition: CompiledCondition;
}

export class CompiledRuleSet {
  readonly version: number;
  /** 16 hex digits over the whole set. */
  readonly hash: string;
  /** All rules, in the set's order. */
  readonly rules: readonly CompiledRule[];
  /**
   * Each row's decision of the last `evaluate`, as its index into `DECISIONS`, which go by strictness. Valid until the
   * next one, as `firings` is.
   */
  decisions = new Uint8Array(0);
  /** The rules of trigger `payment`, and how often each fired in the last `evaluate`. */
  readonly paymentRules: readonly CompiledRule[];
  readonly firings: Uint32Array;
  private fired: readonly Uint8Array[] = [];
  private readonly ranks: Uint8Array;
  private readonly timerRules: ReadonlyMap<RuleTrigger, readonly CompiledRule[]>;

  constructor(
    ruleSet: RuleSet,
    readonly signals: Signals,
    compile: ConditionCompiler,
  ) {
    this.version = ruleSet.version;
    this.hash = ruleHash(ruleSet);
    this.rules = ruleSet.rules.map((rule) => ({
      rule,
      hash: ruleHash(rule),
      counter: `rules.fired.${rule.id}`,
      condition: compile(rule.condition, signals),
    }));
    const of = (trigger: RuleTrigger) => this.rules.filter(({ rule }) => rule.trigger === trigger);
    this.paymentRules = of('payment');
    this.timerRules = new Map([['card-testing-expired', of('card-testing-expired')]]);
    this.firings = new Uint32Array(this.paymentRules.length);
    this.ranks = Uint8Array.from(this.paymentRules, ({ rule }) => DECISIONS.indexOf(rule.decision));
  }

  /** Runs every payment rule over rows 0 to `count` - 1. Returns how many rows are not approved. */
  evaluate(batch: PaymentBatch): number {
    const { count } = batch;
    this.makeRoom(batch.capacity);
    const { decisions, paymentRules, ranks, fired, firings } = this;
    decisions.fill(0, 0, count);
    for (let index = 0; index < paymentRules.length; index++) {
      const selected = fired[index];
      paymentRules[index].condition.select(batch, selected);
      const rank = ranks[index];
      let times = 0;
      for (let row = 0; row < count; row++) {
        if (selected[row] === 0) continue;
        times++;
        if (decisions[row] < rank) decisions[row] = rank;
      }
      firings[index] = times;
    }
    let notApproved = 0;
    for (let row = 0; row < count; row++) if (decisions[row] !== 0) notApproved++;
    return notApproved;
  }

  /** The decision that the last `evaluate` came to for a row. */
  decision(row: number): Decision {
    return DECISIONS[this.decisions[row]];
  }

  /** Rules that fired at a row in the last `evaluate`, the deciding one first. Allocates: for alerts. */
  firedAt(row: number): readonly CompiledRule[] {
    return decidingFirst(this.paymentRules.filter((_, index) => this.fired[index][row] === 1));
  }

  /** Rules of a timer that fire for these values, the deciding one first. */
  firedByTimer(trigger: Exclude<RuleTrigger, 'payment'>, values: SignalValues): readonly CompiledRule[] {
    const rules = this.timerRules.get(trigger) ?? [];
    return decidingFirst(rules.filter(({ condition }) => condition.test(values)));
  }

  private makeRoom(capacity: number): void {
    if (this.decisions.length >= capacity) return;
    this.decisions = new Uint8Array(capacity);
    this.fired = this.paymentRules.map(() => new Uint8Array(capacity));
  }
}

function decidingFirst(fired: readonly CompiledRule[]): readonly CompiledRule[] {
  const strictness = ({ rule }: CompiledRule) =>
    DECISIONS.indexOf(rule.decision) * SEVERITIES.length + SEVERITIES.indexOf(rule.severity);
  return [...fired].sort((a, b) => strictness(b) - strictness(a));
}

/**
 * Validates and compiles a rule set. `featureNames`, in the model's order, makes `feature.<name>` signals.
 * Errors: `RuleSetInvalidError`.
 */
export function compileRules(
  ruleSet: unknown,
  options: { readonly featureNames?: readonly string[]; readonly compile?: ConditionCompiler } = {},
): CompiledRuleSet {
  const signals = makeSignals(options.featureNames);
  return new CompiledRuleSet(parseRuleSet(ruleSet, signals), signals, options.compile ?? compileCondition);
}
