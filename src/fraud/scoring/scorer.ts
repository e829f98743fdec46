/**
 * Owns the door to whatever scores payments. Neighbours: `src/adapters/onnx` stands behind it, `scoring-step.ts` asks
 * it once a batch, alerts name its model.
 */
import type { ModelFacts } from './model-metadata.js';

export interface Scorer {
  readonly model: ModelFacts;
  /**
   * Scores `rows` rows of `features` (row-major, rows × features as in `CARD_FEATURES`) into the first `rows` places of
   * `into`, each 0 to 1. One call at a time. Rejects if the model can't run; no row is scored then.
   */
  score(features: Float32Array, rows: number, into: Float64Array): Promise<void>;
  /** After the last `score` has settled. */
  close(): Promise<void>;
}
