import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import type { Alert } from '../../../src/fraud/alerts/alert.js';
import { alertJsonSchema } from '../../../src/fraud/alerts/alert-schema.js';
import type { ExpiredCardTesting } from '../../../src/fraud/alerts/build-alert.js';
import { type DecideParts, decide, emitExpiredCardTesting } from '../../../src/fraud/alerts/emit-alerts.js';
import { AlertUnreadableError, decodeAlert } from '../../../src/fraud/alerts/encode-alert.js';
import { formatMoney } from '../../../src/fraud/alerts/money.js';
import { builtInRuleSet } from '../../../src/fraud/rules/built-in-rules.js';
import type { StepContext } from '../../../src/stream/pipeline/pipeline.js';
import type { OutputRecord } from '../../../src/stream/records.js';
import { aPayment, aRule, cardTestingFound, paymentRows, type RowSpec, ruleSet } from '../rules/payment-rows.js';

const schemaFile = fileURLToPath(new URL('../../../schemas/alert.schema.json', import.meta.url));
const inForce = (rules: unknown): DecideParts['rules'] => {
  const { set, breakers } = ruleSet(rules);
  return { rulesOf: () => set, breakersOf: () => breakers, rolloutsTopic: 'fraud.rollouts' };
};
const rules = inForce(builtInRuleSet.rules);
const parts: DecideParts = {
  pipelineVersion: '1.2.3',
  alertsTopic: 'fraud.alerts',
  rules,
  parsePayment: (bytes) => JSON.parse(bytes.toString()),
  model: {
    name: 'cards-2018',
    sha256: 'a'.repeat(64),
    featuresHash: 'b'.repeat(16),
    featureNames: ['amount', 'night'],
    explain: (features) => [{ feature: 'amount', value: features[0], contribution: 1.5 }],
  },
};

function run() {
  const emitted: { record: OutputRecord; prompt: boolean }[] = [];
  const counters: Record<string, number> = {};
  const context: StepContext = {
    taskId: 'fraud-3',
    source: { topic: 'payments.raw', partition: 3 },
    clock: { now: () => 1_800_000_000_000, monotonic: () => 0, schedule: () => () => {} },
    count: (name, by = 1) => {
      counters[name] = (counters[name] ?? 0) + by;
    },
  };
  const outputs = { emit: (record: OutputRecord, { prompt }: { prompt: boolean }) => emitted.push({ record, prompt }) };
  return { emitted, counters, context, outputs };
}

async function decideRows(specs: readonly RowSpec[]) {
  const { emitted, counters, context, outputs } = run();
  const step = await decide(parts).open(context);
  await step.apply(paymentRows(specs), outputs);
  return { emitted, counters, alerts: emitted.map(({ record }) => decodeAlert(record.value)) };
}

async function oneAlert(spec: RowSpec): Promise<Alert> {
  const { alerts } = await decideRows([spec]);
  expect(alerts).toHaveLength(1);
  return alerts[0];
}

const expiredCardTesting: ExpiredCardTesting = {
  cardId: 'card-1',
  dueMs: aPayment.occurredAt,
  finding: { ...cardTestingFound, completed: false },
};

const reasons = (alert: Alert) => alert.rules.map(({ reason }) => reason);

describe('deciding a batch', () => {
  it('makes an alert for what is not approved, promptly, and counts decisions and rules', async () => {
    const { emitted, counters, alerts } = await decideRows([{}, { score: 0.95 }, { score: 0.6 }, { score: 0.6 }]);
    expect(emitted.every(({ prompt }) => prompt)).toBe(true);
    expect(alerts.map(({ decision, severity }) => `${decision} ${severity}`)).toEqual([
      'decline critical',
      'review medium',
      'review medium',
    ]);
    expect(counters).toEqual({
      'decisions.approve': 1,
      'decisions.review': 2,
      'decisions.decline': 1,
      'rules.fired.high-score': 1,
      'rules.fired.elevated-score': 2,
    });
  });

  it('tells of shadow rules in counters alone', async () => {
    const shadowed = inForce([
      aRule('loud', 'score > 0.5'),
      aRule('quiet', 'score > 0.2', { state: 'shadow', decision: 'decline', severity: 'critical' }),
    ]);
    const { context, outputs, emitted, counters } = run();
    const step = await decide({ ...parts, rules: shadowed }).open(context);
    await step.apply(paymentRows([{ score: 0.3 }, { score: 0.6 }]), outputs);
    const [alert, ...others] = emitted.map(({ record }) => decodeAlert(record.value));
    expect([alert.decision, alert.rules.map(({ id }) => id), others]).toEqual(['review', ['loud'], []]);
    expect(counters).toEqual({
      'decisions.approve': 1,
      'decisions.review': 1,
      'rules.fired.loud': 1,
      'rules.shadow.quiet': 2,
    });
  });

  it('gives the same input the same id, and another offset or deciding rule another', async () => {
    const spec = { score: 0.95, offset: 17 };
    const id = (await oneAlert(spec)).alertId;
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect((await oneAlert(spec)).alertId).toBe(id);
    expect((await oneAlert({ ...spec, offset: 18 })).alertId).not.toBe(id);
    expect((await oneAlert({ ...spec, score: 0.6 })).alertId).not.toBe(id);
    // A rule that fires beside the deciding one does not change the id.
    expect((await oneAlert({ ...spec, merchantRisk: 0.9 })).alertId).toBe(id);
  });

  it('says why in plain words, with the values', async () => {
    expect(reasons(await oneAlert({ score: 0.9312 }))).toEqual(['score 0.93 is at or above 0.90']);
    expect(reasons(await oneAlert({ score: 0.93 }))).toEqual(['score 0.93 is at or above 0.90']);
    expect(reasons(await oneAlert({ score: 0.8999 }))).toEqual(['score 0.8999 is between 0.50 and 0.90']);
    expect(reasons(await oneAlert({ found: [cardTestingFound] }))).toEqual([
      '4 payments of at most 5.00 EUR in 3 min, then 450.00 EUR',
    ]);
    expect(reasons(await oneAlert({ merchantRisk: 0.82 }))).toEqual([
      'merchant risk 0.82 is at or above 0.70 and amount 450.00 EUR is at or above 200.00 EUR',
    ]);
    expect(
      reasons(
        await oneAlert({
          found: [
            { pattern: 'impossible-travel', distanceKm: 5837.4, elapsedMs: 1_800_000, speedKmh: 11674.8 },
            { pattern: 'velocity-burst', count: 9, windowMs: 600_000, matched: [] },
          ],
        }),
      ),
    ).toEqual(['5837 km in 30 min, which takes 11675 km/h', '9 payments within 10 min']);
  });

  it('freezes the evidence: record, payment, enrichment, features, patterns, model, rule set, version', async () => {
    const alert = await oneAlert({
      score: 0.95,
      offset: 17,
      late: true,
      degraded: true,
      riskSource: 3,
      features: [0.3, Number.NaN],
      found: [cardTestingFound],
      payment: { deviceId: 'device-9', country: 'DE' },
    });
    const risk = alert.evidence.enrichment;
    expect(risk).toEqual({ merchantRisk: 0.1, source: 'risk-table', asOf: null, degraded: true });
    expect(alert.evidence).toMatchObject({
      source: { topic: 'payments.raw', partition: 3, offset: 17, timestamp: aPayment.occurredAt + 7 },
      payment: { ...aPayment, deviceId: 'device-9', country: 'DE' },
      late: true,
      features: { amount: 0.3, night: null },
      patterns: [cardTestingFound],
      model: { name: 'cards-2018', topFeatures: [{ feature: 'amount', value: 0.3, contribution: 1.5 }] },
      ruleSet: { version: 1, hash: rules.rulesOf('').hash },
      pipelineVersion: '1.2.3',
    });
  });

  it('keeps JSON valid when a speed has no time under it', async () => {
    const found = {
      pattern: 'impossible-travel',
      distanceKm: 800,
      elapsedMs: 0,
      speedKmh: Number.POSITIVE_INFINITY,
    } as const;
    const alert = await oneAlert({ found: [found] });
    expect(alert.evidence.patterns).toEqual([{ ...found, speedKmh: null }]);
    expect(reasons(alert)).toEqual(['800 km from a payment at the same time']);
  });
});

describe('a card-testing sequence that a timer ended', () => {
  const expired = expiredCardTesting;

  it('becomes an alert without a payment, tied to the record that set the timer', () => {
    const { emitted, counters, context, outputs } = run();
    expect(emitExpiredCardTesting(parts, context, expired, outputs)).toBe(true);
    const alert = decodeAlert(emitted[0].record.value);
    expect(alert).toMatchObject({
      cardId: 'card-1',
      paymentId: null,
      score: null,
      decision: 'review',
      occurredAt: expired.dueMs,
      evidence: { payment: null, source: { offset: 13, timestamp: null } },
    });
    expect(reasons(alert)).toEqual(['4 small payments in 3 min, and no large one after them']);
    expect(counters).toEqual({ 'rules.fired.unfinished-card-testing': 1, 'decisions.review': 1 });
  });

  it('of a card that moved to another partition names the records that are known, and counts the others', () => {
    const { emitted, context, outputs } = run();
    const matched = expired.finding.matched.map((payment, i) => ({ ...payment, sourceOffset: i < 3 ? -1 : 20 }));
    emitExpiredCardTesting(parts, context, { ...expired, finding: { ...expired.finding, matched } }, outputs);
    const alert = decodeAlert(emitted[0].record.value);
    expect(alert.evidence.source).toEqual({ topic: 'payments.raw', partition: 3, offset: 20, timestamp: null });
    expect(alert.evidence.patterns).toEqual([{ ...expired.finding, matched: [matched[3]], unplaced: 3 }]);
    expect(reasons(alert)).toEqual(['4 small payments in 3 min, and no large one after them']);
  });

  it('of which every record lies in another partition names no place, and has an id of its own', () => {
    const moved = (cardId: string, dueMs = expired.dueMs) => {
      const { emitted, context, outputs } = run();
      const matched = expired.finding.matched.map((payment) => ({ ...payment, sourceOffset: -1 }));
      const finding = { ...expired.finding, matched };
      expect(emitExpiredCardTesting(parts, context, { cardId, dueMs, finding }, outputs)).toBe(true);
      return decodeAlert(emitted[0].record.value);
    };
    const alert = moved('card-1');
    expect(alert.evidence.source).toEqual({ topic: 'unknown', partition: 0, offset: 0, timestamp: null });
    expect(alert.evidence.patterns).toEqual([{ ...expired.finding, matched: [], unplaced: 4 }]);
    expect(moved('card-1').alertId).toBe(alert.alertId);
    expect(new Set([alert, moved('card-2'), moved('card-1', 5)].map(({ alertId }) => alertId)).size).toBe(3);
    const validate = new Ajv2020({ strict: false }).compile(alertJsonSchema());
    validate(JSON.parse(JSON.stringify(alert)));
    expect(validate.errors).toBeNull();
  });

  it('becomes none where no rule wants it', () => {
    const { emitted, context, outputs } = run();
    expect(
      emitExpiredCardTesting(parts, context, { ...expired, finding: { ...expired.finding, smallCount: 2 } }, outputs),
    ).toBe(false);
    expect(emitted).toEqual([]);
  });
});

describe('an alert on the wire', () => {
  it('is a CloudEvent in Kafka binary mode, keyed by card', async () => {
    const { emitted } = await decideRows([{ score: 0.95, payment: { cardId: 'cärd' } }]);
    const { record } = emitted[0];
    const headers = Object.fromEntries(record.headers.map(([name, value]) => [name, value.toString()]));
    const alert = decodeAlert(record.value);
    expect(record.topic).toBe('fraud.alerts');
    expect(record.key?.toString()).toBe('cärd');
    expect(record.partition).toBeUndefined();
    expect(headers).toMatchObject({
      ce_specversion: '1.0',
      ce_id: alert.alertId,
      ce_source: '/fraud-detection/payments.raw/3',
      ce_type: 'fraud.alert.v1',
      ce_time: '2027-01-15T08:00:00.000Z',
      ce_subject: 'p-1',
      'content-type': 'application/json',
    });
  });

  it("goes on with its payment's trace, and parses the headers of no payment that it approves", async () => {
    const batch = paymentRows([{}, { score: 0.95 }, {}, { score: 0.95 }]);
    const traceparent = `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`;
    let parsed = 0;
    batch.records.headersEnd.set([0, 1, 2, 3]);
    batch.records.parseHeaders = (_, __, end) => {
      parsed += 1;
      return end === 1 ? [['traceparent', Buffer.from(traceparent)]] : [];
    };
    const { emitted, context, outputs } = run();
    const step = await decide(parts).open(context);
    await step.apply(batch, outputs);
    const traces = emitted.map(({ record }) => record.headers.find(([name]) => name === 'traceparent')?.[1].toString());
    const [, second] = emitted.map(({ record }) => decodeAlert(record.value).alertId);
    expect(traces[0]).toMatch(`00-${'c'.repeat(32)}-`);
    expect(traces[1]).toMatch(`00-${second}-`);
    expect(parsed).toBe(2);
  });

  it('validates against the published JSON Schema, which is the one that the code makes', async () => {
    // `vitest run test/unit/alerts -u` writes the file anew.
    await expect(`${JSON.stringify(alertJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(schemaFile);
    const validate = new Ajv2020({ strict: false, allErrors: true }).compile(alertJsonSchema());
    const { context, emitted, outputs } = run();
    const step = await decide(parts).open(context);
    await step.apply(paymentRows([{ score: 0.95, found: [cardTestingFound] }, { merchantRisk: 0.9 }]), outputs);
    emitExpiredCardTesting(parts, context, expiredCardTesting, outputs);
    expect(emitted).toHaveLength(3);
    for (const { record } of emitted) {
      validate(JSON.parse(String(record.value)));
      expect(validate.errors).toBeNull();
    }
    expect(validate({ ...JSON.parse(String(emitted[0].record.value)), alertId: 'x' })).toBe(false);
  });

  it('is refused when it is no alert, with the field that is wrong', async () => {
    const alert = await oneAlert({ score: 0.95 });
    const read = (value: unknown) => () => decodeAlert(Buffer.from(JSON.stringify(value)));
    expect(read(alert)).not.toThrow();
    expect(read({ ...alert, futureField: 1 })).not.toThrow();
    expect(read({ ...alert, decision: 'approve' })).toThrow(/decision/);
    expect(read({ ...alert, evidence: { ...alert.evidence, late: 'no' } })).toThrow(/evidence\.late/);
    expect(() => decodeAlert(null)).toThrow(AlertUnreadableError);
    expect(() => decodeAlert(Buffer.from([0xff, 0xfe]))).toThrow(AlertUnreadableError);
    expect(read([])).toThrow(AlertUnreadableError);
  });
});

describe('impossible travel by countries alone', () => {
  it('is told without a distance', async () => {
    const found = { pattern: 'impossible-travel', distanceKm: 0, elapsedMs: 900_000, speedKmh: null } as const;
    expect(reasons(await oneAlert({ found: [found] }))).toEqual(['another country than 15 min before']);
  });
});

describe('money in words', () => {
  it('goes by the minor unit of its currency', () => {
    expect(formatMoney(45_000, 'EUR')).toBe('450.00 EUR');
    expect(formatMoney(5, 'USD')).toBe('0.05 USD');
    expect(formatMoney(1200, 'JPY')).toBe('1200 JPY');
    expect(formatMoney(1234, 'KWD')).toBe('1.234 KWD');
    expect(formatMoney(1_000_000_000_000, 'EUR')).toBe('10000000000.00 EUR');
    expect(formatMoney(0, 'EUR')).toBe('0.00 EUR');
  });
});
