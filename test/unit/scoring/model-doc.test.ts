import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { CARD_FEATURES } from '../../../src/fraud/features/feature-list.js';
import { parseModelMetadata, requireSameFeatures } from '../../../src/fraud/scoring/model-metadata.js';

const read = (path: string) => readFile(new URL(`../../../${path}`, import.meta.url), 'utf8');

it('the model’s page tells the features and figures of the model that ships', async () => {
  const page = await read('docs/MODEL.md');
  const model = parseModelMetadata(await read('models/card-risk/1/metadata.json'), 'metadata.json');
  requireSameFeatures(model);
  for (const { name, unit, doc } of CARD_FEATURES) expect(page).toContain(`| \`${name}\` | ${unit} | ${doc} |`);
  const { averagePrecision, cardPrecisionAt100, rocAuc } = model.metrics;
  const figures = [`**${averagePrecision.toFixed(3)}**`, `**${cardPrecisionAt100.toFixed(3)}**`, rocAuc.toFixed(3)];
  expect(page).toContain(`| **${model.name}/${model.version}** | ${figures.join(' | ')} |`);
});
