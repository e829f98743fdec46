/** Owns the forms of alerts over HTTP: what may be asked, and what is answered. Neighbours: `alerts.controller.ts`. */
import { z } from 'zod';
import { DECISIONS, SEVERITIES } from '../../fraud/alerts/alert.js';
import { alertEvidenceSchema, alertHeadShape } from '../../fraud/alerts/alert-schema.js';
import { ALERT_STATES } from '../../fraud/cases/stored-alert.js';
import { queryId, queryNumber } from '../validation.js';

export const ALERTS_LIMIT = { default: 50, most: 200 } as const;

const time = (description: string) =>
  z.exactOptional(queryNumber(z.int().min(0).max(8_640_000_000_000_000))).meta({ description });

export const alertQuerySchema = z.strictObject({
  state: z.exactOptional(z.enum(ALERT_STATES)).meta({ description: 'Open until an analyst has disposed of it' }),
  decision: z.exactOptional(z.enum(DECISIONS).exclude(['approve'])),
  severity: z.exactOptional(z.enum(SEVERITIES)),
  cardId: z.exactOptional(queryId("The card's token")),
  merchantId: z.exactOptional(queryId("The merchant's id")),
  ruleId: z.exactOptional(queryId("The deciding rule's id")),
  minScore: z
    .exactOptional(queryNumber(z.number().min(0).max(1)))
    .meta({ description: 'Lowest score, 0 to 1; leaves out alerts without a score' }),
  from: time('Earliest `detectedAt`, ms since 1970, inclusive'),
  to: time('Latest `detectedAt`, ms since 1970, exclusive'),
  limit: z
    .exactOptional(queryNumber(z.int().min(1).max(ALERTS_LIMIT.most)))
    .meta({ description: 'Alerts a page', default: ALERTS_LIMIT.default }),
  cursor: z
    .exactOptional(z.string().min(1).max(128))
    .meta({ description: 'The `next` of the page before; keep the other parameters as they were' }),
});
export type AlertQuery = z.infer<typeof alertQuerySchema>;

const storedShape = {
  state: z.enum(ALERT_STATES),
  storedAt: z.int().meta({ description: 'When it was stored, ms since 1970' }),
};

export const alertPageSchema = z
  .object({
    items: z.array(
      z
        .object({ ...alertHeadShape, ...storedShape })
        .meta({ id: 'AlertHead', description: 'An alert without evidence' }),
    ),
    next: z.string().nullable().meta({ description: 'Cursor of the next page; null on the last one' }),
  })
  .meta({ id: 'AlertPage', description: 'Alerts, newest first' });

export const storedAlertSchema = z
  .object({ ...alertHeadShape, ...storedShape, evidence: alertEvidenceSchema })
  .meta({ id: 'StoredAlert', description: 'An alert with its whole evidence' });
