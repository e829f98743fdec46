/**
 * Owns the label: what an analyst found an alert to be, as the labels topic carries it (JSON, keyed by card). One schema
 * is the type, the check and `schemas/label.schema.json`. Neighbours: `../cases/alert-work.ts` says when there is one,
 * the outbox carries it. A label is never changed: a later disposition of the alert is a new one that supersedes it.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ALL_REASON_CODES, DISPOSITIONS } from './disposition.js';

const id = (what: string) => z.string().min(1).max(64).meta({ description: what });
const hex32 = (what: string) =>
  z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .meta({ description: what });
const ms = (what: string) => z.int().meta({ description: `${what}, ms since 1970` });

export const labelSchema = z
  .object({
    labelId: hex32("Deterministic: from the alert's id and the revision that the disposition made"),
    alertId: hex32('The alert that was looked at'),
    paymentId: id('Null for an alert that a timer raised').nullable(),
    cardId: id("The card's token"),
    merchantId: id('Null for an alert that a timer raised').nullable(),
    occurredAt: ms("Event time of the payment, or the timer's due time"),
    label: z.enum(DISPOSITIONS).meta({ description: 'What the analyst found' }),
    reasonCode: z.enum(ALL_REASON_CODES).meta({ description: 'Why; each belongs to one of the labels' }),
    decidedBy: z.string().min(1).meta({ description: 'Id of the person or key that decided' }),
    decidedAt: ms('When it was decided'),
    supersedes: z
      .exactOptional(hex32('The label of the same alert that this one replaces'))
      .meta({ description: 'The label of the same alert that this one replaces; missing on the first' }),
  })
  .meta({ id: 'Label', title: 'Fraud label', description: 'What an analyst found an alert to be' });

export type Label = z.infer<typeof labelSchema>;

/** sha256 over the alert's id and the revision of the disposition, first 32 hex digits. */
export function labelId(alertId: string, revision: number): string {
  return createHash('sha256').update(`${alertId}.${revision}`).digest('hex').slice(0, 32);
}

/** JSON Schema (2020-12) of the label, as `schemas/label.schema.json` holds it. Readers ignore fields they don't know. */
export function labelJsonSchema(): Record<string, unknown> {
  return {
    $id: 'urn:fraud-detection:schema:label:v1',
    ...z.toJSONSchema(labelSchema, { target: 'draft-2020-12', io: 'input' }),
  };
}
