/** A condition says the same whether it runs as loops over columns, row by row, or as the CEL library alone reads it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import { BatchRow } from '../../../src/fraud/rules/batch-row.js';
import { checkCondition } from '../../../src/fraud/rules/check-condition.js';
import { compileCondition } from '../../../src/fraud/rules/compile-condition.js';
import { CelContext, parseCel } from '../../../src/fraud/rules/language.js';
import { makeVariables } from '../../../src/fraud/rules/variables.js';
import { aRule, cardTestingFound, paymentRows, type RowSpec, ruleSet } from './payment-rows.js';

const FEATURES = ['count24h', 'amountSum24hMinor'];

const numbers = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('score', 'merchant.risk', 'payment.amountMinor', 'payment.latitude') },
  fc.constantFrom('features.count24h', 'features.night', 'patterns.velocityCount', 'patterns.travelSpeedKmh'),
);
const flags = fc.constantFrom('payment.late', 'merchant.degraded', 'merchant.riskKnown', 'patterns.cardTesting');
const countries = fc.constantFrom('"DE"', '"FR"', '""');
const texts = fc.constantFrom(
  'payment.mcc',
  'payment.channel',
  'payment.status',
  'payment.currency',
  'payment.country',
  'payment.paymentId',
  'payment.cardId',
  'payment.merchantId',
  'payment.deviceId',
  'payment.ip',
);
const parts = fc.constantFrom('"m"', '"1"', '""', '"59"', '"os"', '"U"', '"é"', '"d-é"', '"10."');
/** Longer than what is gone through one by one. */
const MANY = Array.from({ length: 9 }, (_, i) => `"z-${i}"`).join(', ');
const literal = fc.constantFrom('0', '1', '0.25', '0.5', '-1', '2.5', '20000', '45000', '9007199254740993');
const small = fc.constantFrom('0', '1', '0.25', '0.5');
const op = fc.constantFrom('<', '<=', '>', '>=', '==', '!=');
const both = fc.constantFrom('==', '!=');
const arithmetic = fc.constantFrom('+', '-', '*', '/', '%');

const { number } = fc.letrec<{ number: string }>((tie) => ({
  number: fc.oneof(
    { maxDepth: 2 },
    numbers,
    literal,
    fc.tuple(tie('number'), arithmetic, tie('number')).map(([a, by, b]) => `(${a} ${by} ${b})`),
    tie('number').map((a) => `-(${a})`),
  ),
}));

const leaf = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(numbers, op, small).map((parts) => parts.join(' ')) },
  { weight: 3, arbitrary: fc.tuple(number, op, number).map((parts) => parts.join(' ')) },
  fc.tuple(small, op, numbers).map((parts) => parts.join(' ')),
  { weight: 2, arbitrary: flags },
  fc.tuple(flags, both, fc.constantFrom('true', 'false')).map((parts) => parts.join(' ')),
  fc.tuple(both, countries).map(([by, country]) => `payment.country ${by} ${country}`),
  fc.tuple(countries, both).map(([country, by]) => `${country} ${by} payment.country`),
  fc.array(countries, { maxLength: 3 }).map((list) => `payment.country in [${list}]`),
  fc
    .array(fc.constantFrom('45000', '100'), { minLength: 1, maxLength: 3 })
    .map((list) => `payment.amountMinor in [${list}]`),
  fc.tuple(texts, both, fc.constantFrom('"m-1"', '""')).map((parts) => parts.join(' ')),
  fc
    .tuple(texts, fc.constantFrom('startsWith', 'endsWith', 'contains'), parts)
    .map(([name, method, part]) => `${name}.${method}(${part})`),
  fc.array(fc.constantFrom('"m-1"', '"EUR"', '""'), { maxLength: 3 }).map((list) => `payment.merchantId in [${list}]`),
  fc.constantFrom('"d-é"', '"d"').map((device) => `payment.deviceId in [${MANY}, ${device}]`),
  fc
    .array(fc.constantFrom('"pos"', '"ecom"', '""'), { minLength: 1, maxLength: 3 })
    .map((list) => `payment.channel in [${list}]`),
  fc.tuple(both, fc.constantFrom('"5967"', '"0000"', '""')).map(([by, mcc]) => `payment.mcc ${by} ${mcc}`),
  fc.tuple(both, fc.constantFrom('"USD"', '"EUR"')).map(([by, currency]) => `payment.currency ${by} ${currency}`),
  texts.map((name) => `size(${name}) > 1`),
  // Fails where there is no second part.
  fc.constantFrom('payment.merchantId.split("-")[1] == "1"', 'payment.deviceId.split("-")[1] == "1"'),
  fc.constantFrom(
    'true',
    'false',
    '["m", "n"].exists(x, payment.merchantId.contains(x))',
    '1 / 0 > 1',
    '[1, 2].all(x, score != x)',
  ),
);
const { condition } = fc.letrec<{ condition: string }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 3, depthSize: 'large' },
    leaf,
    fc
      .tuple(tie('condition'), fc.constantFrom('&&', '&&', '||'), tie('condition'))
      .map(([a, by, b]) => `(${a}) ${by} ${b}`),
    fc.tuple(tie('condition'), tie('condition')).map(([a, b]) => `${a} && (${b})`),
    tie('condition').map((a) => `!(${a})`),
    fc.tuple(flags, tie('condition'), tie('condition')).map(([a, b, c]) => `(${a} ? (${b}) : (${c}))`),
  ),
}));

const known = fc.constantFrom(0, 0.25, 0.5, 1, 2.5);
const row = (number: fc.Arbitrary<number>): fc.Arbitrary<RowSpec> =>
  fc.record({
    payment: fc.record({
      amountMinor: fc.constantFrom(0, 1, 20_000, 45_000),
      country: fc.constantFrom('DE', 'FR', undefined),
      merchantId: fc.constantFrom('m-1', 'n'),
      deviceId: fc.constantFrom('d-1', 'd', 'd-é', '😀', undefined),
      channel: fc.constantFrom('pos', 'ecom', undefined),
      mcc: fc.constantFrom('5967', '0000', undefined),
      status: fc.constantFrom('requested', undefined),
      currency: fc.constantFrom('EUR', 'USD'),
      ip: fc.constantFrom('10.0.0.1', undefined),
      latitude: number,
    }),
    score: number,
    merchantRisk: known,
    travelSpeedKmh: number,
    velocityCount: fc.nat(3),
    riskSource: fc.nat(1),
    late: fc.boolean(),
    degraded: fc.boolean(),
    features: fc.tuple(number, number),
    found: fc.constantFrom([], [cardTestingFound]),
  });

const outcome = (test: () => unknown) => {
  try {
    return test();
  } catch {
    return 'failed';
  }
};

const variables = makeVariables(FEATURES);

/** What each row comes to with the condition as one piece of CEL, by `holds`. */
function rowByRow(batch: PaymentBatch, holds: (values: BatchRow) => unknown) {
  const values = new BatchRow(variables);
  return Array.from({ length: batch.count }, (_, row) => {
    values.moveTo(batch, row);
    return outcome(() => holds(values));
  });
}

function throughRules(text: string, batch: PaymentBatch) {
  const { set, evaluate } = ruleSet([aRule('r', text)], FEATURES);
  evaluate(batch);
  return { fired: Array.from({ length: batch.count }, (_, row) => set.decisions[row] === 1), failed: set.failures[0] };
}

describe('a condition as rules run it', () => {
  const rows = (number: fc.Arbitrary<number>) => fc.array(row(number), { minLength: 1, maxLength: 5 });

  it('fires where the condition as one piece holds, and fails where that fails', () => {
    let vectorised = 0;
    let mixed = 0;
    fc.assert(
      fc.property(condition, rows(fc.oneof(known, fc.constant(Number.NaN))), (text, specs) => {
        fc.pre(checkCondition(text, 'payment').problems.length === 0);
        const batch = paymentRows(specs);
        const { whole, rest, tree } = compileCondition(text, 'payment', variables);
        const expected = rowByRow(batch, (values) => whole().holds(values));
        const { fired, failed } = throughRules(text, batch);
        expect(fired).toEqual(expected.map((result) => result === true));
        expect(failed).toBe(expected.filter((result) => result === 'failed').length);
        if (rest === null) vectorised++;
        else if (tree.kind === 'all' && tree.parts.some(({ kind }) => kind !== 'written')) mixed++;
      }),
      { numRuns: 2_000 },
    );
    // Both ways are walked.
    expect(vectorised).toBeGreaterThan(400);
    expect(mixed).toBeGreaterThan(100);
  });

  it('means what CEL means, where every number is known', () => {
    fc.assert(
      fc.property(condition, rows(known), (text, specs) => {
        fc.pre(checkCondition(text, 'payment').problems.length === 0);
        const batch = paymentRows(specs.map((spec) => ({ ...spec, features: [1, 2] })));
        const plain = parseCel(text.replaceAll('features.night', 'features.count24h'), 'payment');
        const context = new CelContext('payment');
        const expected = rowByRow(batch, (values) => {
          context.source = values;
          return plain(context);
        });
        const { fired } = throughRules(text.replaceAll('features.night', 'features.count24h'), batch);
        // Here 1 / 0.0 and the like are Infinity and NaN as well: only `!=` with NaN is read another way.
        if (text.includes('!=') && /[/%]/.test(text)) return;
        expect(fired).toEqual(expected.map((result) => result === true));
      }),
      { numRuns: 1_000 },
    );
  });

  it('lets no comparison hold with a number that is not known', () => {
    const batch = paymentRows([{ score: Number.NaN, payment: { latitude: undefined } }]);
    for (const by of ['<', '<=', '>', '>=', '==', '!=']) {
      for (const text of [
        `score ${by} 0.5`,
        `0.5 ${by} score`,
        `score ${by} payment.latitude`,
        `2 * score ${by} 1`,
        `payment.ip.size() == 0 && score ${by} 0.5`,
        `payment.ip.size() == 0 && [0.5].exists(x, score ${by} x)`,
        `payment.ip.size() == 0 ? score ${by} 0.5 : true`,
        `score in [0.5, 1.0]`,
      ]) {
        expect([text, throughRules(text, batch).fired]).toEqual([text, [false]]);
      }
    }
  });
});
