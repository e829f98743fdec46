import { describe, expect, it } from 'vitest';
import { explain, topFeatures } from '../../../src/fraud/scoring/explain.js';

/** amount < 10 → -1; else risk < 0.5 → 0; else → 3. Half of the rows went each way. */
const tree = {
  feature: [0, -1, 1, -1, -1],
  threshold: [10, 0, 0.5, 0, 0],
  left: [1, 0, 3, 0, 0],
  right: [2, 0, 4, 0, 0],
  margin: [0.25, -1, 1.5, 0, 3],
};
const model = { featureNames: ['amount', 'risk', 'hour'], trees: [tree] };

describe('an explanation', () => {
  it('credits each feature with the change along the path', () => {
    const { bias, margin, contributions } = explain(model, Float32Array.of(20, 0.9, 7));
    expect(bias).toBe(0.25);
    expect(Array.from(contributions)).toEqual([1.25, 1.5, 0]);
    expect(margin).toBe(3);
  });

  it('goes right at the threshold itself, compared in single precision', () => {
    const fine = { ...tree, threshold: [0.1, 0, 0.5, 0, 0] };
    expect(explain({ ...model, trees: [fine] }, Float32Array.of(0.1, 0, 0)).margin).toBe(0);
  });

  it('lists the strongest features first and leaves out those that moved nothing', () => {
    expect(topFeatures(model, Float32Array.of(20, 0.25, 7))).toEqual([
      { feature: 'risk', value: 0.25, contribution: -1.5 },
      { feature: 'amount', value: 20, contribution: 1.25 },
    ]);
    expect(topFeatures(model, Float32Array.of(20, 0.25, 7), 1)).toHaveLength(1);
  });
});
