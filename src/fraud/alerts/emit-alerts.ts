/**
 * Owns the last step of the pipeline: rules decide each payment of a batch, and whatever is not approved becomes an
 * alert in the open epoch. Neighbours: `../rules` evaluates, `build-alert.ts` gathers the evidence.
 */
import type { BatchStep, Outputs, StepContext } from '../../stream/pipeline/pipeline.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { CompiledRuleSet } from '../rules/compile-rules.js';
import { type AlertParts, type ExpiredCardTesting, expiredCardTestingAlert, paymentAlert } from './build-alert.js';
import { encodeAlert } from './encode-alert.js';

export interface DecideParts extends AlertParts {
  /** The rule set in force; asked once a batch, so that a new one takes effect between batches. */
  rules(): CompiledRuleSet;
  readonly alertsTopic: string;
}

/** The step: counts `decisions.*` and `rules.fired.<id>`, emits an alert for every row that is not approved. */
export function decide(parts: DecideParts): BatchStep<PaymentBatch> {
  return {
    kind: 'batch',
    id: 'decide',
    open: (context) => ({ apply: (batch, outputs) => decideBatch(parts, context, batch, outputs) }),
  };
}

function decideBatch(parts: DecideParts, context: StepContext, batch: PaymentBatch, outputs: Outputs): void {
  const rules = parts.rules();
  const notApproved = rules.evaluate(batch);
  for (let index = 0; index < rules.paymentRules.length; index++) {
    if (rules.firings[index] > 0) context.count(rules.paymentRules[index].counter, rules.firings[index]);
  }
  context.count('decisions.approve', batch.count - notApproved);
  if (notApproved === 0) return;
  const detectedAt = context.clock.now();
  for (let row = 0; row < batch.count; row++) {
    if (rules.decisions[row] === 0) continue;
    const alert = paymentAlert(parts, context.source, rules, batch, row, detectedAt);
    context.count(`decisions.${alert.decision}`);
    outputs.emit(encodeAlert(alert, parts.alertsTopic), { prompt: true });
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
  const alert = expiredCardTestingAlert(parts, context.source, parts.rules(), expired, context.clock.now());
  if (alert === null) return false;
  for (const { id } of alert.rules) context.count(`rules.fired.${id}`);
  context.count(`decisions.${alert.decision}`);
  outputs.emit(encodeAlert(alert, parts.alertsTopic), { prompt: true });
  return true;
}
