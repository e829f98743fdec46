import { describe, expect, it } from 'vitest';
import { CARD_FEATURES, FEATURE_COUNT, featuresHash } from '../../../src/fraud/features/feature-list.js';
import { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import type { ModelFacts } from '../../../src/fraud/scoring/model-metadata.js';
import type { Scorer } from '../../../src/fraud/scoring/scorer.js';
import { score } from '../../../src/fraud/scoring/scoring-step.js';
import { stepContext } from '../features/run-cards.js';

function fakeScorer(featureNames: readonly string[] = CARD_FEATURES.map((f) => f.name)) {
  const model = { name: 'fake', version: '1', featureNames, featuresHash } as unknown as ModelFacts;
  const runs: number[] = [];
  const scorer: Scorer = {
    model,
    score: async (features, rows, into) => {
      runs.push(rows);
      for (let row = 0; row < rows; row++) into[row] = features[row * FEATURE_COUNT];
    },
    close: async () => {},
  };
  return { scorer, runs };
}

describe('the scoring step', () => {
  it('runs the model once a batch and rounds to four decimals', async () => {
    const { scorer, runs } = fakeScorer();
    const step = await score(scorer).open(stepContext());
    const batch = new PaymentBatch(4, FEATURE_COUNT);
    batch.count = 2;
    batch.features[0] = 0.123456;
    batch.features[FEATURE_COUNT] = 0.99996;
    await step.apply(batch, { emit: () => {} });
    expect(runs).toEqual([2]);
    expect(Array.from(batch.score)).toEqual([0.1235, 1, 0, 0]);
  });

  it('does not run the model for an empty batch', async () => {
    const { scorer, runs } = fakeScorer();
    const step = await score(scorer).open(stepContext());
    await step.apply(new PaymentBatch(4, FEATURE_COUNT), { emit: () => {} });
    expect(runs).toEqual([]);
  });

  it('refuses a model of other features when the pipeline is made', () => {
    const { scorer } = fakeScorer(['x']);
    expect(() => score(scorer)).toThrow(expect.objectContaining({ code: 'model-mismatch' }));
  });
});
