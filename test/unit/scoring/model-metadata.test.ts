import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { CARD_FEATURES, featuresHash } from '../../../src/fraud/features/feature-list.js';
import { featureDifferences, parseModelMetadata } from '../../../src/fraud/scoring/model-metadata.js';

const names = CARD_FEATURES.map((feature) => feature.name as string);
const metadataFile = new URL('../../../models/card-risk/1/metadata.json', import.meta.url);

describe('differences between a model’s features and this build’s', () => {
  it('are none for the same names, order and hash', () => {
    expect(featureDifferences(names, featuresHash)).toEqual([]);
  });

  it('name what is missing on either side', () => {
    const differences = featureDifferences([...names.slice(1), 'moonPhase'], featuresHash);
    expect(differences).toEqual([
      'the model needs, and this build lacks: moonPhase',
      'this build has, and the model lacks: amountMinor',
    ]);
  });

  it('name the first place that is out of order', () => {
    expect(featureDifferences([names[1] ?? '', names[0] ?? '', ...names.slice(2)], featuresHash)).toEqual([
      'order: at place 0 the model has hourOfDay, this build amountMinor',
    ]);
  });

  it('see a name given twice', () => {
    expect(featureDifferences([...names, 'night'], featuresHash)).toHaveLength(1);
  });

  it('see a meaning that changed under the same names', () => {
    expect(featureDifferences(names, '0'.repeat(64))[0]).toMatch(/meaning changed/);
  });
});

describe('a model’s metadata', () => {
  const refused = async (edit: (metadata: { trees: { left: number[]; feature: number[] }[] }) => void) => {
    const metadata = JSON.parse(await readFile(metadataFile, 'utf8'));
    edit(metadata);
    return () => parseModelMetadata(JSON.stringify(metadata), 'metadata.json');
  };

  it('is read where it is whole', async () => {
    expect((await refused(() => {}))().name).toBe('card-risk');
  });

  it('is refused where a tree would be walked in circles', async () => {
    const parse = await refused((m) => {
      m.trees[0].left[1] = 0;
    });
    expect(parse).toThrow(expect.objectContaining({ code: 'model-corrupt' }));
  });

  it('is refused where a tree asks for a feature that isn’t there', async () => {
    const parse = await refused((m) => {
      m.trees[0].feature[0] = 99;
    });
    expect(parse).toThrow(/beyond featureNames/);
  });

  it('is refused, with the file’s name, where it is no JSON', () => {
    expect(() => parseModelMetadata('{', 'models/x/metadata.json')).toThrow(/models\/x\/metadata.json is not JSON/);
  });
});
