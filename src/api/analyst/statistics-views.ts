/** Owns the forms of figures about alerts over HTTP. Neighbours: `alert-statistics.controller.ts`. */
import { z } from 'zod';
import { queryId } from '../validation.js';
import { queryTime } from './alert-views.js';

export const statisticsQuerySchema = z.strictObject({
  from: queryTime('Begin, ms since 1970, before `to`, taken back to the full hour; 24 h before `to` where left out'),
  to: queryTime('End, ms since 1970, taken on to the full hour; now where left out'),
  ruleId: z.exactOptional(queryId("The deciding rule's id")),
});
export type StatisticsQuery = z.infer<typeof statisticsQuerySchema>;

const count = z.int().min(0);
const numbersShape = {
  alerts: count,
  review: count,
  decline: count,
  fraud: count,
  legitimate: count,
  inconclusive: count,
  undecided: count.meta({ description: 'Without a disposition' }),
};

export const statisticsSchema = z
  .object({
    from: z.int().meta({ description: 'ms since 1970, inclusive' }),
    to: z.int().meta({ description: 'ms since 1970, exclusive' }),
    rules: z.array(
      z.object({
        ruleId: z.string().meta({ description: 'The deciding rule' }),
        ...numbersShape,
        falsePositiveShare: z
          .number()
          .min(0)
          .max(1)
          .nullable()
          .meta({ description: 'legitimate / (fraud + legitimate); null where neither was found' }),
        hours: z.array(
          z.object({ hour: z.int().meta({ description: 'When it began, ms since 1970' }), ...numbersShape }),
        ),
      }),
    ),
  })
  .meta({ id: 'AlertStatistics', description: 'Alerts by deciding rule and hour of `detectedAt`' });
