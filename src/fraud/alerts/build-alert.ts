/**
 * Owns making an alert with its frozen evidence from a row of a batch, or from a card-testing sequence that a timer
 * ended. Neighbours: `../rules` decided, `emit-alerts.ts` calls this, `encode-alert.ts` writes the result.
 * Slow by design (it parses the payment again): for rows that are not approved alone.
 */
import { StreamError } from '../../stream/errors.js';
import { UNKNOWN_OFFSET } from '../cards/state.js';
import type { Payment } from '../payments/payment.js';
import { type PaymentBatch, RISK_SOURCE } from '../payments/payment-batch.js';
import type { CompiledRule, CompiledRuleSet } from '../rules/compile-rules.js';
import { describePattern, type ReasonSubject, reasonOf } from '../rules/reasons.js';
import {
  type Alert,
  type AlertEvidence,
  type FeatureContribution,
  type FiredRule,
  type PatternFinding,
  UNKNOWN_SOURCE,
} from './alert.js';
import { alertId } from './alert-id.js';

/** The model whose scores the batches carry. */
export interface AlertModel {
  readonly name: string;
  readonly sha256: string;
  readonly featuresHash: string;
  /** In the order of the model's input. */
  readonly featureNames: readonly string[];
  /** The features that moved this score most, first the most telling. The row is a view, valid during the call. */
  explain(features: Float32Array): readonly FeatureContribution[];
}

export interface AlertParts {
  readonly pipelineVersion: string;
  /** Null where payments are not scored. */
  readonly model: AlertModel | null;
  /** Reads a payment that has been decoded once already. */
  parsePayment(bytes: Buffer): Payment;
}

export interface SourcePartition {
  readonly topic: string;
  readonly partition: number;
}

/** The alert for a row that `rules.evaluate` has just decided to review or decline. */
export function paymentAlert(
  parts: AlertParts,
  source: SourcePartition,
  rules: CompiledRuleSet,
  batch: PaymentBatch,
  row: number,
  detectedAt: number,
): Alert {
  const record = batch.recordIndex[row];
  const offset = batch.records.offset[record];
  const bytes = batch.records.value(record);
  if (bytes === null) throw impossible(source, offset, 'has no value to take evidence from');
  const payment = parts.parsePayment(bytes);
  const patterns = (batch.matches.get(row) ?? []).map(withoutInfinity);
  const fired = rules.firedAt(row);
  const { amountMinor, currency } = payment;
  const subject: ReasonSubject = { values: rules.valuesAt(batch, row), amountMinor, currency, patterns };
  const deciding = decidingRule(fired, source, offset);
  return {
    alertId: alertId({ ...source, offset }, deciding.rule.id),
    cardId: batch.cardId(row),
    paymentId: payment.paymentId,
    merchantId: payment.merchantId,
    amountMinor,
    currency,
    occurredAt: batch.eventTimeMs[row],
    detectedAt,
    decision: deciding.decision,
    severity: deciding.rule.severity,
    score: finiteOrNull(batch.score[row]),
    rules: fired.map((rule) => firedRule(rule, reasonOf(rule.condition.tree, subject))),
    evidence: {
      source: { ...source, offset, timestamp: batch.records.timestampMs[record] },
      payment,
      late: batch.late[row] === 1,
      enrichment: enrichmentAt(batch, row),
      ...modelEvidence(parts.model, batch, row),
      patterns: patterns.map(withKnownPlaces),
      ruleSet: { version: rules.version, hash: rules.hash },
      pipelineVersion: parts.pipelineVersion,
    },
  };
}

/** A card-testing sequence whose time ran out before a large payment came. */
export interface ExpiredCardTesting {
  readonly cardId: string;
  /** The timer's due time: event time, ms since 1970. */
  readonly dueMs: number;
  /** With the small payments still remembered, at least one. */
  readonly finding: CardTestingFinding;
}

type CardTestingFinding = Extract<PatternFinding, { pattern: 'card-testing' }>;

/** The alert for an expired sequence, or null where none of the rules that `fired` reviews or declines it. */
export function expiredCardTestingAlert(
  parts: Pick<AlertParts, 'pipelineVersion'>,
  source: SourcePartition,
  rules: CompiledRuleSet,
  fired: readonly CompiledRule[],
  expired: ExpiredCardTesting,
  detectedAt: number,
): Alert | null {
  const { finding } = expired;
  if (fired.length === 0 || fired[0].rule.decision === 'approve') return null;
  const offset = lastOffset(finding, source);
  const deciding = decidingRule(fired, source, offset);
  const isKnown = offset !== UNKNOWN_OFFSET;
  // I6: without a place the card and the timer's time tell the alert from others.
  const place = isKnown
    ? { ...source, offset }
    : { topic: `card ${expired.cardId}`, partition: 0, offset: expired.dueMs };
  const reason = describePattern(finding, null, null);
  return {
    alertId: alertId(place, deciding.rule.id),
    cardId: expired.cardId,
    paymentId: null,
    merchantId: null,
    amountMinor: null,
    currency: null,
    occurredAt: expired.dueMs,
    detectedAt,
    decision: deciding.decision,
    severity: deciding.rule.severity,
    score: null,
    rules: fired.map((rule) => firedRule(rule, reason)),
    evidence: {
      source: { ...(isKnown ? place : UNKNOWN_SOURCE), timestamp: null },
      payment: null,
      late: false,
      enrichment: null,
      features: {},
      patterns: [withKnownPlaces(finding)],
      model: null,
      ruleSet: { version: rules.version, hash: rules.hash },
      pipelineVersion: parts.pipelineVersion,
    },
  };
}

/**
 * The last small payment's record, which ties the alert to the log (I6). The highest offset, not the latest event time:
 * a sequence that a late payment starts anew has a higher one, and so an alert of its own. Unknown where all of them
 * were.
 */
function lastOffset({ matched }: CardTestingFinding, source: SourcePartition): number {
  if (matched.length === 0) throw impossible(source, UNKNOWN_OFFSET, 'ended a card-testing sequence without payments');
  return matched.reduce((highest, payment) => Math.max(highest, payment.sourceOffset), UNKNOWN_OFFSET);
}

/** A wrong place is worse than none. */
function withKnownPlaces(finding: PatternFinding): PatternFinding {
  if (finding.pattern === 'impossible-travel') return finding;
  const matched = finding.matched.filter(({ sourceOffset }) => sourceOffset !== UNKNOWN_OFFSET);
  const unplaced = finding.matched.length - matched.length;
  return unplaced === 0 ? finding : { ...finding, matched, unplaced };
}

function decidingRule(fired: readonly CompiledRule[], source: SourcePartition, offset: number) {
  const [first] = fired;
  const decision = first?.rule.decision;
  if (first === undefined || decision === undefined || decision === 'approve') {
    throw impossible(source, offset, 'was not decided to be reviewed or declined');
  }
  return { rule: first.rule, decision };
}

function impossible(source: SourcePartition, offset: number, what: string): StreamError {
  const place = `${source.topic}-${source.partition} at offset ${offset}`;
  return new StreamError('alert-without-cause', `The record in ${place} ${what}; this is a defect of the pipeline.`);
}

function firedRule({ rule, hash }: CompiledRule, reason: string): FiredRule {
  const { id, name, version, decision, severity } = rule;
  return { id, name, version, hash, decision, severity, reason };
}

const ENRICHMENT_SOURCE = {
  [RISK_SOURCE.none]: 'none',
  [RISK_SOURCE.lookup]: 'lookup',
  [RISK_SOURCE.cache]: 'cache',
  [RISK_SOURCE.riskTable]: 'risk-table',
} as const;

function enrichmentAt(batch: PaymentBatch, row: number): AlertEvidence['enrichment'] {
  const source = ENRICHMENT_SOURCE[batch.riskSource[row] as keyof typeof ENRICHMENT_SOURCE] ?? 'none';
  const merchantRisk = finiteOrNull(batch.merchantRisk[row]);
  if (merchantRisk === null) return null;
  const asOf = batch.riskAsOfMs[row];
  return { merchantRisk, source, asOf: asOf > 0 ? asOf : null, degraded: batch.degraded[row] === 1 };
}

function modelEvidence(
  model: AlertModel | null,
  batch: PaymentBatch,
  row: number,
): Pick<AlertEvidence, 'features' | 'model'> {
  if (model === null) return { features: {}, model: null };
  const { name, sha256, featuresHash, featureNames } = model;
  const from = row * batch.featureCount;
  const row32 = batch.features.subarray(from, from + batch.featureCount);
  const features: Record<string, number | null> = {};
  featureNames.forEach((feature, index) => {
    features[feature] = shortest32(row32[index]);
  });
  const topFeatures = model.explain(row32).map((part) => ({
    ...part,
    value: part.value === null ? null : shortest32(part.value),
  }));
  return { features, model: { name, sha256, featuresHash, topFeatures } };
}

/** The shortest decimal that is the same 32-bit float: 0.3, not 0.30000001192092896. Null where not finite. */
function shortest32(value: number): number | null {
  if (!Number.isFinite(value)) return null;
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return Number(value.toPrecision(9));
}

function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

/** JSON has no infinity: a speed over no time at all is null. */
function withoutInfinity(finding: PatternFinding): PatternFinding {
  if (finding.pattern !== 'impossible-travel' || finding.speedKmh === null) return finding;
  return { ...finding, speedKmh: finiteOrNull(finding.speedKmh) };
}
