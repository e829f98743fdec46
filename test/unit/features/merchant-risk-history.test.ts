import { describe, expect, it } from 'vitest';
import { MerchantRiskHistory } from '../../../scripts/model/merchant-risk-history.js';
import { DAY_MS, NOON } from './run-cards.js';

const history = () => new MerchantRiskHistory({ halfLifeDays: 4, delayDays: 7, prior: 0.01, priorPayments: 1 });

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

  it('lets a known day count one half after four more days', () => {
    const risks = history();
    risks.add('m', NOON, true);
    risks.add('m', NOON + 4 * DAY_MS, false);
    expect(risks.riskAt('m', NOON + 12 * DAY_MS)).toBeCloseTo(0.51 / 2.5, 12);
    expect(risks.riskAt('m', NOON + 16 * DAY_MS)).toBeCloseTo(0.26 / 1.75, 12);
  });

  it('keeps merchants apart', () => {
    const risks = history();
    risks.add('a', NOON, true);
    expect(risks.riskAt('b', NOON + 20 * DAY_MS)).toBe(0.01);
  });
});
