/** Owns the forms of the pattern parameters over HTTP. Neighbour: `pattern-parameters.controller.ts`. */
import { z } from 'zod';
import { patternParametersSchema } from '../../fraud/patterns/pattern-parameters.js';
import type { PatternDetail, StoredPatterns } from '../../fraud/rules/rule-book-store.js';
import { pageOf } from '../paging.js';
import { doneBySchema, hashSchema, timeSchema, viewDoneBy } from './rules-views.js';

/**
 * The whole of the parameters: where settings have defaults for what is left out, a change that left something out
 * would set it back without saying so.
 */
export const patternBodySchema = z
  .custom<Record<string, unknown>>()
  .superRefine((body, context) => {
    for (const [group, fields] of Object.entries(FIELDS)) {
      const given = body?.[group];
      const missing = fields.filter((field) => typeof given !== 'object' || given === null || !(field in given));
      if (missing.length > 0) {
        context.addIssue({ code: 'custom', path: [group], message: `${missing.join(', ')} must be given, too` });
      }
    }
  })
  .pipe(patternParametersSchema);

const { cardTesting, velocityBurst, impossibleTravel } = patternParametersSchema.shape;
const FIELDS = {
  cardTesting: Object.keys(cardTesting.unwrap().shape),
  velocityBurst: Object.keys(velocityBurst.unwrap().shape),
  impossibleTravel: Object.keys(impossibleTravel.unwrap().shape),
};

const versionShape = {
  version: z.int(),
  hash: hashSchema,
  author: doneBySchema,
  createdAt: timeSchema,
  parameters: patternParametersSchema,
};
const versionSchema = z.object(versionShape).meta({ id: 'PatternVersion', description: 'A version; it never changes' });
export type PatternVersionView = z.infer<typeof versionSchema>;

export const patternPageSchema = pageOf(versionSchema).meta({ id: 'PatternVersionPage', description: 'Newest first' });

export const patternsSchema = z
  .object({
    revision: z.int().meta({ description: 'Rises with every change; the ETag' }),
    live: versionSchema,
    newest: versionSchema,
  })
  .meta({ id: 'PatternParameters', description: 'Parameters of the built-in patterns' });
export type PatternsView = z.infer<typeof patternsSchema>;

export function viewPatternVersion(stored: StoredPatterns): PatternVersionView {
  const { version, hash, author, createdAt, parameters } = stored;
  return { version, hash, author: viewDoneBy(author), createdAt, parameters };
}

export function viewPatterns({ entry, live, newest }: PatternDetail): PatternsView {
  return { revision: entry.revision, live: viewPatternVersion(live), newest: viewPatternVersion(newest) };
}
