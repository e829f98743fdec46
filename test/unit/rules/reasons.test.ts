import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NamedValues } from '../../../src/fraud/rules/batch-row.js';
import { compileCondition } from '../../../src/fraud/rules/compile-condition.js';
import type { Comparison } from '../../../src/fraud/rules/condition.js';
import { describePattern, reasonOf } from '../../../src/fraud/rules/reasons.js';
import { makeVariables } from '../../../src/fraud/rules/variables.js';
import { cardTestingFound } from './payment-rows.js';

const variables = makeVariables();

const reason = (condition: string, values: Record<string, number | boolean | string>, currency = 'EUR') =>
  reasonOf(compileCondition(condition, 'payment', variables).tree, {
    values: new NamedValues(values),
    amountMinor: 45_000,
    currency,
    patterns: [],
  });

const is = (name: string, op: Comparison, value: number | boolean) => `${name} ${op} ${value}`;
const all = (...conditions: string[]) => conditions.map((condition) => `(${condition})`).join(' && ');

describe('the reason of a rule', () => {
  it('tells two bounds of one signal in one sentence, wherever they stand', () => {
    const within = all(is('score', '>=', 0.5), is('score', '<', 0.9));
    expect(reason(within, { score: 0.7612 })).toBe('score 0.76 is between 0.50 and 0.90');
    const apart = all(is('score', '<', 0.9), is('merchant.risk', '>', 0.2), all(is('score', '>=', 0.5)));
    expect(reason(apart, { score: 0.7612, 'merchant.risk': 0.3 })).toBe(
      'score 0.76 is between 0.50 and 0.90 and merchant risk 0.30 is above 0.20',
    );
    const notOutside = '!(score < 0.5 || score >= 0.9)';
    expect(reason(notOutside, { score: 0.7612 })).toBe('score 0.76 is between 0.50 and 0.90');
    const busy = all(is('patterns.velocityCount', '>=', 8), is('patterns.velocityCount', '<', 20));
    expect(reason(busy, { 'patterns.velocityCount': 9 })).toBe(
      '9 payments within the velocity window, between 8 and 20',
    );
  });

  it('tells the tighter of two bounds on one side alone, and leaves out what does not hold', () => {
    expect(reason(all(is('score', '>=', 0.5), is('score', '>', 0.7)), { score: 0.8 })).toBe('score 0.80 is above 0.70');
    expect(reason(all(is('score', '>', 0.5), is('score', '>=', 0.5)), { score: 0.8 })).toBe('score 0.80 is above 0.50');
    const either = 'score >= 0.5 || score >= 0.9';
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
    const between = all(is('payment.amountMinor', '>=', 20_000), is('payment.amountMinor', '<=', 50_000));
    expect(reason(between, { 'payment.amountMinor': 45_000 })).toBe(
      'amount 450.00 EUR is between 200.00 EUR and 500.00 EUR',
    );
    expect(reason(between, { 'payment.amountMinor': 45_000 }, 'JPY')).toBe(
      'amount 45000 JPY is between 20000 JPY and 50000 JPY',
    );
    expect(reason(is('features.amountSum24hMinor', '>', 100_000), { 'features.amountSum24hMinor': 123_456 })).toBe(
      'feature amountSum24hMinor 1234.56 EUR is above 1000.00 EUR',
    );
    expect(reason(is('patterns.travelSpeedKmh', '>', 900), { 'patterns.travelSpeedKmh': 11674.81 })).toBe(
      'travel speed 11675 km/h is above 900 km/h',
    );
    expect(reason(is('patterns.travelSpeedKmh', '>', 900), { 'patterns.travelSpeedKmh': 900.04 })).toBe(
      'travel speed 900.04 km/h is above 900 km/h',
    );
    const since = (op: Comparison, bound: number, value: number) =>
      reason(is('features.secondsSincePrevious', op, bound), { 'features.secondsSincePrevious': value });
    expect(since('<', 60, 44.6)).toBe('feature secondsSincePrevious 45 s is below 1 min');
    expect(since('>', 7_200, 9_000)).toBe('feature secondsSincePrevious 2 h 30 min is above 2 h');
    expect(since('>', 7_200, 7_201)).toBe('feature secondsSincePrevious 7201 s is above 2 h');
    expect(since('>', 7_230, 7_300)).toBe('feature secondsSincePrevious 7300 s is above 7230 s');
    expect(reason(is('features.amountOverMean30d', '>', 3), { 'features.amountOverMean30d': 5.52124 })).toBe(
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
    const late = all(is('payment.late', '==', true), is('payment.late', '!=', false));
    expect(reason(late, { 'payment.late': true })).toBe('payment arrived late');
    expect(reason('!(score < 0.5)', { score: Number.NaN })).toBe('score is not known');
    expect(describePattern(cardTestingFound, 45_000, 'EUR')).toBe(
      '4 payments of at most 5.00 EUR in 3 min, then 450.00 EUR',
    );
  });

  it('tells texts as they are', () => {
    const values = { 'payment.channel': 'ecom', 'payment.ip': '10.0.0.1' };
    expect(reason('payment.channel in ["pos", "ecom"] && payment.mcc == ""', values)).toBe(
      'channel is ecom and merchant category is not known',
    );
    expect(reason('payment.channel != "pos"', values)).toBe('channel is ecom');
    expect(reason('payment.ip.startsWith("10.") || payment.ip.contains("x")', values)).toBe(
      'IP address 10.0.0.1 starts with 10.',
    );
    expect(reason('!payment.ip.endsWith(".2")', values)).toBe('IP address 10.0.0.1 does not end with .2');
    expect(reason('payment.country in ["DE", "FR"]', { 'payment.country': 'FR' })).toBe('country is FR');
    expect(reason('payment.country != "DE"', { 'payment.country': 'FR' })).toBe('country is FR');
    expect(reason('payment.country == ""', {})).toBe('country is not known');
  });

  it('quotes what is more than comparisons with numbers, with the values in it', () => {
    const values = { score: 0.7612, 'payment.channel': 'ecom', 'payment.amountMinor': 45_000, 'payment.late': false };
    expect(reason('score >= 0.5 && (size(payment.channel) > 3 || payment.late)', values)).toBe(
      'score 0.76 is at or above 0.50 and size(payment.channel) > 3 || payment.late (payment.channel is "ecom", payment.late is false)',
    );
    const over = '(payment.amountMinor + 1) * 2 >\n  3 * (features.decayedMean30dMinor)';
    expect(reason(over, { ...values, 'features.decayedMean30dMinor': 123.456789 })).toBe(
      '(payment.amountMinor + 1) * 2 > 3 * (features.decayedMean30dMinor) (payment.amountMinor is 45000, features.decayedMean30dMinor is 123.457)',
    );
    expect(reason('size(payment.mcc) == 0', {})).toBe('size(payment.mcc) == 0 (payment.mcc is "")');
  });
});
