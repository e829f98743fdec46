/**
 * Owns what a model says of itself: the form of `metadata.json` beside `model.onnx`, and the checks that a model must
 * pass before it may score. Neighbours: `scripts/model/train.py` writes it, `src/adapters/onnx` loads it, `explain.ts`
 * reads its trees, `docs/MODEL.md` tells of its figures.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { CARD_FEATURES, FEATURE_COUNT, featuresHash } from '../features/feature-list.js';
import { ModelCorruptError, ModelMismatchError } from './model-errors.js';

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits');

/**
 * One tree, nodes by number, root 0. `feature` -1 is a leaf; elsewhere a value below `threshold` goes `left`, children
 * have higher numbers. `margin`: a leaf's share of the log-odds, an inner node's mean over the training rows behind it.
 */
const treeSchema = z
  .strictObject({
    feature: z.array(z.int().min(-1)).min(1),
    threshold: z.array(z.number()),
    left: z.array(z.int().min(0)),
    right: z.array(z.int().min(0)),
    margin: z.array(z.number()),
  })
  .refine((tree) => isWellFormed(tree), 'is no tree: columns differ in length or a child does not follow its parent');

export type ModelTree = z.infer<typeof treeSchema>;

const metricsSchema = z.object({
  testFrom: z.string(),
  testTo: z.string(),
  testPayments: z.int().min(1),
  testFrauds: z.int().min(0),
  averagePrecision: z.number().min(0).max(1),
  /** Mean over the test days of the share of frauds among the 100 cards with the highest score. */
  cardPrecisionAt100: z.number().min(0).max(1),
  rocAuc: z.number().min(0).max(1),
});

export const modelMetadataSchema = z
  .object({
    name: z.string().regex(/^[a-z0-9][a-z0-9-]*$/),
    version: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/),
    /** Of the bytes of model.onnx. */
    sha256: sha256Hex,
    featureNames: z.array(z.string()).min(1),
    featuresHash: sha256Hex,
    training: z.object({
      from: z.string(),
      to: z.string(),
      payments: z.int().min(1),
      frauds: z.int().min(1),
      /** How the merchant risks of the training data were made; who serves risks must make them alike. */
      merchantRisk: z.record(z.string(), z.number()),
      parameters: z.record(z.string(), z.unknown()),
      libraries: z.record(z.string(), z.string()),
    }),
    metrics: metricsSchema,
    /** Rows with the score that the trainer itself gave them: the loaded model must give the same. */
    samples: z.array(z.object({ features: z.array(z.number()), score: z.number().min(0).max(1) })).min(1),
    /** For explanations. Their sum over a row's leaves is the log-odds of its score. */
    trees: z.array(treeSchema).min(1),
  })
  .refine(({ trees, featureNames }) => trees.every((tree) => tree.feature.every((f) => f < featureNames.length)), {
    path: ['trees'],
    message: 'a tree asks for a feature beyond featureNames',
  })
  .refine(({ samples, featureNames }) => samples.every((sample) => sample.features.length === featureNames.length), {
    path: ['samples'],
    message: 'a sample has not one value a feature',
  });

export type ModelFacts = z.infer<typeof modelMetadataSchema>;

/** Reads metadata. `where` names the file in errors. Throws {@link ModelCorruptError}. */
export function parseModelMetadata(text: string, where: string): ModelFacts {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ModelCorruptError(`${where} is not JSON: ${String(error)}. Train the model again or restore the file.`, {
      cause: error,
    });
  }
  const parsed = modelMetadataSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new ModelCorruptError(`${where} is not a model's metadata:\n${z.prettifyError(parsed.error)}`);
}

/** Throws {@link ModelMismatchError}, listing what differs, unless the model takes exactly the features of this build. */
export function requireSameFeatures(
  model: Pick<ModelFacts, 'name' | 'version' | 'featureNames' | 'featuresHash'>,
): void {
  const differences = featureDifferences(model.featureNames, model.featuresHash);
  if (differences.length === 0) return;
  throw new ModelMismatchError(
    `model ${model.name}/${model.version} was trained on other features than this build computes:\n` +
      `${differences.map((line) => `  - ${line}`).join('\n')}\n` +
      'Train it again with this build (docs/MODEL.md) or choose a model that fits.',
  );
}

/** Throws {@link ModelCorruptError} unless the bytes are those that the metadata describes. */
export function requireSameBytes(model: Pick<ModelFacts, 'sha256'>, bytes: Uint8Array, where: string): void {
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found === model.sha256) return;
  throw new ModelCorruptError(
    `${where} is not the model that its metadata describes: sha256 is ${found}, expected ${model.sha256}. ` +
      'Restore both files from the same training.',
  );
}

/** What of a model's features is not as here; empty where all is. */
export function featureDifferences(names: readonly string[], hash: string): readonly string[] {
  const here: readonly string[] = CARD_FEATURES.map((feature) => feature.name);
  const missing = names.filter((name) => !here.includes(name));
  const extra = here.filter((name) => !names.includes(name));
  const differences: string[] = [];
  if (missing.length > 0) differences.push(`the model needs, and this build lacks: ${missing.join(', ')}`);
  if (extra.length > 0) differences.push(`this build has, and the model lacks: ${extra.join(', ')}`);
  if (differences.length === 0 && names.length !== FEATURE_COUNT) {
    differences.push(`the model names ${names.length} features, this build ${FEATURE_COUNT}`);
  }
  const firstOff = names.findIndex((name, i) => name !== here[i]);
  if (differences.length === 0 && firstOff >= 0) {
    differences.push(`order: at place ${firstOff} the model has ${names[firstOff]}, this build ${here[firstOff]}`);
  }
  if (differences.length === 0 && hash !== featuresHash) {
    differences.push(
      `the names agree but a meaning changed: features hash ${hash.slice(0, 16)}…, this build ${featuresHash.slice(0, 16)}…`,
    );
  }
  return differences;
}

function isWellFormed(tree: {
  feature: number[];
  threshold: number[];
  left: number[];
  right: number[];
  margin: number[];
}): boolean {
  const { feature, threshold, left, right, margin } = tree;
  const count = feature.length;
  if ([threshold, left, right, margin].some((column) => column.length !== count)) return false;
  // Children after parents: every walk ends.
  return feature.every((f, i) => f === -1 || (left[i] > i && right[i] > i && left[i] < count && right[i] < count));
}
