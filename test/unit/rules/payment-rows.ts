/** Builds payment batches by hand for the tests of rules and alerts: no decoder, no features, only the columns named. */
import type { PatternFinding } from '../../../src/fraud/alerts/alert.js';
import type { Payment } from '../../../src/fraud/payments/payment.js';
import { FINDING, PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import { putPayment } from '../../../src/fraud/payments/payment-source.js';
import { type CompiledRuleSet, compileRules } from '../../../src/fraud/rules/compile-rules.js';
import { RuleBreakers } from '../../../src/fraud/rules/rule-breakers.js';
import { parseRuleSet } from '../../../src/fraud/rules/rule-set.js';

export interface RowSpec {
  readonly payment?: Partial<Record<keyof Payment, unknown>>;
  readonly offset?: number;
  readonly score?: number;
  readonly merchantRisk?: number;
  readonly riskSource?: number;
  readonly degraded?: boolean;
  readonly late?: boolean;
  readonly travelSpeedKmh?: number;
  readonly cardTestingSmallCount?: number;
  readonly velocityCount?: number;
  readonly features?: readonly number[];
  readonly found?: readonly PatternFinding[];
}

export const aPayment = {
  paymentId: 'p-1',
  cardId: 'card-1',
  merchantId: 'm-1',
  amountMinor: 45_000,
  currency: 'EUR',
  occurredAt: Date.UTC(2026, 0, 5, 12),
};

const BITS = {
  'card-testing': FINDING.cardTesting,
  'velocity-burst': FINDING.velocityBurst,
  'impossible-travel': FINDING.impossibleTravel,
} as const;

export function paymentRows(specs: readonly RowSpec[], options: { capacity?: number; featureCount?: number } = {}) {
  const featureCount = options.featureCount ?? 2;
  const batch = new PaymentBatch(options.capacity ?? Math.max(specs.length, 1), featureCount);
  const { records } = batch;
  const texts = specs.map(({ payment }) => Buffer.from(JSON.stringify({ ...aPayment, ...payment })));
  records.bytes = Buffer.concat(texts);
  let start = 0;
  specs.forEach((spec, row) => {
    const payment = { ...aPayment, ...spec.payment } as typeof aPayment & Partial<Payment>;
    records.valueStart[row] = start;
    records.valueLength[row] = texts[row].length;
    records.keyLength[row] = -1;
    records.offset[row] = spec.offset ?? 100 + row;
    records.timestampMs[row] = payment.occurredAt + 7;
    start += texts[row].length;
    batch.recordIndex[row] = row;
    putPayment(payment as Payment, batch, row);
    batch.score[row] = spec.score ?? 0.01;
    batch.merchantRisk[row] = spec.merchantRisk ?? 0.1;
    batch.riskSource[row] = spec.riskSource ?? 1;
    batch.degraded[row] = spec.degraded ? 1 : 0;
    batch.late[row] = spec.late ? 1 : 0;
    batch.travelSpeedKmh[row] = spec.travelSpeedKmh ?? 0;
    batch.features.set(spec.features ?? new Array(featureCount).fill(0), row * featureCount);
    batch.cardTestingSmallCount[row] = spec.cardTestingSmallCount ?? 0;
    batch.velocityCount[row] = spec.velocityCount ?? 0;
    for (const finding of spec.found ?? []) batch.findings[row] |= BITS[finding.pattern];
    if (spec.found !== undefined) batch.matches.set(row, [...spec.found]);
  });
  records.count = specs.length;
  batch.count = specs.length;
  return batch;
}

export const cardTestingFound: Extract<PatternFinding, { pattern: 'card-testing' }> = {
  pattern: 'card-testing',
  smallCount: 4,
  startedAt: aPayment.occurredAt - 240_000,
  completed: true,
  matched: [500, 100, 200, 150].map((amountMinor, i) => ({
    occurredAt: aPayment.occurredAt - 240_000 + i * 60_000,
    amountMinor,
    sourceOffset: 10 + i,
  })),
};

/** A checked and compiled rule set, with breakers of its own. `rules` as in a rules file. */
export function ruleSet(rules: unknown, featureNames: readonly string[] = []) {
  const set: CompiledRuleSet = compileRules(parseRuleSet({ version: 1, rules }), { featureNames });
  const breakers = new RuleBreakers();
  breakers.watch(set.rules.map(({ rule }) => rule));
  return { set, breakers, evaluate: (batch: PaymentBatch) => set.evaluate(batch, breakers) };
}

/** A rule as a file has it. */
export const aRule = (id: string, condition: string, more: Readonly<Record<string, unknown>> = {}) => ({
  id,
  name: id,
  version: 1,
  condition,
  decision: 'review',
  severity: 'medium',
  ...more,
});
