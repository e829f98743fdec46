/**
 * Owns one trial: payments one after the other through the pipeline's own steps (decoder, patterns, features, memory,
 * model, the rule), over card state that lives as long as the trial. Neighbours: `rule-trial.ts` bounds and opens, the
 * steps are those of `../pipeline.ts`, in its order.
 *
 * As in the pipeline: a payment is late when it lies before the watermark that those before it left, and a card's due
 * timers fire before its next payment. Unlike there, time is taken to go on after the last payment: every timer that
 * is still pending fires.
 */
import type { OpenBatchStep, OpenKeyedStep, StepContext } from '../../stream/pipeline/pipeline.js';
import { type ColumnsOf, makeColumns, TimerColumn } from '../../stream/state/layout.js';
import { rememberPayment } from '../cards/remember-payment.js';
import { cardState } from '../cards/state.js';
import { cardFeatures } from '../features/card-features.js';
import { cardPatterns, type OnExpired } from '../patterns/card-patterns.js';
import type { PatternParameters } from '../patterns/pattern-parameters.js';
import { type PaymentBatch, RISK_SOURCE } from '../payments/payment-batch.js';
import type { PaymentSource } from '../payments/payment-source.js';
import type { Scorer } from '../scoring/scorer.js';
import { score } from '../scoring/scoring-step.js';
import { NamedValues } from './batch-row.js';
import { type CompiledRuleSet, compileRules } from './compile-rules.js';
import type { ValueSource } from './language.js';
import { describePattern, reasonOf } from './reasons.js';
import type { RuleVersion } from './rule.js';
import { type BreakableRule, RuleBreakers } from './rule-breakers.js';
import { type UsedVariable, usedVariables } from './rule-trial-variables.js';

export interface TrialCase {
  /** As a message of the payments topic would hold it. */
  readonly payment: unknown;
  /** 0 to 1, as the merchant-risk service would answer; null: it does not know the merchant. */
  readonly merchantRisk: number | null;
  /** Stands in for the model's score; null: the model's own. */
  readonly score: number | null;
}

/** `refused`: the pipeline could not read the payment, which would be a dead letter. */
export type TrialOutcome = 'fired' | 'not-fired' | 'failed' | 'refused';

export interface TriedPayment {
  /** Place in the request, from 0 on. */
  readonly index: number;
  readonly paymentId: string | null;
  readonly outcome: TrialOutcome;
  /** Why it fired, in plain words; why it failed or was refused. Null where it did not fire. */
  readonly reason: string | null;
  readonly score: number | null;
  readonly late: boolean;
  /** What the condition reads, by name; null where not known. Empty for timer rules. */
  readonly values: Readonly<Record<string, number | boolean | string | null>>;
}

/** A card-testing sequence that ended without its large payment. */
export interface TriedExpiry {
  readonly cardId: string;
  /** Event time, ms since 1970. */
  readonly dueMs: number;
  readonly smallCount: number;
  readonly outcome: Exclude<TrialOutcome, 'refused'>;
  readonly reason: string | null;
}

export interface TrialResult {
  readonly payments: readonly TriedPayment[];
  readonly expiries: readonly TriedExpiry[];
}

export interface TrialParts {
  readonly rule: RuleVersion;
  readonly patterns: PatternParameters;
  readonly payments: PaymentSource;
  readonly outOfOrdernessMs: number;
  readonly scorer: Scorer;
}

/** Runs a trial. The rule must have been checked. */
export async function tryRule(parts: TrialParts, cases: readonly TrialCase[]): Promise<TrialResult> {
  const run = new TrialRun(parts, cases.length, await score(parts.scorer).open(CONTEXT));
  const payments: TriedPayment[] = [];
  for (const [index, one] of cases.entries()) payments.push(await run.look(index, one));
  run.fireDue(Number.POSITIVE_INFINITY);
  return { payments, expiries: run.expiries };
}

/** Breakers that never hear of a failure, so never open; they remember why the last evaluation failed. */
class LastFailure extends RuleBreakers {
  reason: string | null = null;

  override failed(_index: number, _rule: BreakableRule, _row: number, reason: string): void {
    this.reason = reason;
  }
}

const PLACE = { topic: 'rule-trial', partition: 0 };
const CONTEXT: StepContext = {
  taskId: 'rule-trial',
  source: PLACE,
  clock: { now: () => 0, monotonic: () => 0, schedule: () => () => {} },
  count: () => {},
};
const NO_OUTPUTS = { emit: () => {} };

class TrialRun {
  readonly expiries: TriedExpiry[] = [];
  /** One row: what comes of it does not depend on where batches are cut. */
  private readonly batch: PaymentBatch;
  private readonly columns: ColumnsOf<typeof cardState.fields>;
  private readonly keyed: readonly OpenKeyedStep<PaymentBatch>[];
  private readonly rules: CompiledRuleSet;
  private readonly failure = new LastFailure();
  private readonly used: readonly UsedVariable[];
  private readonly slots = new Map<string, number>();
  private readonly keys: Buffer[] = [];
  private readonly timers: readonly {
    readonly field: string;
    readonly column: TimerColumn;
    readonly pending: Map<number, number>;
  }[];
  private maxEventTimeMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly parts: TrialParts,
    cards: number,
    private readonly scoring: OpenBatchStep<PaymentBatch>,
  ) {
    const { rule, patterns, payments } = parts;
    this.batch = payments.makeBatch(1);
    this.columns = makeColumns(cardState, cards);
    const onExpired: OnExpired = (finding, _slot, key, dueMs) => this.expire(finding, key.toString('utf8'), dueMs);
    const steps = [cardPatterns(() => patterns, { onExpired }), cardFeatures, rememberPayment];
    this.keyed = steps.map((step) => step.open(CONTEXT, this.columns));
    const set = { version: 1, rules: [{ ...rule, state: 'active' as const }], patterns };
    this.rules = compileRules(set, { featureNames: parts.scorer.model.featureNames });
    this.failure.watch(set.rules);
    this.used = usedVariables(rule.condition, rule.trigger);
    this.timers = Object.entries(this.columns).flatMap(([field, column]) => {
      if (!(column instanceof TimerColumn)) return [];
      const pending = new Map<number, number>();
      column.onSet = (slot, dueMs) => void pending.set(slot, dueMs);
      return [{ field, column, pending }];
    });
  }

  /** One payment through all steps. */
  async look(index: number, one: TrialCase): Promise<TriedPayment> {
    const { batch } = this;
    const refusal = this.decode(one.payment, index);
    if (refusal !== null) {
      return { index, paymentId: null, outcome: 'refused', reason: refusal, score: null, late: false, values: {} };
    }
    batch.merchantRisk[0] = one.merchantRisk ?? 0;
    batch.riskSource[0] = one.merchantRisk === null ? RISK_SOURCE.none : RISK_SOURCE.lookup;
    batch.riskAsOfMs[0] = 0;
    batch.degraded[0] = 0;
    const eventTimeMs = batch.eventTimeMs[0];
    const watermarkMs = this.maxEventTimeMs - this.parts.outOfOrdernessMs;
    this.fireDue(watermarkMs);
    batch.late[0] = eventTimeMs < watermarkMs ? 1 : 0;
    batch.slot[0] = this.slotOf(batch.cardId(0));
    for (const step of this.keyed) step.apply(batch, 0, batch.slot[0]);
    this.maxEventTimeMs = Math.max(this.maxEventTimeMs, eventTimeMs);
    await this.score(one.score);
    return this.evaluate(index);
  }

  /** Fires what is due by `watermarkMs`, in the order of due times. */
  fireDue(watermarkMs: number): void {
    for (const { field, column, pending } of this.timers) {
      const due = [...pending].filter(([, dueMs]) => dueMs <= watermarkMs).sort(([, a], [, b]) => a - b);
      for (const [slot, dueMs] of due) {
        pending.delete(slot);
        // Cleared meanwhile.
        if (column.due[slot] !== dueMs) continue;
        column.clear(slot);
        for (const step of this.keyed) step.onTimer?.({ field, dueMs }, slot, this.keys[slot], NO_OUTPUTS);
      }
    }
  }

  /** Returns why the payment cannot be read, or null. */
  private decode(payment: unknown, offset: number): string | null {
    const { batch } = this;
    const { records } = batch;
    const bytes = Buffer.from(JSON.stringify(payment));
    records.bytes = bytes;
    records.count = 1;
    records.keyStart[0] = 0;
    records.keyLength[0] = -1;
    records.valueStart[0] = 0;
    records.valueLength[0] = bytes.length;
    records.offset[0] = offset;
    records.timestampMs[0] = 0;
    let refusal: string | null = null;
    this.parts.payments.decode(batch, records, {
      reject: (_index, code, message) => {
        refusal = `${code}: ${message}`;
      },
    });
    return refusal;
  }

  private async score(given: number | null): Promise<void> {
    const { batch } = this;
    await this.scoring.apply(batch, NO_OUTPUTS);
    if (given !== null) batch.score[0] = given;
  }

  private evaluate(index: number): TriedPayment {
    const { batch, rules, failure } = this;
    failure.reason = null;
    rules.evaluate(batch, failure);
    const [compiled] = rules.rules;
    const values = rules.valuesAt(batch, 0);
    const isFired = rules.firings[compiled.index] > 0;
    const outcome = failure.reason !== null ? 'failed' : isFired ? 'fired' : 'not-fired';
    const payment = this.parts.payments.decoder.parse(batch.records.bytes);
    const { amountMinor, currency } = payment;
    const subject = { values, amountMinor, currency, patterns: batch.matches.get(0) ?? [] };
    return {
      index,
      paymentId: payment.paymentId,
      outcome,
      reason: outcome === 'fired' ? reasonOf(compiled.condition.tree, subject) : failure.reason,
      score: Number.isFinite(batch.score[0]) ? batch.score[0] : null,
      late: batch.late[0] === 1,
      values: compiled.rule.trigger === 'payment' ? valuesOf(this.used, values) : {},
    };
  }

  private expire(finding: Parameters<OnExpired>[0], cardId: string, dueMs: number): void {
    const { rules, failure } = this;
    const [{ rule }] = rules.rules;
    if (rule.trigger !== 'card-testing-expired') return;
    const { smallCount } = finding;
    failure.reason = null;
    const values = new NamedValues({ 'patterns.cardTestingSmallCount': smallCount });
    const isFired = rules.firedByTimer('card-testing-expired', values, failure).length > 0;
    const outcome = failure.reason !== null ? 'failed' : isFired ? 'fired' : 'not-fired';
    const reason = outcome === 'fired' ? describePattern(finding, null, null) : failure.reason;
    this.expiries.push({ cardId, dueMs, smallCount, outcome, reason });
  }

  private slotOf(card: string): number {
    const known = this.slots.get(card);
    if (known !== undefined) return known;
    const slot = this.slots.size;
    this.slots.set(card, slot);
    this.keys.push(Buffer.from(card, 'utf8'));
    return slot;
  }
}

function valuesOf(used: readonly UsedVariable[], source: ValueSource): TriedPayment['values'] {
  return Object.fromEntries(
    used.map(({ name, type }) => {
      if (type === 'bool') return [name, source.flag(name)];
      if (type === 'string') return [name, source.text(name)];
      const value = source.number(name);
      return [name, Number.isFinite(value) ? value : null];
    }),
  );
}
