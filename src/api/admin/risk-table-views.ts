/** Owns the forms of the risk table over HTTP: what may be asked and given, and what is answered. */
import { z } from 'zod';
import { LONGEST_NOTE } from '../../fraud/enrichment/risk-rows.js';
import { pageOf, pageShape } from '../paging.js';
import { line, queryId } from '../validation.js';

export const ROWS_LIMIT = { default: 100, most: 500 } as const;

const risk = z.number().min(0).max(1).meta({ description: '0 (none) to 1' });

export const riskQuerySchema = z.strictObject({
  merchantIdPrefix: z.exactOptional(queryId("What the merchant's id begins with")),
  ...pageShape(ROWS_LIMIT),
});
export type RiskQuery = z.infer<typeof riskQuerySchema>;

export const riskValuesSchema = z
  .strictObject({
    risk,
    note: z.exactOptional(line(LONGEST_NOTE, 0).nullable()).meta({ description: 'Why; for people alone' }),
  })
  .meta({ id: 'RiskValues' });
export type RiskValuesBody = z.infer<typeof riskValuesSchema>;

export const riskRowSchema = z
  .object({
    merchantId: z.string(),
    risk,
    note: z.string().nullable(),
    revision: z.int().min(1).meta({ description: 'The number in the ETag' }),
    updatedAt: z.int().meta({ description: 'ms since 1970; the `asOf` that alerts show' }),
    updatedBy: z.object({ id: z.string(), name: z.string() }),
  })
  .meta({ id: 'RiskRow', description: "A merchant's risk, which stands in where a lookup fails" });

export const riskPageSchema = pageOf(riskRowSchema).meta({
  id: 'RiskRowPage',
  description: "Rows in the order of their merchants' ids",
});

export const uploadQuerySchema = z.strictObject({
  dryRun: z
    .exactOptional(z.enum(['true', 'false']))
    .meta({ description: 'true checks the file and tells what it would do, and does nothing' }),
});
export type UploadQuery = z.infer<typeof uploadQuerySchema>;

export const uploadAnswerSchema = z
  .object({
    rows: z.int().min(1),
    created: z.int().min(0).meta({ description: 'Rows that were new' }),
    updated: z.int().min(0).meta({ description: 'Rows that were there before' }),
    applied: z.boolean().meta({ description: 'false for a dry run' }),
  })
  .meta({ id: 'RiskUploadAnswer', description: 'What an upload did, or would do' });
