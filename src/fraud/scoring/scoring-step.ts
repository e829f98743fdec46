/**
 * Owns the batch step that scores: one run of the model a batch. Neighbours: `../features` filled the rows, the port
 * in `scorer.ts`, rules read the scores after it.
 */
import type { BatchStep } from '../../stream/pipeline/pipeline.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { requireSameFeatures } from './model-metadata.js';
import type { Scorer } from './scorer.js';

/** Scores are rounded to 4 decimals: what an alert shows is what the rules compared. */
const SCALE = 10_000;

/**
 * Writes `PaymentBatch.score`. Throws {@link ModelMismatchError} at once where the model takes other features. The
 * scorer belongs to the caller, who closes it after the tasks that use it.
 */
export function score(scorer: Scorer): BatchStep<PaymentBatch> {
  requireSameFeatures(scorer.model);
  return {
    kind: 'batch',
    id: 'score',
    open: () => ({
      async apply(batch) {
        const { count } = batch;
        if (count === 0) return;
        await scorer.score(batch.features, count, batch.score);
        for (let row = 0; row < count; row++) batch.score[row] = Math.round(batch.score[row] * SCALE) / SCALE;
      },
    }),
  };
}
