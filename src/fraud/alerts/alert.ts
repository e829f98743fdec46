/**
 * Owns the alert: what analysts, the alerts topic and the database see. Its evidence is frozen when the alert is made:
 * everything needed to recompute it. Neighbours: `../rules` decides, `emit-alerts.ts` builds, `encode-alert.ts` writes
 * CloudEvents, the projector stores it.
 */
import type { Payment } from '../payments/payment.js';

export const DECISIONS = ['approve', 'review', 'decline'] as const;
/** What the rules say of a payment. `approve` makes no alert. */
export type Decision = (typeof DECISIONS)[number];

export const SEVERITIES = ['low', 'medium', 'high', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Type attribute of the CloudEvent; the schema version is part of it. */
export const ALERT_EVENT_TYPE = 'fraud.alert.v1';

export interface FiredRule {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  /** sha256 of the rule's canonical JSON, first 16 hex digits. */
  readonly hash: string;
  readonly decision: Decision;
  readonly severity: Severity;
  /** In plain words, with the values that made it fire. */
  readonly reason: string;
}

/** A payment that a pattern matched, as the card's state remembers it. */
export interface MatchedPayment {
  readonly occurredAt: number;
  readonly amountMinor: number;
  /** Where the payment lies in the source partition. In findings that are no evidence yet it may be unknown. */
  readonly sourceOffset: number;
}

/**
 * `evidence.source` where the place is not known: all payments of the card that led to a timer's alert came before the
 * card moved to another partition (a rescale).
 */
export const UNKNOWN_SOURCE = { topic: 'unknown', partition: 0, offset: 0 } as const;

/**
 * In evidence `matched` has the payments whose records are known, and `unplaced` counts the others: what a card did
 * before it moved to another partition (a rescale) cannot be pointed to any more.
 */
export type PatternFinding =
  | {
      readonly pattern: 'card-testing';
      readonly smallCount: number;
      readonly startedAt: number;
      readonly completed: boolean;
      readonly matched: readonly MatchedPayment[];
      readonly unplaced?: number;
    }
  | {
      readonly pattern: 'velocity-burst';
      readonly count: number;
      readonly windowMs: number;
      readonly matched: readonly MatchedPayment[];
      readonly unplaced?: number;
    }
  | {
      readonly pattern: 'impossible-travel';
      readonly distanceKm: number;
      readonly elapsedMs: number;
      /** Null where it cannot be told: no time between the two payments, or only their countries are known (then `distanceKm` is 0). */
      readonly speedKmh: number | null;
    };

export interface FeatureContribution {
  readonly feature: string;
  /** Null where the feature is not known. */
  readonly value: number | null;
  /** Change of the model's log-odds along the trees' paths (Saabas' method); positive speaks for fraud. */
  readonly contribution: number;
}

export interface AlertEvidence {
  /** The payment's record; for an alert that a timer raised, the record of the payment that set the timer last. */
  readonly source: {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    /** The log's own time of the record, ms since 1970. Null for an alert that a timer raised. */
    readonly timestamp: number | null;
  };
  /** The payment as received, validated fields only. Null for an alert that a timer raised. */
  readonly payment: Payment | null;
  /** The payment's event time was behind the watermark. */
  readonly late: boolean;
  readonly enrichment: {
    readonly merchantRisk: number;
    readonly source: 'lookup' | 'cache' | 'risk-table' | 'none';
    readonly asOf: number | null;
    readonly degraded: boolean;
  } | null;
  /** Model input by name; null where not known. Empty for an alert that a timer raised. */
  readonly features: Readonly<Record<string, number | null>>;
  readonly patterns: readonly PatternFinding[];
  readonly model: {
    readonly name: string;
    readonly sha256: string;
    readonly featuresHash: string;
    readonly topFeatures: readonly FeatureContribution[];
  } | null;
  readonly ruleSet: { readonly version: number; readonly hash: string };
  readonly pipelineVersion: string;
}

export interface Alert {
  /** Deterministic: from source topic, partition, offset and the deciding rule (I6). 32 hex digits. */
  readonly alertId: string;
  readonly cardId: string;
  /** Null for an alert that a timer raised. */
  readonly paymentId: string | null;
  readonly merchantId: string | null;
  readonly amountMinor: number | null;
  readonly currency: string | null;
  /** Event time of the payment, or the timer's due time. */
  readonly occurredAt: number;
  /** When the detector made it, ms since 1970. */
  readonly detectedAt: number;
  readonly decision: Exclude<Decision, 'approve'>;
  readonly severity: Severity;
  /** 0 to 1; null for an alert that a timer raised. */
  readonly score: number | null;
  /** Deciding rule first. */
  readonly rules: readonly FiredRule[];
  readonly evidence: AlertEvidence;
}
