/**
 * Owns turning the configuration into the parts of the fraud pipeline. Runs in every worker thread, which then has its
 * own model session, lookup cache and connections. Neighbours: `worker-entry.ts`, and the proof's plain reference.
 */
import { openOnnxScorer } from '../adapters/onnx/onnx-scorer.js';
import { merchantRisk } from '../fraud/enrichment/merchant-risk.js';
import { riskFromTable } from '../fraud/enrichment/risk-from-table.js';
import { riskTable } from '../fraud/enrichment/risk-table.js';
import { CARD_FEATURES } from '../fraud/features/feature-list.js';
import { tokeniseCard } from '../fraud/payments/card-token.js';
import { paymentSource } from '../fraud/payments/payment-source.js';
import { type FraudPipeline, fraudPipeline } from '../fraud/pipeline.js';
import { liveRules } from '../fraud/rules/live-rules.js';
import { alertModel } from '../fraud/scoring/alert-model.js';
import type { Configuration } from './configuration/index.js';
import { initialRules } from './initial-rules.js';
import { openPaymentDecoder } from './schema-registry.js';
import { SHIPPED_MODEL } from './version.js';

/** What a pipeline needs and what takes time to open: model, rules, decoder, lookup. Knows no generation of it yet. */
export interface OpenedFraudParts {
  /** The pipeline that reads and writes these topics. */
  pipelineOn(topics: Configuration['topics']): FraudPipeline;
  close(): Promise<void>;
}

export interface OpenedFraudPipeline {
  readonly pipeline: FraudPipeline;
  close(): Promise<void>;
}

/** The pipeline on the configured topics. Errors and `warn` as {@link openFraudParts}. */
export async function openFraudPipeline(
  configuration: Configuration,
  warn: (message: string) => void = () => {},
): Promise<OpenedFraudPipeline> {
  const { pipelineOn, close } = await openFraudParts(configuration, warn);
  return { pipeline: pipelineOn(configuration.topics), close };
}

/** Errors: model-mismatch, model-corrupt, rule-set-invalid, weak-secret, rules-unreadable, registry-unreadable. `warn` tells operators. */
export async function openFraudParts(
  configuration: Configuration,
  warn: (message: string) => void = () => {},
): Promise<OpenedFraudParts> {
  const { pipeline, deadLetters, watermark } = configuration;
  const featureNames = CARD_FEATURES.map(({ name }) => name);
  const scorer = await openOnnxScorer(configuration.model.directory ?? SHIPPED_MODEL);
  const initial = await initialRules(configuration);
  const table = riskTable({ topic: configuration.topics.riskTable });
  const enrichment = await enrichmentOf(configuration, table);
  const secret = configuration.cardToken.secret;
  const format = await openPaymentDecoder(configuration, secret === undefined ? undefined : tokeniseCard(secret), warn);
  return {
    pipelineOn: (topics) =>
      fraudPipeline({
        name: pipeline.name,
        payments: paymentSource({
          topic: topics.payments,
          featureCount: featureNames.length,
          decoder: format.decoder,
          isRekeyed: configuration.keying.mode === 'repartition',
        }),
        outOfOrdernessMs: watermark.outOfOrdernessMs,
        merchantRisk: enrichment.step,
        riskTable: table,
        scorer,
        model: alertModel(scorer.model),
        rules: liveRules({
          topic: topics.rules,
          rolloutsTopic: topics.rollouts,
          initial,
          featureNames,
          breaker: configuration.rules.breaker,
        }),
        alertsTopic: topics.alerts,
        deadLettersTopic: topics.deadLetters,
        deadLetterLimits: deadLetters,
      }),
    close: async () => {
      await format.close();
      await enrichment.close();
      await scorer.close();
    },
  };
}

async function enrichmentOf({ merchantRisk: settings }: Configuration, table: ReturnType<typeof riskTable>) {
  if (settings.url === undefined) return { step: riskFromTable(table), close: async () => {} };
  const { httpMerchantRisk } = await import('../adapters/merchant-risk-http/http-merchant-risk.js');
  const lookup = httpMerchantRisk({ baseUrl: settings.url, timeoutMs: settings.timeoutMs });
  const step = merchantRisk(lookup, table, {
    timeoutMs: settings.timeoutMs,
    inFlight: settings.inFlight,
    cacheEntries: settings.cacheSize,
    expiryMs: settings.cacheExpiryMs,
    breaker: settings.breaker,
  });
  return { step, close: () => lookup.close() };
}
