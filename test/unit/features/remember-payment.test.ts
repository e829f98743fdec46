import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CardRun, DAY_MS, NOON } from './run-cards.js';

describe('what a payment leaves on its card', () => {
  it('is its ring entry with the record’s offset', () => {
    const run = new CardRun();
    run.pay([{ at: NOON, amountMinor: 5 }]);
    run.pay([{ at: NOON + 1, amountMinor: 6 }]);
    const { recent } = run.columns;
    const newest = recent.newest(0, 0);
    expect(recent.entry.occurredAt[newest]).toBe(NOON + 1);
    expect(recent.entry.amountMinor[newest]).toBe(6);
    expect(recent.entry.sourceOffset[newest]).toBe(1);
    expect(recent.length(0)).toBe(2);
  });

  it('keeps cards apart', () => {
    const run = new CardRun();
    run.pay([
      { slot: 0, at: NOON },
      { slot: 1, at: NOON, amountMinor: 3 },
    ]);
    expect(run.columns.paymentCount[0]).toBe(1);
    expect(run.columns.amountSumMinor[1]).toBe(3);
  });

  it('keeps the latest place by event time; a payment without one leaves it', () => {
    const run = new CardRun();
    run.pay([
      { at: NOON, latitude: 48, longitude: 2, country: 'FR' },
      { at: NOON - 1, latitude: 1, longitude: 1, country: 'US' },
      { at: NOON + 1 },
      { at: NOON + 2, country: 'DE' },
    ]);
    expect(run.columns.lastLatitude[0]).toBe(48);
    expect(run.columns.lastLocatedAt[0]).toBe(NOON);
    expect(run.columns.lastCountry[0]).toBe((0x44 << 8) | 0x45);
    expect(run.columns.lastCountryAt[0]).toBe(NOON + 2);
  });

  it('has the same decayed figures in whatever order the payments arrive', () => {
    const payment = fc.record({
      at: fc.integer({ min: NOON, max: NOON + 60 * DAY_MS }),
      amountMinor: fc.integer({ min: 0, max: 1_000_000 }),
    });
    fc.assert(
      fc.property(fc.array(payment, { minLength: 1, maxLength: 40 }), (all) => {
        const arrived = new CardRun();
        const sorted = new CardRun();
        arrived.pay(all);
        sorted.pay([...all].sort((a, b) => a.at - b.at));
        for (const field of ['decayedCount7d', 'decayedAmount7d', 'decayedCount30d', 'decayedAmount30d'] as const) {
          expect(arrived.columns[field][0]).toBeCloseTo(sorted.columns[field][0], 4);
        }
        expect(arrived.columns.lastOccurredAt[0]).toBe(sorted.columns.lastOccurredAt[0]);
      }),
    );
  });
});
