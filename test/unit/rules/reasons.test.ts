import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FEATURE_INDEX } from '../../../src/fraud/features/feature-list.js';
import type { Comparison, Condition } from '../../../src/fraud/rules/condition.js';
import { describePattern, reasonOf } from '../../../src/fraud/rules/reasons.js';
import { makeSignals } from '../../../src/fraud/rules/signals.js';
import { cardTestingFound } from './payment-rows.js';

const signals = makeSignals(Object.keys(FEATURE_INDEX));

const reason = (condition: Condition, values: Record<string, number>, currency: string | null = 'EUR') =>
  reasonOf(condition, { signals, values, amountMinor: 45_000, currency, patterns: [] });

const is = (signal: string, op: Comparison, value: number | boolean): Condition => ({ signal, op, value });
const all = (...conditions: Condition[]): Condition => ({ all: conditions });

describe('the reason of a rule', () => {
  it('tells two bounds of one signal in one sentence, wherever they stand', () => {
    const within = all(is('score', '>=', 0.5), is('score', '<', 0.9));
    expect(reason(within, { score: 0.7612 })).toBe('score 0.76 is between 0.50 and 0.90');
    const apart = all(is('score', '<', 0.9), is('merchantRisk', '>', 0.2), all(is('score', '>=', 0.5)));
    expect(reason(apart, { score: 0.7612, merchantRisk: 0.3 })).toBe(
      'score 0.76 is between 0.50 and 0.90 and merchant risk 0.30 is above 0.20',
    );
    const notOutside: Condition = { not: { any: [is('score', '<', 0.5), is('score', '>=', 0.9)] } };
    expect(reason(notOutside, { score: 0.7612 })).toBe('score 0.76 is between 0.50 and 0.90');
    const busy = all(is('velocityCount', '>=', 8), is('velocityCount', '<', 20));
    expect(reason(busy, { velocityCount: 9 })).toBe('9 payments within the velocity window, between 8 and 20');
  });

  it('tells the tighter of two bounds on one side alone, and leaves out what does not hold', () => {
    expect(reason(all(is('score', '>=', 0.5), is('score', '>', 0.7)), { score: 0.8 })).toBe('score 0.80 is above 0.70');
    expect(reason(all(is('score', '>', 0.5), is('score', '>=', 0.5)), { score: 0.8 })).toBe('score 0.80 is above 0.50');
    const either: Condition = { any: [is('score', '>=', 0.5), is('score', '>=', 0.9)] };
    expect(reason(either, { score: 0.8 })).toBe('score 0.80 is at or above 0.50');
  });

  it.each([
    [0.93, '>=', 0.9, 'score 0.93 is at or above 0.90'],
    [0.9312, '>=', 0.9, 'score 0.93 is at or above 0.90'],
    [0.8999, '<', 0.9, 'score 0.8999 is below 0.90'],
    [0.8951, '<', 0.9, 'score 0.895 is below 0.90'],
    [1, '>=', 0.9, 'score 1.00 is at or above 0.90'],
    [0.9962, '>=', 0.995, 'score 1.00 is at or above 0.995'],
    [0.9955, '<', 0.996, 'score 0.9955 is below 0.996'],
    [0.5, '!=', 0.504, 'score 0.50 is not 0.504'],
  ] as const)('rounds a score of %d to two decimals, unless that contradicts %s %d', (score, op, bound, words) => {
    expect(reason(is('score', op, bound), { score })).toBe(words);
  });

  it('writes money with its currency, speeds without decimals and times in words', () => {
    const between = all(is('amountMinor', '>=', 20_000), is('amountMinor', '<=', 50_000));
    expect(reason(between, { amountMinor: 45_000 })).toBe('amount 450.00 EUR is between 200.00 EUR and 500.00 EUR');
    expect(reason(between, { amountMinor: 45_000 }, 'JPY')).toBe('amount 45000 JPY is between 20000 JPY and 50000 JPY');
    expect(reason(is('amountMinor', '>', 1), { amountMinor: 45_000 }, null)).toContain('45000 minor units');
    expect(reason(is('feature.amountSum24hMinor', '>', 100_000), { 'feature.amountSum24hMinor': 123_456 })).toBe(
      'feature amountSum24hMinor 1234.56 EUR is above 1000.00 EUR',
    );
    expect(reason(is('travelSpeedKmh', '>', 900), { travelSpeedKmh: 11674.81 })).toBe(
      'travel speed 11675 km/h is above 900 km/h',
    );
    expect(reason(is('travelSpeedKmh', '>', 900), { travelSpeedKmh: 900.04 })).toBe(
      'travel speed 900.04 km/h is above 900 km/h',
    );
    const since = (op: Comparison, bound: number, value: number) =>
      reason(is('feature.secondsSincePrevious', op, bound), { 'feature.secondsSincePrevious': value });
    expect(since('<', 60, 44.6)).toBe('feature secondsSincePrevious 45 s is below 1 min');
    expect(since('>', 7_200, 9_000)).toBe('feature secondsSincePrevious 2 h 30 min is above 2 h');
    expect(since('>', 7_200, 7_201)).toBe('feature secondsSincePrevious 7201 s is above 2 h');
    expect(since('>', 7_230, 7_300)).toBe('feature secondsSincePrevious 7300 s is above 7230 s');
    expect(reason(is('feature.amountOverMean30d', '>', 3), { 'feature.amountOverMean30d': 5.52124 })).toBe(
      'feature amountOverMean30d 5.52 is above 3',
    );
  });

  it('never shows numbers of which the sentence is not true', () => {
    const share = fc.integer({ min: 0, max: 10_000 }).map((n) => n / 10_000);
    const bound = fc.integer({ min: 0, max: 1_000 }).map((n) => n / 1_000);
    fc.assert(
      fc.property(share, fc.constantFrom<Comparison>('>=', '>', '<=', '<', '!='), bound, (score, op, value) => {
        const told = reason(is('score', op, value), { score });
        if (told === '') return;
        const [shown, limit] = told.match(/\d+\.\d+/g)?.map(Number) ?? [];
        expect(limit).toBe(value);
        expect(
          { '>=': shown >= limit, '>': shown > limit, '<=': shown <= limit, '<': shown < limit }[op as '>'] ??
            shown !== limit,
        ).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('tells flags and findings once, and what is not known', () => {
    const late = all(is('late', '==', true), is('late', '!=', false));
    expect(reason(late, { late: 1 })).toBe('payment arrived late');
    expect(reason({ not: is('score', '<', 0.5) }, { score: Number.NaN })).toBe('score is not known');
    expect(describePattern(cardTestingFound, 45_000, 'EUR')).toBe(
      '4 payments of at most 5.00 EUR in 3 min, then 450.00 EUR',
    );
  });
});
