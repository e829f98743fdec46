/**
 * Owns the story: how a payment becomes a decision, source to sinks, on one page. Every step is a folder beside this
 * file; the stream core (`src/stream`) runs it, with state, epochs and recovery, and knows nothing of payments.
 *
 *   payments.raw ─► decode ─► merchant's risk ─► per card: patterns, features, memory ─► model ─► rules ─► fraud.alerts
 *        └ unreadable ─► payments.dead-letters        (risk table, rule sets: broadcast)
 */
import { boundedOutOfOrderness, pipeline } from '../stream/pipeline/define.js';
import type { DeadLetterLimits, EnrichStep, PipelineDefinition } from '../stream/pipeline/pipeline.js';
import type { AlertModel } from './alerts/build-alert.js';
import { decide, emitExpiredCardTesting } from './alerts/emit-alerts.js';
import { rememberPayment } from './cards/remember-payment.js';
import { cardState } from './cards/state.js';
import type { RiskTableStep } from './enrichment/risk-table.js';
import { cardFeatures } from './features/card-features.js';
import { cardPatterns, type OnExpired } from './patterns/card-patterns.js';
import type { PaymentBatch } from './payments/payment-batch.js';
import type { PaymentSource } from './payments/payment-source.js';
import { PIPELINE_VERSION } from './pipeline-version.js';
import type { LiveRulesStep } from './rules/live-rules.js';
import type { Scorer } from './scoring/scorer.js';
import { score } from './scoring/scoring-step.js';

export interface FraudParts {
  /** Part of task ids and transactional ids. */
  readonly name: string;
  readonly payments: PaymentSource;
  readonly outOfOrdernessMs: number;
  readonly merchantRisk: EnrichStep<PaymentBatch>;
  readonly riskTable: RiskTableStep;
  readonly scorer: Scorer;
  readonly model: AlertModel;
  /** With the patterns' parameters. */
  readonly rules: LiveRulesStep;
  readonly alertsTopic: string;
  readonly deadLettersTopic: string;
  readonly deadLetterLimits: DeadLetterLimits;
}

export type FraudPipeline = PipelineDefinition<PaymentBatch, typeof cardState.fields>;

export function fraudPipeline(parts: FraudParts): FraudPipeline {
  const alerting = {
    pipelineVersion: PIPELINE_VERSION,
    model: parts.model,
    parsePayment: (bytes: Buffer) => parts.payments.decoder.parse(bytes),
    rules: parts.rules,
    alertsTopic: parts.alertsTopic,
    ...(parts.payments.originOf !== undefined && { originOf: parts.payments.originOf }),
  };
  const onUnfinishedCardTesting: OnExpired = (finding, _slot, key, dueMs, outputs, context) => {
    emitExpiredCardTesting(alerting, context, { cardId: key.toString('utf8'), dueMs, finding }, outputs);
  };
  return pipeline(parts.name, { version: PIPELINE_VERSION })
    .source(parts.payments, { watermark: boundedOutOfOrderness({ ms: parts.outOfOrdernessMs }) })
    .enrich(parts.merchantRisk)
    .join(parts.riskTable)
    .join(parts.rules)
    .keyBy(cardState)
    .each(cardPatterns(parts.rules.patternsOf, { onExpired: onUnfinishedCardTesting }))
    .each(cardFeatures)
    .each(rememberPayment)
    .perBatch(score(parts.scorer))
    .perBatch(decide(alerting))
    .deadLettersTo(parts.deadLettersTopic, parts.deadLetterLimits);
}
