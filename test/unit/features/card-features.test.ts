import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CARD_FEATURES, FEATURE_COUNT, featuresHash, hashFeatures } from '../../../src/fraud/features/feature-list.js';
import { CardRun, DAY_MS, HOUR_MS, MINUTE_MS, NOON, type TestPayment } from './run-cards.js';

describe('feature list', () => {
  it('names every feature once', () => {
    expect(new Set(CARD_FEATURES.map((feature) => feature.name)).size).toBe(FEATURE_COUNT);
  });

  it('changes its hash with a name, an order or a version', () => {
    const renamed = CARD_FEATURES.map((f, i) => (i === 0 ? { ...f, name: 'amount' } : f));
    const reordered = [CARD_FEATURES[1], CARD_FEATURES[0], ...CARD_FEATURES.slice(2)];
    const reversioned = CARD_FEATURES.map((f, i) => (i === 0 ? { ...f, version: f.version + 1 } : f));
    const hashes = [renamed, reordered, reversioned].map(hashFeatures);
    expect(new Set([featuresHash, ...hashes]).size).toBe(4);
  });
});

describe('card features', () => {
  it('fills every feature of a first payment with a number', () => {
    const run = new CardRun();
    run.batch.features.fill(Number.NaN);
    run.pay([{ at: NOON, amountMinor: 1234, merchantRisk: 0.25 }]);
    const row = Array.from(run.batch.features.subarray(0, FEATURE_COUNT));
    expect(row.every(Number.isFinite)).toBe(true);
    expect(run.feature('amountMinor')).toBe(1234);
    expect(run.feature('count24h')).toBe(1);
    expect(run.feature('amountSum24hMinor')).toBe(1234);
    expect(run.feature('decayedCount7d')).toBe(0);
    expect(run.feature('amountOverMean30d')).toBe(0);
    expect(run.feature('merchantRisk')).toBe(0.25);
    expect(run.feature('merchantNew')).toBe(1);
    expect(run.feature('secondsSincePrevious')).toBe(7 * 86_400);
    expect(run.feature('lifetimeCount')).toBe(0);
  });

  it('knows night and weekend in UTC', () => {
    const run = new CardRun();
    const at = (text: string) => ({ at: Date.parse(text) });
    run.pay([at('2018-08-04T06:59:59Z'), at('2018-08-05T07:00:00Z'), at('2018-08-06T00:00:00Z')]);
    expect([0, 1, 2].map((row) => run.feature('weekend', row))).toEqual([1, 1, 0]);
    expect([0, 1, 2].map((row) => run.feature('night', row))).toEqual([1, 0, 1]);
    expect([0, 1, 2].map((row) => run.feature('hourOfDay', row))).toEqual([6, 7, 0]);
  });

  it('counts what lies within an hour and a day, this payment included, the window’s far end left out', () => {
    const run = new CardRun();
    const agoMs = [DAY_MS, DAY_MS - 1, HOUR_MS, HOUR_MS - 1, 5 * MINUTE_MS];
    run.pay([...agoMs.map((ago) => ({ at: NOON - ago, amountMinor: 100 })), { at: NOON, amountMinor: 7 }]);
    expect(run.feature('count1h')).toBe(3);
    expect(run.feature('count24h')).toBe(5);
    expect(run.feature('amountSum24hMinor')).toBe(407);
    expect(run.feature('secondsSincePrevious')).toBe(300);
    expect(run.feature('lifetimeCount')).toBe(5);
  });

  it('saturates windows at the ring’s 32 payments and this one', () => {
    const run = new CardRun();
    run.pay(Array.from({ length: 60 }, (_, i) => ({ at: NOON + i, amountMinor: 1, merchant: `m-${i}` })));
    expect(run.feature('count1h')).toBe(33);
    expect(run.feature('distinctMerchants24h')).toBe(33);
    expect(run.feature('lifetimeCount')).toBe(59);
  });

  it('tells new merchants from remembered ones and counts the different ones of a day', () => {
    const run = new CardRun();
    run.pay([
      { at: NOON - 2 * DAY_MS, merchant: 'old' },
      { at: NOON - HOUR_MS, merchant: 'a' },
      { at: NOON - 3, merchant: 'a' },
      { at: NOON - 2, merchant: 'b' },
      { at: NOON, merchant: 'old' },
    ]);
    expect([0, 1, 2, 3, 4].map((row) => run.feature('merchantNew', row))).toEqual([1, 1, 0, 1, 0]);
    expect(run.feature('distinctMerchants24h')).toBe(3);
  });

  it('halves the decayed count after a half-life and leaves the mean as it is', () => {
    const run = new CardRun();
    run.pay([
      { at: NOON, amountMinor: 100 },
      { at: NOON, amountMinor: 300 },
      { at: NOON + 7 * DAY_MS, amountMinor: 800 },
    ]);
    expect(run.feature('decayedCount7d')).toBeCloseTo(1, 5);
    expect(run.feature('decayedMean7dMinor')).toBeCloseTo(200, 3);
    expect(run.feature('decayedCount30d')).toBeCloseTo(2 * 2 ** (-7 / 30), 5);
    expect(run.feature('amountOverMean30d')).toBeCloseTo(4, 5);
    expect(run.feature('amountOverLifetimeMean')).toBeCloseTo(4, 5);
  });

  it('counts remembered payments over three times the lifetime mean', () => {
    const run = new CardRun();
    run.pay([...Array(8).fill({ at: NOON, amountMinor: 100 }), { at: NOON, amountMinor: 900 }, { at: NOON }]);
    expect(run.feature('recentOutliers')).toBe(1);
  });

  it('gives a late payment defined values: nothing of its future, no negative time', () => {
    const run = new CardRun();
    run.pay([
      { at: NOON - 10 * MINUTE_MS, amountMinor: 100 },
      { at: NOON, amountMinor: 200 },
      { at: NOON - 5 * MINUTE_MS, amountMinor: 50 },
    ]);
    expect(run.feature('count1h')).toBe(2);
    expect(run.feature('amountSum24hMinor')).toBe(150);
    expect(run.feature('secondsSincePrevious')).toBe(0);
    expect(run.columns.lastOccurredAt[0]).toBe(NOON);
  });

  it('refuses a batch with room for other features', () => {
    const run = new CardRun();
    Object.defineProperty(run.batch, 'featureCount', { value: 3 });
    expect(() => run.pay([{ at: NOON }])).toThrow(/room for 3 features/);
  });
});

const payments = fc.array(
  fc.record({
    slot: fc.integer({ min: 0, max: 3 }),
    at: fc.integer({ min: NOON, max: NOON + 3 * DAY_MS }),
    amountMinor: fc.integer({ min: 0, max: 1_000_000_000_000 }),
    merchant: fc.constantFrom('a', 'b', 'c', 'd'),
  }),
  { minLength: 1, maxLength: 120 },
);

describe('card features, for any payments in any order', () => {
  it('are finite', () => {
    fc.assert(
      fc.property(payments, (all) => {
        const run = new CardRun();
        const { features } = run.pay(all);
        expect(features.subarray(0, all.length * FEATURE_COUNT).every(Number.isFinite)).toBe(true);
      }),
    );
  });

  it('do not depend on where batches are cut', () => {
    fc.assert(
      fc.property(payments, fc.integer({ min: 1, max: 20 }), (all, size) => {
        const whole = new CardRun();
        const expected = whole.pay(all).features.slice(0, all.length * FEATURE_COUNT);
        const cut = new CardRun();
        for (let from = 0; from < all.length; from += size) {
          const part = all.slice(from, from + size);
          const got = cut.pay(part).features.slice(0, part.length * FEATURE_COUNT);
          expect(got).toEqual(expected.slice(from * FEATURE_COUNT, (from + part.length) * FEATURE_COUNT));
        }
      }),
    );
  });

  it('agree with a plain count over a list', () => {
    fc.assert(
      fc.property(payments, (all) => {
        const run = new CardRun();
        run.pay(all);
        const seen: TestPayment[] = [];
        all.forEach((payment, row) => {
          const last = seen.filter((p) => p.slot === payment.slot).slice(-32);
          const inDay = last.filter((p) => p.at <= payment.at && p.at > payment.at - DAY_MS);
          expect(run.feature('count24h', row)).toBe(inDay.length + 1);
          expect(run.feature('count1h', row)).toBe(inDay.filter((p) => p.at > payment.at - HOUR_MS).length + 1);
          expect(run.feature('distinctMerchants24h', row)).toBe(
            new Set([payment, ...inDay].map((p) => p.merchant)).size,
          );
          expect(run.feature('merchantNew', row)).toBe(last.some((p) => p.merchant === payment.merchant) ? 0 : 1);
          seen.push(payment);
        });
      }),
    );
  });
});
