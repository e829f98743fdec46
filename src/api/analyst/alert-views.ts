/** Owns the forms of alerts over HTTP: what may be asked, and what is answered. Neighbours: the controllers here. */
import { z } from 'zod';
import { DECISIONS, SEVERITIES } from '../../fraud/alerts/alert.js';
import { alertEvidenceSchema, alertHeadShape } from '../../fraud/alerts/alert-schema.js';
import {
  ALERT_SORTS,
  ALERT_STATES,
  type AlertFilter,
  type AlertOrder,
  CARD_ALERTS_LIMIT,
  HISTORY_LIMIT,
  WORK_ACTIONS,
} from '../../fraud/cases/stored-alert.js';
import { ALL_REASON_CODES, DISPOSITIONS } from '../../fraud/labels/disposition.js';
import { pageOf, pageShape } from '../paging.js';
import { line, queryId, queryNumber, requireRange } from '../validation.js';

/** The end of the year 9999, ms since 1970. */
const LAST_TIME = 253_402_300_799_999;
export const queryTime = (description: string) =>
  z.exactOptional(queryNumber(z.int().min(0).max(LAST_TIME))).meta({ description });
const queryScore = (description: string) =>
  z.exactOptional(queryNumber(z.number().min(0).max(1))).meta({ description });
const queryAmount = (description: string) =>
  z.exactOptional(queryNumber(z.int().min(0).max(Number.MAX_SAFE_INTEGER))).meta({ description });

/** An actor's id, such as the subject of a token. */
export const actorId = line(255);

/** What a stream can be narrowed by. */
export const feedFilterShape = {
  decision: z.exactOptional(z.enum(DECISIONS).exclude(['approve'])),
  severity: z.exactOptional(z.enum(SEVERITIES)),
  ruleId: z.exactOptional(queryId("The deciding rule's id")),
  minScore: queryScore('Lowest score, 0 to 1; leaves out alerts without a score'),
};

const filterShape = {
  state: z
    .exactOptional(z.enum(ALERT_STATES))
    .meta({ description: 'Open until somebody is assigned, closed by a disposition' }),
  ...feedFilterShape,
  maxScore: queryScore('Highest score, 0 to 1; leaves out alerts without a score'),
  cardId: z.exactOptional(queryId("The card's token")),
  merchantId: z.exactOptional(queryId("The merchant's id")),
  minAmountMinor: queryAmount('Lowest amount in minor units, whatever the currency; leaves out alerts without one'),
  maxAmountMinor: queryAmount('Highest amount in minor units, whatever the currency; leaves out alerts without one'),
  currency: z
    .exactOptional(z.string().regex(/^[A-Z]{3}$/, 'must be three capital letters'))
    .meta({ description: 'ISO 4217' }),
  from: queryTime('Earliest `detectedAt`, ms since 1970, inclusive; before `to`'),
  to: queryTime('Latest `detectedAt`, ms since 1970, exclusive'),
  assignee: z.exactOptional(actorId).meta({ description: "Who works on it: an actor's id, `me`, or `none`" }),
  disposition: z
    .exactOptional(z.enum([...DISPOSITIONS, 'none']))
    .meta({ description: 'What it was found to be, or `none`' }),
};

const orderShape = {
  sort: z
    .exactOptional(z.enum(ALERT_SORTS))
    .meta({ description: 'What has no score or amount counts as less than everything', default: 'detectedAt' }),
  order: z.exactOptional(z.enum(['asc', 'desc'])).meta({ default: 'desc' }),
};

export const exportQuerySchema = z.strictObject({ ...filterShape, ...orderShape });
export type ExportQuery = z.infer<typeof exportQuerySchema>;

export const alertQuerySchema = z.strictObject({
  ...filterShape,
  ...orderShape,
  ...pageShape(),
});
export type AlertQuery = z.infer<typeof alertQuerySchema>;

/** What a query asks for, in the name of the one who asks. Errors: `request-invalid` where `from` is not before `to`. */
export function filterAndOrder(
  { sort = 'detectedAt', order = 'desc', assignee, disposition, ...rest }: ExportQuery,
  actorId: string,
): { readonly filter: AlertFilter; readonly order: AlertOrder } {
  requireRange(rest.from, rest.to);
  const filter: AlertFilter = {
    ...rest,
    ...(assignee === undefined ? {} : { assignee: named(assignee, actorId) }),
    ...(disposition === undefined ? {} : { disposition: disposition === 'none' ? null : disposition }),
  };
  return { filter, order: { by: sort, descending: order === 'desc' } };
}

function named(assignee: string, actorId: string): string | null {
  if (assignee === 'none') return null;
  return assignee === 'me' ? actorId : assignee;
}

const workShape = {
  state: z.enum(ALERT_STATES),
  revision: z.int().min(1).meta({ description: 'Rises with every piece of work; its ETag is this number in quotes' }),
  assignee: z.string().nullable().meta({ description: 'Id of the actor who works on it' }),
  disposition: z.enum(DISPOSITIONS).nullable().meta({ description: 'What it was found to be' }),
  reasonCode: z.enum(ALL_REASON_CODES).nullable().meta({ description: 'Why' }),
  storedAt: z.int().meta({ description: 'When it was stored, ms since 1970' }),
};

export const alertHeadSchema = z
  .object({ ...alertHeadShape, ...workShape })
  .meta({ id: 'AlertHead', description: 'An alert without evidence' });

export const alertPageSchema = pageOf(alertHeadSchema).meta({
  id: 'AlertPage',
  description: 'Alerts in the order asked for',
});

const workEntrySchema = z
  .object({
    revision: z.int().min(2).meta({ description: 'The revision that it made' }),
    at: z.int().meta({ description: 'ms since 1970' }),
    by: z.object({ id: z.string(), name: z.string() }),
    action: z.enum(WORK_ACTIONS),
    assignee: z.string().nullable().meta({ description: 'Who is assigned after it' }),
    disposition: z.enum(DISPOSITIONS).nullable(),
    reasonCode: z.enum(ALL_REASON_CODES).nullable(),
    note: z.string().nullable(),
  })
  .meta({ id: 'WorkEntry', description: 'One piece of work on an alert' });

export const storedAlertSchema = z
  .object({
    ...alertHeadShape,
    ...workShape,
    evidence: alertEvidenceSchema,
    notes: z
      .array(z.object({ at: z.int(), by: z.object({ id: z.string(), name: z.string() }), text: z.string() }))
      .meta({ description: 'What people wrote, newest first; part of the history' }),
    history: z
      .array(workEntrySchema)
      .meta({ description: `All work on it, newest first, at most ${HISTORY_LIMIT} entries` }),
    cardAlerts: z
      .array(alertHeadSchema)
      .meta({ description: `The card's newest other alerts, at most ${CARD_ALERTS_LIMIT}` }),
  })
  .meta({ id: 'StoredAlert', description: 'An alert with its whole evidence and the work on it' });
