/**
 * Owns the alert's form at its borders: one schema that `decodeAlert` checks, that `schemas/alert.schema.json` and the
 * API's OpenAPI document are made from. Neighbours: `alert.ts` owns the types; the compiler holds both together.
 */
import { z } from 'zod';
import { CHANNELS, PAYMENT_STATUSES, type Payment } from '../payments/payment.js';
import { type Alert, DECISIONS, type FiredRule, type PatternFinding, SEVERITIES } from './alert.js';

/** Names the schema of the alert. It changes only together with the event's type: when a reader of v1 would break. */
export const ALERT_SCHEMA_URN = 'urn:fraud-detection:schema:alert:v1';

const ms = (what: string) => z.int().meta({ description: `${what}, ms since 1970` });
const share = (what: string) =>
  z
    .number()
    .min(0)
    .max(1)
    .meta({ description: `${what}, 0 to 1` });
const hex = (digits: number, what: string) =>
  z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${digits}}$`))
    .meta({ description: `${what}, ${digits} hex digits` });
const amountMinor = z.int().min(0).meta({ description: 'In minor units of the currency (cents)' });
const currency = z
  .string()
  .regex(/^[A-Z]{3}$/)
  .meta({ description: 'ISO 4217' });
const id = (what: string) => z.string().min(1).max(64).meta({ description: what });

const decision = z.enum(DECISIONS);
const severity = z.enum(SEVERITIES);

export const paymentSchema = z
  .object({
    paymentId: id("The payment's id"),
    cardId: id("The card's token, never its number"),
    merchantId: id("The merchant's id"),
    amountMinor,
    currency,
    occurredAt: ms('Event time'),
    country: z.exactOptional(z.string().regex(/^[A-Z]{2}$/)).meta({ description: 'ISO 3166-1 alpha-2' }),
    mcc: z.exactOptional(z.string().regex(/^[0-9]{4}$/)).meta({ description: 'ISO 18245' }),
    channel: z.exactOptional(z.enum(CHANNELS)),
    status: z.exactOptional(z.enum(PAYMENT_STATUSES)),
    deviceId: z.exactOptional(z.string()),
    ip: z.exactOptional(z.string()),
    latitude: z.exactOptional(z.number().min(-90).max(90)),
    longitude: z.exactOptional(z.number().min(-180).max(180)),
  })
  .meta({ id: 'Payment', description: 'A card payment as received' });

export const firedRuleSchema: z.ZodType<FiredRule> = z
  .object({
    id: z.string(),
    name: z.string(),
    version: z.int().min(1),
    hash: hex(16, "sha256 of the rule's canonical JSON"),
    decision,
    severity,
    reason: z.string().meta({ description: 'Why it fired, in plain words with the values' }),
  })
  .meta({ id: 'FiredRule' });

const unplaced = z.exactOptional(z.int().min(1)).meta({
  description:
    'Payments matched beside those, whose places in the log are not known any more: the card has moved to another partition since',
});

const matched = z.array(
  z
    .object({ occurredAt: ms('Event time'), amountMinor, sourceOffset: z.int().min(0) })
    .meta({ id: 'MatchedPayment', description: "A payment that a pattern matched, from the card's state" }),
);

export const patternFindingSchema: z.ZodType<PatternFinding> = z
  .discriminatedUnion('pattern', [
    z.object({
      pattern: z.literal('card-testing'),
      smallCount: z.int().min(0),
      startedAt: ms('Event time of the first small payment'),
      completed: z.boolean().meta({ description: 'A large payment followed' }),
      matched,
      unplaced,
    }),
    z.object({
      pattern: z.literal('velocity-burst'),
      count: z.int().min(0),
      windowMs: z.number().min(0),
      matched,
      unplaced,
    }),
    z.object({
      pattern: z.literal('impossible-travel'),
      distanceKm: z.number().min(0),
      elapsedMs: z.number(),
      speedKmh: z
        .number()
        .nullable()
        .meta({ description: 'Null where it cannot be told: no time between the payments, or only countries known' }),
    }),
  ])
  .meta({ id: 'PatternFinding' });

const contribution = z
  .object({
    feature: z.string(),
    value: z.number().nullable(),
    contribution: z.number().meta({ description: "Change of the model's log-odds; positive speaks for fraud" }),
  })
  .meta({ id: 'FeatureContribution' });

export const alertEvidenceSchema = z
  .object({
    source: z
      .object({
        topic: z.string(),
        partition: z.int().min(0),
        offset: z.int().min(0),
        timestamp: ms('Time of the record in the log; null for an alert that a timer raised').nullable(),
      })
      .meta({ description: 'The record that it was made from' }),
    payment: paymentSchema.nullable(),
    late: z.boolean().meta({ description: 'Event time was behind the watermark' }),
    enrichment: z
      .object({
        merchantRisk: share("The merchant's risk"),
        source: z.enum(['lookup', 'cache', 'risk-table', 'none']),
        asOf: ms('When the risk held').nullable(),
        degraded: z.boolean().meta({ description: 'The lookup failed and a fallback stood in' }),
      })
      .nullable(),
    features: z.record(z.string(), z.number().nullable()).meta({ description: 'Model input by name; null: not known' }),
    patterns: z.array(patternFindingSchema),
    model: z
      .object({
        name: z.string(),
        sha256: z.string(),
        featuresHash: z.string(),
        topFeatures: z.array(contribution),
      })
      .nullable(),
    ruleSet: z.object({ version: z.int().min(1), hash: hex(16, "sha256 of the rule set's canonical JSON") }),
    pipelineVersion: z.string(),
  })
  .meta({ id: 'AlertEvidence', description: 'Everything needed to recompute the alert, frozen when it was made' });

/** An alert without its evidence: what lists show. */
export const alertHeadShape = {
  alertId: hex(32, 'Deterministic id'),
  cardId: id("The card's token"),
  paymentId: id('Null for an alert that a timer raised').nullable(),
  merchantId: id('Null for an alert that a timer raised').nullable(),
  amountMinor: amountMinor.nullable(),
  currency: currency.nullable(),
  occurredAt: ms("Event time of the payment, or the timer's due time"),
  detectedAt: ms('When the detector made the alert'),
  decision: z.enum(['review', 'decline']),
  severity,
  score: share("The model's score; null for an alert that a timer raised").nullable(),
  rules: z.array(firedRuleSchema).min(1).meta({ description: 'Deciding rule first' }),
};

export const alertSchema = z.object({ ...alertHeadShape, evidence: alertEvidenceSchema }).meta({
  id: 'Alert',
  title: 'Fraud alert',
  description: 'A payment or card to review or decline, with its evidence',
});

type Unbranded<T> = T extends string
  ? string
  : T extends readonly (infer E)[]
    ? readonly Unbranded<E>[]
    : T extends object
      ? { readonly [K in keyof T]: Unbranded<T[K]> }
      : T;
type Same<A, B> = [A, B] extends [B, A] ? true : false;
// The schema and the types must say the same (ids' brands aside): this fails to compile where they part.
const _sameAlert: Same<Unbranded<z.infer<typeof alertSchema>>, Unbranded<Alert>> = true;
const _samePayment: Same<Unbranded<z.infer<typeof paymentSchema>>, Unbranded<Payment>> = true;
void _sameAlert;
void _samePayment;

/** JSON Schema (2020-12) of the alert, as `schemas/alert.schema.json` holds it. Further fields are allowed: readers ignore them. */
export function alertJsonSchema(): Record<string, unknown> {
  return {
    $id: ALERT_SCHEMA_URN,
    ...z.toJSONSchema(alertSchema, { target: 'draft-2020-12', io: 'input' }),
  };
}
