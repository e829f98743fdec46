import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { haversineKm } from '../../../src/fraud/patterns/impossible-travel.js';
import { FINDING } from '../../../src/fraud/payments/payment-batch.js';
import { CardRun, HOUR_MS, MINUTE_MS, NOON, type TestPayment } from '../features/run-cards.js';

const PARIS = { latitude: 48.8566, longitude: 2.3522 };
const NEW_YORK = { latitude: 40.7128, longitude: -74.006 };
const LILLE = { latitude: 50.6292, longitude: 3.0573 };

function isFound(...payments: TestPayment[]): boolean {
  const batch = new CardRun().pay(payments);
  return (batch.findings[payments.length - 1] & FINDING.impossibleTravel) !== 0;
}

describe('impossible travel', () => {
  it('is Paris to New York in an hour, and not in eight', () => {
    expect(isFound({ at: NOON, ...PARIS }, { at: NOON + HOUR_MS, ...NEW_YORK })).toBe(true);
    expect(isFound({ at: NOON, ...PARIS }, { at: NOON + 8 * HOUR_MS, ...NEW_YORK })).toBe(false);
  });

  it('records distance, time and speed', () => {
    const { matches } = new CardRun().pay([
      { at: NOON, ...PARIS },
      { at: NOON + HOUR_MS, ...NEW_YORK },
    ]);
    const finding = matches.get(1)?.[0];
    if (finding?.pattern !== 'impossible-travel') throw new Error('not found');
    expect(finding.distanceKm).toBeGreaterThan(5_830);
    expect(finding.distanceKm).toBeLessThan(5_845);
    expect(finding.elapsedMs).toBe(HOUR_MS);
    expect(finding.speedKmh).toBeCloseTo(finding.distanceKm, 6);
  });

  it('lets short distances pass, however fast', () => {
    expect(isFound({ at: NOON, ...PARIS }, { at: NOON, ...LILLE })).toBe(false);
  });

  it('is seen at the same moment and in payments out of order', () => {
    expect(isFound({ at: NOON, ...PARIS }, { at: NOON, ...NEW_YORK })).toBe(true);
    expect(isFound({ at: NOON, ...PARIS }, { at: NOON - HOUR_MS, ...NEW_YORK })).toBe(true);
  });

  it('says nothing of a card’s first place', () => {
    expect(isFound({ at: NOON, ...NEW_YORK })).toBe(false);
    expect(isFound({ at: NOON }, { at: NOON + 1, ...NEW_YORK })).toBe(false);
    expect(isFound({ at: NOON, country: 'FR' })).toBe(false);
  });

  it('goes by a quick change of country where coordinates are missing', () => {
    expect(isFound({ at: NOON, country: 'FR' }, { at: NOON + MINUTE_MS, country: 'US' })).toBe(true);
    expect(isFound({ at: NOON, country: 'FR' }, { at: NOON + MINUTE_MS, country: 'FR' })).toBe(false);
    expect(isFound({ at: NOON, country: 'FR' }, { at: NOON + 30 * MINUTE_MS, country: 'US' })).toBe(false);
  });

  it('lets coordinates decide where both payments have them', () => {
    const nearBorder = { at: NOON, country: 'FR', ...LILLE };
    expect(isFound(nearBorder, { at: NOON + MINUTE_MS, country: 'BE', ...LILLE })).toBe(false);
  });
});

describe('haversine distance', () => {
  const place = fc.tuple(
    fc.double({ min: -90, max: 90, noNaN: true }),
    fc.double({ min: -180, max: 180, noNaN: true }),
  );

  it('is symmetric, within half the Earth’s circumference, and 0 to itself', () => {
    fc.assert(
      fc.property(place, place, (a, b) => {
        const km = haversineKm(...a, ...b);
        expect(km).toBeCloseTo(haversineKm(...b, ...a), 6);
        expect(km).toBeGreaterThanOrEqual(0);
        expect(km).toBeLessThanOrEqual(20_016);
        expect(haversineKm(...a, ...a)).toBe(0);
      }),
    );
  });

  it('keeps the triangle inequality', () => {
    fc.assert(
      fc.property(place, place, place, (a, b, c) => {
        expect(haversineKm(...a, ...c)).toBeLessThanOrEqual(haversineKm(...a, ...b) + haversineKm(...b, ...c) + 1e-3);
      }),
    );
  });
});
