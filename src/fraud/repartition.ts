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

/** Pipelines' names have no dot, so no other pipeline's first stage has the same name. */
export const cardRepartitionName = (pipeline: string, topic: string): string => `${pipeline}.repartition.${topic}`;

/** One for each source topic. */
export function cardRepartition(parts: CardRepartitionParts): RepartitionPipeline<PaymentBatch> {
  return repartitionPipeline({
    name: cardRepartitionName(parts.pipeline, parts.topic),
    version: PIPELINE_VERSION,
    source: paymentSource({ topic: parts.topic, decoder: parts.decoder }),
    to: parts.byCardTopic,
    deadLetters: { topic: parts.deadLettersTopic, limits: parts.deadLetterLimits },
  });
}
