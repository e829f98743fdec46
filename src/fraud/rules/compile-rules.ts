/**
 * Owns running a rule set over batches. The strictest decision wins; among rules of that decision the one of the
 * highest severity, then the first of the set, is the deciding one, whose id is part of the alert's id (I6).
 * Neighbours: `compile-condition.ts` compiles conditions, `rule-breakers.ts` stops rules that fail,
 * `../alerts/emit-alerts.ts` turns decisions into alerts.
 *
 * R1 A rule that fails at a payment does not fire for it; no other rule's result changes.
 * R2 Shadow rules are evaluated and counted like the others, and are in no decision and in no alert.
 * R3 Rows are gone through in order, so what a breaker does not depend on where batches were cut.
 *
 * Allocates per batch nothing, but for the first batch of a larger capacity; row by row what CEL takes.
 * Not to be shared between threads; tasks of one thread may share it, as `evaluate` and the reads that follow it are
 * synchronous.
 */
import { DECISIONS, type Decision, SEVERITIES } from '../alerts/alert.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { BatchRow, type NamedValues } from './batch-row.js';
import { type CompiledCondition, compileCondition } from './compile-condition.js';
import type { ValueSource } from './language.js';
import type { Rule, RuleSet, RuleTrigger } from './rule.js';
import type { RuleBreakers } from './rule-breakers.js';
import { ruleHash, ruleSetHash } from './rule-set.js';
import { compileScope, type Narrow } from './scope.js';
import { makeVariables, type Variables } from './variables.js';

export interface CompiledRule {
  readonly rule: Rule;
  /** Its place in the set. */
  readonly index: number;
  /** 16 hex digits. */
  readonly hash: string;
  /** The counters that its firings and failures add to. */
  readonly firedCounter: string;
  readonly failedCounter: string;
  readonly condition: CompiledCondition;
  /** Null: every payment is in scope. */
  readonly narrow: Narrow | null;
}

export class CompiledRuleSet {
  readonly version: number;
  /** 16 hex digits over the whole set. */
  readonly hash: string;
  /** All rules, in the set's order. */
  readonly rules: readonly CompiledRule[];
  readonly patterns: RuleSet['patterns'];
  /**
   * Each row's decision of the last `evaluate`, as its index into `DECISIONS`, which go by strictness. Valid until the
   * next one, as `firings` and `failures` are.
   */
  decisions = new Uint8Array(0);
  /** How often each rule of `rules` fired and failed in the last `evaluate`; timer rules never. */
  readonly firings: Uint32Array;
  readonly failures: Uint32Array;
  private readonly paymentRules: readonly CompiledRule[];
  private readonly rowRules: readonly CompiledRule[];
  private readonly ranks: Uint8Array;
  /** By rule and row: 1 where it fired. Empty for timer rules. */
  private fired: readonly Uint8Array[] = [];
  private readonly row: BatchRow;

  constructor(
    ruleSet: RuleSet,
    readonly variables: Variables,
  ) {
    this.version = ruleSet.version;
    this.hash = ruleSetHash(ruleSet);
    this.patterns = ruleSet.patterns;
    this.rules = ruleSet.rules.map((rule, index) => ({
      rule,
      index,
      hash: ruleHash(rule),
      firedCounter: `rules.${rule.state === 'shadow' ? 'shadow' : 'fired'}.${rule.id}`,
      failedCounter: `rules.failed.${rule.id}`,
      condition: compileCondition(rule.condition, rule.trigger, variables),
      narrow: compileScope(rule.scope, variables),
    }));
    this.paymentRules = this.rules.filter(({ rule }) => rule.trigger === 'payment');
    this.rowRules = this.paymentRules.filter(({ condition }) => condition.rest !== null);
    this.ranks = Uint8Array.from(this.rules, ({ rule }) => DECISIONS.indexOf(rule.decision));
    this.firings = new Uint32Array(this.rules.length);
    this.failures = new Uint32Array(this.rules.length);
    this.row = new BatchRow(variables);
  }

  /** Runs every payment rule over rows 0 to `count` - 1. Returns how many rows are not approved. */
  evaluate(batch: PaymentBatch, breakers: RuleBreakers): number {
    this.makeRoom(batch.capacity);
    this.firings.fill(0);
    this.failures.fill(0);
    for (const { index, condition, narrow } of this.paymentRules) {
      const selected = this.fired[index];
      if (breakers.isOpen(index)) selected.fill(0, 0, batch.count);
      else condition.select(batch, selected);
      narrow?.(batch, selected);
    }
    if (this.rowRules.length > 0) this.evaluateRows(batch, breakers);
    return this.decide(batch.count);
  }

  /** The decision that the last `evaluate` came to for a row. */
  decision(row: number): Decision {
    return DECISIONS[this.decisions[row]];
  }

  /** Active rules that fired at a row in the last `evaluate`, the deciding one first. Allocates: for alerts. */
  firedAt(row: number): readonly CompiledRule[] {
    return decidingFirst(
      this.paymentRules.filter(({ index, rule }) => rule.state === 'active' && this.fired[index][row] === 1),
    );
  }

  /** The values of a row, for reasons. Valid until the next call or `evaluate`. */
  valuesAt(batch: PaymentBatch, row: number): ValueSource {
    this.row.moveTo(batch, row);
    return this.row;
  }

  /**
   * Rules of a timer that fire for these values, shadow ones too, the deciding one first. What fails is counted in
   * `failures` (emptied before).
   */
  firedByTimer(
    trigger: Exclude<RuleTrigger, 'payment'>,
    values: NamedValues,
    breakers: RuleBreakers,
  ): readonly CompiledRule[] {
    this.failures.fill(0);
    const fired = this.rules.filter(
      (compiled) =>
        compiled.rule.trigger === trigger && !breakers.isOpen(compiled.index) && this.holds(compiled, breakers, values),
    );
    return decidingFirst(fired);
  }

  /** R3: row by row, and for each row rule by rule. */
  private evaluateRows(batch: PaymentBatch, breakers: RuleBreakers): void {
    const { rowRules, fired, row: values } = this;
    for (let row = 0; row < batch.count; row++) {
      let isHere = false;
      for (let i = 0; i < rowRules.length; i++) {
        const compiled = rowRules[i];
        const selected = fired[compiled.index];
        if (selected[row] === 0) continue;
        if (!isHere) values.moveTo(batch, row);
        isHere = true;
        if (breakers.isOpen(compiled.index) || !this.holdsAt(compiled, breakers, row)) selected[row] = 0;
      }
    }
    values.leave();
  }

  private holdsAt(compiled: CompiledRule, breakers: RuleBreakers, row: number): boolean {
    const { index, condition } = compiled;
    breakers.evaluated(index);
    try {
      return condition.rest === null || condition.rest.holds(this.row);
    } catch (error) {
      this.fail(compiled, breakers, row, error);
      return false;
    }
  }

  private holds(compiled: CompiledRule, breakers: RuleBreakers, values: NamedValues): boolean {
    breakers.evaluated(compiled.index);
    try {
      return compiled.condition.whole().holds(values);
    } catch (error) {
      this.fail(compiled, breakers, 0, error);
      return false;
    }
  }

  /** R1: contained and counted, and told of by the breaker when it is too often. */
  private fail({ index, rule }: CompiledRule, breakers: RuleBreakers, row: number, error: unknown): void {
    this.failures[index]++;
    breakers.failed(index, rule, row, error instanceof Error ? error.message : String(error));
  }

  private decide(count: number): number {
    const { decisions, paymentRules, ranks, fired, firings } = this;
    decisions.fill(0, 0, count);
    for (const { index, rule } of paymentRules) {
      const selected = fired[index];
      const rank = rule.state === 'active' ? ranks[index] : 0;
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

  private makeRoom(capacity: number): void {
    if (this.decisions.length >= capacity) return;
    this.decisions = new Uint8Array(capacity);
    this.fired = this.rules.map(({ rule }) => new Uint8Array(rule.trigger === 'payment' ? capacity : 0));
  }
}

function decidingFirst(fired: readonly CompiledRule[]): readonly CompiledRule[] {
  const strictness = ({ rule }: CompiledRule) =>
    DECISIONS.indexOf(rule.decision) * SEVERITIES.length + SEVERITIES.indexOf(rule.severity);
  return [...fired].sort((a, b) => strictness(b) - strictness(a));
}

/**
 * Compiles a rule set that `parseRuleSet` (or the rule book) has checked. `featureNames`, in the order of the model's
 * input, say where `features.<name>` lie.
 */
export function compileRules(
  ruleSet: RuleSet,
  { featureNames }: { readonly featureNames?: readonly string[] } = {},
): CompiledRuleSet {
  return new CompiledRuleSet(ruleSet, makeVariables(featureNames));
}
