/** Feature rows with values in the features' own ranges, the same for the same seed. */
import { CARD_FEATURES, FEATURE_COUNT } from '../../../src/fraud/features/feature-list.js';

const LARGEST: Readonly<Record<string, number>> = { '0 or 1': 1, '0 to 1': 1, hour: 23, ratio: 8, payments: 40 };

export function randomFeatures(rows: number, seed: number): Float32Array {
  const features = new Float32Array(rows * FEATURE_COUNT);
  let state = seed;
  for (let i = 0; i < features.length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    features[i] = (state / 2 ** 32) * (LARGEST[CARD_FEATURES[i % FEATURE_COUNT].unit] ?? 40_000);
  }
  return features;
}
