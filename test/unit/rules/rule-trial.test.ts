import { beforeEach, describe, expect, it } from 'vitest';
import { CARD_FEATURES, FEATURE_INDEX, featuresHash } from '../../../src/fraud/features/feature-list.js';
import { DEFAULT_PATTERN_PARAMETERS } from '../../../src/fraud/patterns/pattern-parameters.js';
import { jsonPayments } from '../../../src/fraud/payments/decode-json.js';
import { checkRuleContent } from '../../../src/fraud/rules/check-rule.js';
import type { RuleVersion } from '../../../src/fraud/rules/rule.js';
import { RuleTrial } from '../../../src/fraud/rules/rule-trial.js';
import type { TrialCase } from '../../../src/fraud/rules/rule-trial-run.js';
import type { Scorer } from '../../../src/fraud/scoring/scorer.js';

const NOON = Date.UTC(2026, 0, 5, 12);
const MINUTE_MS = 60_000;

/** Scores a thousandth of the payments that a card made within a day. */
const countingScorer = (calls: string[] = []): Scorer => ({
  model: { featureNames: CARD_FEATURES.map(({ name }) => name), featuresHash } as Scorer['model'],
  score: async (features, rows, into) => {
    calls.push('score');
    await new Promise((resolve) => setImmediate(resolve));
    for (let row = 0; row < rows; row++) {
      into[row] = features[row * CARD_FEATURES.length + FEATURE_INDEX.count24h] / 1_000;
    }
    calls.push('scored');
  },
  close: async () => void calls.push('closed'),
});

let calls: string[];
let opened: number;
let trial: RuleTrial;
let failOpening: boolean;

beforeEach(() => {
  calls = [];
  opened = 0;
  failOpening = false;
  trial = new RuleTrial({
    payments: jsonPayments({ topic: 'payments.raw', featureCount: CARD_FEATURES.length }),
    outOfOrdernessMs: 5_000,
    openScorer: async () => {
      opened++;
      if (failOpening) throw new Error('no such file');
      return countingScorer(calls);
    },
  });
});

const rule = (condition: string, changes: object = {}): RuleVersion => ({
  id: 'tried',
  version: 3,
  ...checkRuleContent({ name: 'Tried', condition, decision: 'review', severity: 'low', ...changes }),
});
const payment = (changes: Record<string, unknown> = {}) => ({
  paymentId: 'p-1',
  cardId: 'card-1',
  merchantId: 'm-1',
  amountMinor: 1_000,
  currency: 'EUR',
  occurredAt: NOON,
  country: 'DE',
  ...changes,
});
const given = (changes: Record<string, unknown> = {}, more: Partial<TrialCase> = {}): TrialCase => ({
  payment: payment(changes),
  merchantRisk: null,
  score: null,
  ...more,
});
const run = (tried: RuleVersion, cases: readonly TrialCase[]) => trial.run(tried, DEFAULT_PATTERN_PARAMETERS, cases);
const outcomes = async (tried: RuleVersion, cases: readonly TrialCase[]) =>
  (await run(tried, cases)).payments.map(({ outcome }) => outcome);

describe('a trial', () => {
  it('tells whether the rule fires, why, and the values that it read', async () => {
    const { payments } = await run(rule('payment.amountMinor > 500 && payment.country == "DE"'), [
      given(),
      given({ amountMinor: 100 }),
      given({ country: 'FR' }),
    ]);
    expect(payments).toMatchObject([
      {
        index: 0,
        paymentId: 'p-1',
        outcome: 'fired',
        reason: expect.stringMatching(/amount .*10\.00.* above .*5\.00/),
        values: { 'payment.amountMinor': 1_000, 'payment.country': 'DE' },
      },
      { outcome: 'not-fired', reason: null },
      { outcome: 'not-fired', values: { 'payment.country': 'FR' } },
    ]);
  });

  it('knows each card by the payments before, and scores with the model', async () => {
    const cases = [0, 1, 2, 3].map((i) =>
      given({ occurredAt: NOON + i * MINUTE_MS, cardId: i === 2 ? 'other' : 'card-1' }),
    );
    const { payments } = await run(rule('score >= 0.003'), cases);
    expect(payments.map(({ score, outcome }) => [score, outcome])).toEqual([
      [0.001, 'not-fired'],
      [0.002, 'not-fired'],
      [0.001, 'not-fired'],
      [0.003, 'fired'],
    ]);
  });

  it('takes scores and merchant risks that are given', async () => {
    const tried = rule('score > 0.9 && merchant.risk > 0.8 && merchant.riskKnown');
    expect(await outcomes(tried, [given({}, { score: 0.95, merchantRisk: 0.9 }), given({}, { score: 0.95 })])).toEqual([
      'fired',
      'not-fired',
    ]);
  });

  it('sees the patterns: small payments, then a large one', async () => {
    const amounts = [100, 100, 100, 50_000];
    const cases = amounts.map((amountMinor, i) => given({ amountMinor, occurredAt: NOON + i * MINUTE_MS }));
    const { payments } = await run(rule('patterns.cardTesting'), cases);
    expect(payments.map(({ outcome }) => outcome)).toEqual(['not-fired', 'not-fired', 'not-fired', 'fired']);
    expect(payments[3].reason).toContain('3 payments of at most');
  });

  it('lets time go on for rules about what did not come', async () => {
    const tried = rule('patterns.cardTestingSmallCount >= 5.0', { trigger: 'card-testing-expired' });
    const small = (card: string, count: number) =>
      Array.from({ length: count }, (_, i) => given({ cardId: card, amountMinor: 100, occurredAt: NOON + i * 1_000 }));
    const { payments, expiries } = await run(tried, [...small('few', 3), ...small('many', 6)]);
    expect(new Set(payments.map(({ outcome }) => outcome))).toEqual(new Set(['not-fired']));
    expect(expiries).toMatchObject([{ cardId: 'many', smallCount: 6, outcome: 'fired', reason: expect.any(String) }]);
  });

  it('marks what comes behind the watermark as late', async () => {
    const cases = [given({ occurredAt: NOON + 60_000 }), given({ occurredAt: NOON })];
    expect(await outcomes(rule('payment.late'), cases)).toEqual(['not-fired', 'fired']);
  });

  it('obeys the scope', async () => {
    const tried = rule('payment.amountMinor > 0', { scope: { countries: ['FR'], channels: ['ecom'] } });
    const cases = [given(), given({ country: 'FR', channel: 'ecom' }), given({ country: 'FR', channel: 'pos' })];
    expect(await outcomes(tried, cases)).toEqual(['not-fired', 'fired', 'not-fired']);
  });

  it('tells of a failing condition, payment by payment, however often it fails', async () => {
    const tried = rule('int(payment.deviceId) > 3');
    const failing = Array.from({ length: 40 }, () => given({ deviceId: 'x' }));
    const { payments } = await run(tried, [...failing, given({ deviceId: '4' })]);
    expect(payments.map(({ outcome }) => outcome)).toEqual([...Array(40).fill('failed'), 'fired']);
    expect(payments[0].reason).toEqual(expect.any(String));
  });

  it('refuses what the pipeline could not read, and goes on', async () => {
    const { payments } = await run(rule('payment.amountMinor > 0'), [
      given({ amountMinor: -1 }),
      { payment: { cardId: 'x' }, merchantRisk: null, score: null },
      given({ cardId: '4111111111111111' }),
      given(),
    ]);
    expect(payments.map(({ outcome, paymentId }) => [outcome, paymentId])).toEqual([
      ['refused', null],
      ['refused', null],
      ['refused', null],
      ['fired', 'p-1'],
    ]);
    expect(payments.slice(0, 3).map(({ reason }) => reason?.split(':')[0])).toEqual([
      'out-of-range',
      'missing-field',
      'pan-in-clear',
    ]);
  });

  it('begins with cards that nothing is known of, each time', async () => {
    const cases = [given(), given({ occurredAt: NOON + 1 })];
    const first = await run(rule('score > 0.0015'), cases);
    expect(await run(rule('score > 0.0015'), cases)).toEqual(first);
  });
});

describe('trials', () => {
  it('come one after the other, over one model that is opened by the first and closed at the end', async () => {
    expect(opened).toBe(0);
    await Promise.all(Array.from({ length: 5 }, () => run(rule('score > 0'), [given(), given()])));
    await trial.close();
    expect(opened).toBe(1);
    expect(calls).toEqual([...Array.from({ length: 10 }, () => ['score', 'scored']).flat(), 'closed']);
  });

  it('are refused beyond a bounded number that wait', async () => {
    const many = await Promise.allSettled(Array.from({ length: 12 }, () => run(rule('score > 0'), [given()])));
    const refused = many.filter((one) => one.status === 'rejected');
    expect(refused.map(({ reason }) => reason.code)).toEqual(Array(4).fill('trial-busy'));
    expect(await outcomes(rule('score > 0'), [given()])).toEqual(['fired']);
  });

  it('say that the model cannot be opened, and try again the next time', async () => {
    failOpening = true;
    await expect(run(rule('score > 0'), [given()])).rejects.toMatchObject({ code: 'model-unavailable' });
    failOpening = false;
    expect(await outcomes(rule('score > 0'), [given()])).toEqual(['fired']);
    await trial.close();
    await expect(run(rule('score > 0'), [given()])).rejects.toMatchObject({ code: 'model-unavailable' });
  });
});
