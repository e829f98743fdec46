/**
 * Owns the tables as TypeORM sees them. `migrations/` makes the tables; nothing is ever synchronised from here.
 * Neighbours: `alert-projection.ts` writes through them. What reads, and the columns that work on an alert changes, is
 * plain SQL: `alert-rows.ts`.
 */
import { EntitySchema, type ValueTransformer } from 'typeorm';
import type { Alert } from '../../fraud/alerts/alert.js';
import type { AlertState } from '../../fraud/cases/stored-alert.js';

/** bigint comes as text; all of ours are whole numbers below 2^53. */
const wholeNumber: ValueTransformer = {
  to: (value: number | null) => value,
  from: (value: string | null) => (value === null ? null : Number(value)),
};

/** timestamptz(3) and ms since 1970. */
const milliseconds: ValueTransformer = {
  to: (value: number | undefined) => (value === undefined ? undefined : new Date(value)),
  from: (value: Date) => value.getTime(),
};

/** A stored alert. Times in ms since 1970. */
export interface AlertRow {
  alertId: string;
  cardId: string;
  paymentId: string | null;
  merchantId: string | null;
  amountMinor: number | null;
  currency: string | null;
  occurredAt: number;
  detectedAt: number;
  decision: Alert['decision'];
  severity: Alert['severity'];
  score: number | null;
  /** The deciding rule's id. */
  ruleId: string;
  rules: Alert['rules'];
  evidence: Alert['evidence'];
  state: AlertState;
  storedAt: number;
}

export const AlertEntity = new EntitySchema<AlertRow>({
  name: 'alert',
  tableName: 'alerts',
  columns: {
    alertId: { name: 'alert_id', type: 'text', primary: true },
    cardId: { name: 'card_id', type: 'text' },
    paymentId: { name: 'payment_id', type: 'text', nullable: true },
    merchantId: { name: 'merchant_id', type: 'text', nullable: true },
    amountMinor: { name: 'amount_minor', type: 'bigint', nullable: true, transformer: wholeNumber },
    currency: { type: 'text', nullable: true },
    occurredAt: { name: 'occurred_at', type: 'timestamptz', transformer: milliseconds },
    detectedAt: { name: 'detected_at', type: 'timestamptz', transformer: milliseconds },
    decision: { type: 'text' },
    severity: { type: 'text' },
    score: { type: 'double precision', nullable: true },
    ruleId: { name: 'rule_id', type: 'text' },
    rules: { type: 'jsonb' },
    /** Left out of lists: it is most of an alert's bytes. */
    evidence: { type: 'jsonb', select: false },
    state: { type: 'text', default: 'open' },
    storedAt: { name: 'stored_at', type: 'timestamptz', default: () => 'now()', transformer: milliseconds },
  },
});

/** How far a partition has been projected. */
export interface OffsetRow {
  topic: string;
  partition: number;
  nextOffset: number;
}

export const OffsetEntity = new EntitySchema<OffsetRow>({
  name: 'projector_offset',
  tableName: 'projector_offsets',
  columns: {
    topic: { type: 'text', primary: true },
    partition: { name: 'partition_id', type: 'integer', primary: true },
    nextOffset: { name: 'next_offset', type: 'bigint', transformer: wholeNumber },
  },
});

/** A record of the alerts topic that could not be stored as an alert. */
export interface RejectRow {
  topic: string;
  partition: number;
  offset: number;
  reason: string;
  value: Buffer | null;
}

export const RejectEntity = new EntitySchema<RejectRow>({
  name: 'projector_reject',
  tableName: 'projector_rejects',
  columns: {
    topic: { type: 'text', primary: true },
    partition: { name: 'partition_id', type: 'integer', primary: true },
    offset: { name: 'record_offset', type: 'bigint', primary: true, transformer: wholeNumber },
    reason: { type: 'text' },
    value: { name: 'record_value', type: 'bytea', nullable: true },
  },
});
