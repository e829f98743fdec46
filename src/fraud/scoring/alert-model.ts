/** Owns what an alert tells of the model that scored it. Neighbours: `../alerts/build-alert.ts` asks, `explain.ts` answers. */
import type { AlertModel } from '../alerts/build-alert.js';
import { topFeatures } from './explain.js';
import type { ModelFacts } from './model-metadata.js';

/** The model as alerts name it: `<name>/<version>`. */
export function alertModel(model: ModelFacts): AlertModel {
  return {
    name: `${model.name}/${model.version}`,
    sha256: model.sha256,
    featuresHash: model.featuresHash,
    featureNames: model.featureNames,
    explain: (row) => topFeatures(model, row),
  };
}
