/**
 * Owns the last step of the pipeline: rules decide each payment of a batch, and whatever is not approved becomes an
 * alert in the open epoch. Neighbours: `../rules` evaluates, `build-alert.ts` gathers the evidence.
 */
import type { Origin } from '../../stream/pipeline/origin.js';
import type { BatchStep, Outputs, StepContext } from '../../stream/pipeline/pipeline.js';
import type { RecordBatch } from '../../stream/records.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { NamedValues } from '../rules/batch-row.js';
import type { CompiledRuleSet } from '../rules/compile-rules.js';
import type { LiveRulesStep } from '../rules/live-rules.js';
import { type RuleTrip, rolloutRecord } from '../rules/rollout.js';
import type { RuleBreakers } from '../rules/rule-breakers.js';
import { type AlertParts, type ExpiredCardTesting, expiredCardTestingAlert, paymentAlert } from './build-alert.js';
import { encodeAlert } from './encode-alert.js';
import { paymentTrace } from './trace-context.js';

export interface DecideParts extends AlertParts {
  /** The rule sets in force; asked once a batch, so that a new one takes effect between batches. */
  readonly rules: Pick<LiveRulesStep, 'rulesOf' | 'breakersOf' | 'rolloutsTopic'>;
  readonly alertsTopic: string;
  /** Where a first stage found the payment, if one has keyed it: goes into the alert's headers. */
  originOf?(records: RecordBatch, index: number): Origin | null;
}

/**
 * The step: counts `decisions.*`, `rules.fired.<id>`, `rules.shadow.<id>`, `rules.failed.<id>`, emits an alert for every
 * row that is not approved, and a trip for every rule whose breaker tripped.
 */
export function decide(parts: DecideParts): BatchStep<PaymentBatch> {
  return {
    kind: 'batch',
    id: 'decide',
    open: (context) => ({ apply: (batch, outputs) => decideBatch(parts, context, batch, outputs) }),
  };
}

function decideBatch(parts: DecideParts, context: StepContext, batch: PaymentBatch, outputs: Outputs): void {
  const rules = parts.rules.rulesOf(context.taskId);
  const breakers = parts.rules.breakersOf(context.taskId);
  const notApproved = rules.evaluate(batch, breakers);
  for (const { index, firedCounter } of rules.rules) {
    if (rules.firings[index] > 0) context.count(firedCounter, rules.firings[index]);
  }
  tellFailures(parts, rules, breakers, context, outputs, (row) => batch.records.offset[batch.recordIndex[row]] + 1);
  context.count('decisions.approve', batch.count - notApproved);
  if (notApproved === 0) return;
  const detectedAt = context.clock.now();
  for (let row = 0; row < batch.count; row++) {
    if (rules.decisions[row] === 0) continue;
    const alert = paymentAlert(parts, context.source, rules, batch, row, detectedAt);
    context.count(`decisions.${alert.decision}`);
    const trace = paymentTrace(batch.records, batch.recordIndex[row]);
    const origin = parts.originOf?.(batch.records, batch.recordIndex[row]) ?? null;
    outputs.emit(encodeAlert(alert, parts.alertsTopic, trace, origin), { prompt: true });
  }
}

/** Counts what failed in the last evaluation, and writes down what tripped: `offsetAfter` a row it no longer runs. */
function tellFailures(
  parts: Pick<DecideParts, 'rules'>,
  rules: CompiledRuleSet,
  breakers: RuleBreakers,
  context: StepContext,
  outputs: Outputs,
  offsetAfter: (row: number) => number,
): void {
  for (const { index, failedCounter } of rules.rules) {
    if (rules.failures[index] > 0) context.count(failedCounter, rules.failures[index]);
  }
  for (const { rule, row, failures, evaluations, reason } of breakers.takeTrips()) {
    context.count('rules.tripped');
    const trip: RuleTrip = {
      kind: 'rule-trip',
      taskId: context.taskId,
      partition: context.source.partition,
      ruleId: rule.id,
      ruleVersion: rule.version,
      ruleSetVersion: rules.version,
      failures,
      evaluations,
      reason,
      fromOffset: offsetAfter(row),
      at: context.clock.now(),
    };
    outputs.emit(rolloutRecord(trip, parts.rules.rolloutsTopic), { prompt: false });
  }
}

/**
 * For the card-testing step's timer: emits the alert for a sequence that ended without a large payment, where a rule
 * wants one. Returns whether it did.
 */
export function emitExpiredCardTesting(
  parts: Pick<DecideParts, 'rules' | 'alertsTopic' | 'pipelineVersion'>,
  context: StepContext,
  expired: ExpiredCardTesting,
  outputs: Outputs,
): boolean {
  const rules = parts.rules.rulesOf(context.taskId);
  const breakers = parts.rules.breakersOf(context.taskId);
  const values = new NamedValues({ 'patterns.cardTestingSmallCount': expired.finding.smallCount });
  const fired = rules.firedByTimer('card-testing-expired', values, breakers);
  for (const { firedCounter } of fired) context.count(firedCounter);
  const { matched } = expired.finding;
  const newest = matched.reduce((highest, { sourceOffset }) => Math.max(highest, sourceOffset), -1);
  tellFailures(parts, rules, breakers, context, outputs, () => newest + 1);
  const active = fired.filter(({ rule }) => rule.state === 'active');
  const alert = expiredCardTestingAlert(parts, context.source, rules, active, expired, context.clock.now());
  if (alert === null) return false;
  context.count(`decisions.${alert.decision}`);
  outputs.emit(encodeAlert(alert, parts.alertsTopic), { prompt: true });
  return true;
}
