import { createHash } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openOnnxScorer } from '../../src/adapters/onnx/onnx-scorer.js';
import { FEATURE_COUNT, FEATURE_INDEX } from '../../src/fraud/features/feature-list.js';
import { alertModel } from '../../src/fraud/scoring/alert-model.js';
import { explain } from '../../src/fraud/scoring/explain.js';
import type { Scorer } from '../../src/fraud/scoring/scorer.js';
import { randomFeatures } from '../unit/scoring/random-features.js';

const MODEL = new URL('../../models/card-risk/1/', import.meta.url).pathname;

describe('the model that ships', () => {
  let scorer: Scorer;
  beforeAll(async () => {
    scorer = await openOnnxScorer(MODEL);
  });
  afterAll(() => scorer.close());

  it('scores as the trainer did', async () => {
    const { samples } = scorer.model;
    const into = new Float64Array(samples.length);
    await scorer.score(Float32Array.from(samples.flatMap((s) => s.features)), samples.length, into);
    for (const [i, sample] of samples.entries()) expect(into[i]).toBeCloseTo(sample.score, 5);
    expect(samples.at(-1)?.score).toBeGreaterThan(0.9);
  });

  it('gives a row the same score alone, in a batch, and in one too large for a single run', async () => {
    const rows = 5_000;
    const features = randomFeatures(rows, 1);
    const whole = new Float64Array(rows);
    await scorer.score(features, rows, whole);
    for (const row of [0, 1, 2_047, 2_048, 4_999]) {
      const alone = new Float64Array(1);
      await scorer.score(features.slice(row * FEATURE_COUNT, (row + 1) * FEATURE_COUNT), 1, alone);
      expect(whole[row]).toBe(alone[0]);
    }
    expect(new Set(whole).size).toBeGreaterThan(100);
  });

  it('leaves rows beyond the asked ones alone', async () => {
    const into = new Float64Array(3).fill(-1);
    await scorer.score(randomFeatures(3, 2), 2, into);
    expect(into[2]).toBe(-1);
  });

  it('never scores a payment lower for a riskier merchant', async () => {
    const rows = 200;
    const features = randomFeatures(rows, 4);
    const before = new Float64Array(rows).fill(0);
    const now = new Float64Array(rows);
    let rises = 0;
    for (const risk of [0, 0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 1]) {
      for (let row = 0; row < rows; row++) features[row * FEATURE_COUNT + FEATURE_INDEX.merchantRisk] = risk;
      await scorer.score(features, rows, now);
      for (let row = 0; row < rows; row++) expect(now[row]).toBeGreaterThanOrEqual(before[row] - 1e-6);
      rises += now.filter((score, row) => score > before[row] + 0.05).length;
      before.set(now);
    }
    expect(rises).toBeGreaterThan(10);
  });

  it('is explained by contributions that sum, with the bias, to the margin that ONNX gives', async () => {
    const rows = 500;
    const features = randomFeatures(rows, 3);
    const session = await InferenceSession.create(join(MODEL, 'model.onnx'));
    const { margin } = await session.run({ features: new Tensor('float32', features, [rows, FEATURE_COUNT]) }, [
      'margin',
    ]);
    await session.release();
    for (let row = 0; row < rows; row++) {
      const { bias, contributions } = explain(
        scorer.model,
        features.subarray(row * FEATURE_COUNT, (row + 1) * FEATURE_COUNT),
      );
      const sum = contributions.reduce((a, b) => a + b, bias);
      expect(sum).toBeCloseTo(Number(margin?.data[row]), 4);
    }
  });

  it('tells in an alert which features made a high score, strongest first', () => {
    const model = alertModel(scorer.model);
    const top = model.explain(Float32Array.from(scorer.model.samples.at(-1)?.features ?? []));
    expect(model.name).toBe('card-risk/1');
    expect(top).toHaveLength(5);
    expect(top[0]?.contribution).toBeGreaterThan(1);
    expect(top.map((f) => Math.abs(f.contribution))).toEqual(
      top.map((f) => Math.abs(f.contribution)).sort((a, b) => b - a),
    );
  });
});

describe('a model that does not fit is refused', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'model-'));
    await cp(MODEL, directory, { recursive: true });
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function change(edit: (metadata: Record<string, unknown>) => void): Promise<void> {
    const path = join(directory, 'metadata.json');
    const metadata = JSON.parse(await readFile(path, 'utf8'));
    edit(metadata);
    await writeFile(path, JSON.stringify(metadata));
  }

  it('for a feature that this build lacks, naming it', async () => {
    await change((m) => {
      m.featureNames = (m.featureNames as string[]).map((name) => (name === 'night' ? 'moonPhase' : name));
    });
    await expect(openOnnxScorer(directory)).rejects.toMatchObject({
      code: 'model-mismatch',
      message: expect.stringMatching(/this build lacks: moonPhase\n.*the model lacks: night/),
    });
  });

  it('for another model file than its metadata describes', async () => {
    const path = join(directory, 'model.onnx');
    const bytes = await readFile(path);
    bytes[bytes.length >> 1] ^= 1;
    await writeFile(path, bytes);
    await expect(openOnnxScorer(directory)).rejects.toMatchObject({
      code: 'model-corrupt',
      message: expect.stringContaining('sha256 is'),
    });
  });

  it('for a file that is no ONNX model, even where its hash is right', async () => {
    const bytes = Buffer.from('not a model');
    await writeFile(join(directory, 'model.onnx'), bytes);
    await change((m) => {
      m.sha256 = createHash('sha256').update(bytes).digest('hex');
    });
    await expect(openOnnxScorer(directory)).rejects.toMatchObject({
      code: 'model-corrupt',
      message: expect.stringContaining('ONNX Runtime'),
    });
  });

  it('for scores other than in training', async () => {
    await change((m) => {
      (m.samples as { score: number }[])[0].score = 0.5;
    });
    await expect(openOnnxScorer(directory)).rejects.toMatchObject({ message: expect.stringContaining('sample 0') });
  });

  it('for a missing file', async () => {
    await rm(join(directory, 'model.onnx'));
    await expect(openOnnxScorer(directory)).rejects.toMatchObject({ code: 'model-corrupt' });
  });
});
