/**
 * Owns turning the configuration into the parts of the fraud pipeline. Runs in every worker thread, which then has its
 * own model session, lookup cache and connections. Neighbours: `worker-entry.ts`, and the proof's plain reference.
 */
import { readFile } from 'node:fs/promises';
import { httpMerchantRisk } from '../adapters/merchant-risk-http/http-merchant-risk.js';
import { openOnnxScorer } from '../adapters/onnx/onnx-scorer.js';
import { merchantRisk } from '../fraud/enrichment/merchant-risk.js';
import { riskFromTable } from '../fraud/enrichment/risk-from-table.js';
import { riskTable } from '../fraud/enrichment/risk-table.js';
import { CARD_FEATURES } from '../fraud/features/feature-list.js';
import { tokeniseCard } from '../fraud/payments/card-token.js';
import { jsonPayments } from '../fraud/payments/decode-json.js';
import { type FraudPipeline, fraudPipeline } from '../fraud/pipeline.js';
import { builtInRules } from '../fraud/rules/built-in-rules.js';
import { compileRules } from '../fraud/rules/compile-rules.js';
import { alertModel } from '../fraud/scoring/alert-model.js';
import { StreamError } from '../stream/errors.js';
import type { Configuration } from './configuration/index.js';
import { SHIPPED_MODEL } from './version.js';

export interface OpenedFraudPipeline {
  readonly pipeline: FraudPipeline;
  close(): Promise<void>;
}

/** Errors: model-mismatch, model-corrupt, rule-set-invalid, weak-secret, rules-unreadable. */
export async function openFraudPipeline(configuration: Configuration): Promise<OpenedFraudPipeline> {
  const { topics, pipeline, deadLetters, patterns, watermark } = configuration;
  const featureNames = CARD_FEATURES.map(({ name }) => name);
  const scorer = await openOnnxScorer(configuration.model.directory ?? SHIPPED_MODEL);
  const rules = await openRules(configuration.rules.file, featureNames);
  const table = riskTable({ topic: topics.riskTable });
  const enrichment = enrichmentOf(configuration, table);
  const secret = configuration.cardToken.secret;
  return {
    pipeline: fraudPipeline({
      name: pipeline.name,
      payments: jsonPayments({
        topic: topics.payments,
        featureCount: featureNames.length,
        ...(secret === undefined ? {} : { tokenise: tokeniseCard(secret) }),
      }),
      outOfOrdernessMs: watermark.outOfOrdernessMs,
      merchantRisk: enrichment.step,
      riskTable: table,
      patterns,
      scorer,
      model: alertModel(scorer.model),
      rules: () => rules,
      alertsTopic: topics.alerts,
      deadLettersTopic: topics.deadLetters,
      deadLetterLimits: deadLetters,
    }),
    close: async () => {
      await enrichment.close();
      await scorer.close();
    },
  };
}

function enrichmentOf({ merchantRisk: settings }: Configuration, table: ReturnType<typeof riskTable>) {
  if (settings.url === undefined) return { step: riskFromTable(table), close: async () => {} };
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

/** Errors name the file. */
async function openRules(file: string | undefined, featureNames: readonly string[]) {
  if (file === undefined) return compileRules(builtInRules, { featureNames });
  try {
    return compileRules(JSON.parse(await readFile(file, 'utf8')) as unknown, { featureNames });
  } catch (cause) {
    if (cause instanceof StreamError)
      throw new StreamError(cause.code, `rules file ${file}: ${cause.message}`, { cause });
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new StreamError(
      'rules-unreadable',
      `the rules file ${file} cannot be read: ${reason}. Give a JSON file that this user may read, or none for the built-in rules.`,
      { cause },
    );
  }
}
