import { describe, expect, it } from 'vitest';
import { MerchantRiskHistory } from '../../../scripts/model/merchant-risk-history.js';
import { DAY_MS, NOON } from './run-cards.js';

const history = () => new MerchantRiskHistory({ windowDays: 7, delayDays: 7, prior: 0.01, priorPayments: 1 });

describe('the merchant risk of the training data', () => {
  it('is the usual share for a merchant that nobody knows', () => {
    expect(history().riskAt('m', NOON)).toBe(0.01);
  });

  it('learns of a fraud on the eighth day after it, not before', () => {
    const risks = history();
    risks.add('m', NOON, true);
    expect(risks.riskAt('m', NOON + 7 * DAY_MS)).toBe(0.01);
    expect(risks.riskAt('m', NOON + 8 * DAY_MS)).toBeCloseTo(1.01 / 2, 12);
  });

  it('forgets a day once its window has passed', () => {
    const risks = history();
    risks.add('m', NOON, true);
    risks.add('m', NOON + 3 * DAY_MS, false);
    expect(risks.riskAt('m', NOON + 11 * DAY_MS)).toBeCloseTo(1.01 / 3, 12);
    expect(risks.riskAt('m', NOON + 14 * DAY_MS)).toBeCloseTo(1.01 / 3, 12);
    expect(risks.riskAt('m', NOON + 15 * DAY_MS)).toBeCloseTo(0.01 / 2, 12);
  });

  it('keeps what is still needed, and no more, while payments go on', () => {
    const risks = history();
    for (let day = 0; day < 100; day++) risks.add('m', NOON + day * DAY_MS, day === 90);
    expect(risks.riskAt('m', NOON + 99 * DAY_MS)).toBeCloseTo(1.01 / 8, 12);
  });

  it('keeps merchants apart', () => {
    const risks = history();
    risks.add('a', NOON, true);
    expect(risks.riskAt('b', NOON + 20 * DAY_MS)).toBe(0.01);
  });
});
