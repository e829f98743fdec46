/**
 * Owns the first stage where payments are not keyed by card: it reads one of their topics, decodes each payment to learn
 * its card, and passes it on, as it came, to the topic that detection reads. Neighbours: `pipeline.ts` is the second
 * stage; `stream/pipeline/repartition.ts` says what is promised.
 *
 *   payments, in any topics ─► decode ─► fraud.payments-by-card ─► detection (pipeline.ts)
 *             └ unreadable ─► payments.dead-letters
 */
import type { DeadLetterLimits } from '../stream/pipeline/pipeline.js';
import { type RepartitionPipeline, repartitionPipeline } from '../stream/pipeline/repartition.js';
import type { PaymentBatch } from './payments/payment-batch.js';
import { type PaymentDecoder, paymentSource } from './payments/payment-source.js';
import { PIPELINE_VERSION } from './pipeline-version.js';

export interface CardRepartitionParts {
  /** Of the pipeline whose first stage it is. */
  readonly pipeline: string;
  readonly topic: string;
  readonly byCardTopic: string;
  readonly decoder: PaymentDecoder;
  readonly deadLettersTopic: string;
  readonly deadLetterLimits: DeadLetterLimits;
}

/** One for each source topic. Pipelines' names have no dot, so no other pipeline's tasks have the same ids. */
export function cardRepartition(parts: CardRepartitionParts): RepartitionPipeline<PaymentBatch> {
  return repartitionPipeline({
    name: `${parts.pipeline}.repartition.${parts.topic}`,
    version: PIPELINE_VERSION,
    source: paymentSource({ topic: parts.topic, decoder: parts.decoder }),
    to: parts.byCardTopic,
    deadLetters: { topic: parts.deadLettersTopic, limits: parts.deadLetterLimits },
  });
}
