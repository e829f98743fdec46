import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { builtInRules } from '../../../src/fraud/rules/built-in-rules.js';
import { compileRules } from '../../../src/fraud/rules/compile-rules.js';
import { COMPARISONS, type Condition, compileCondition } from '../../../src/fraud/rules/condition.js';
import { makeSignals, readSignals } from '../../../src/fraud/rules/signals.js';
import { cardTestingFound, paymentRows, type RowSpec } from './payment-rows.js';

const rule = (id: string, condition: Condition, decision = 'review', severity = 'medium') => ({
  id,
  name: id,
  version: 1,
  condition,
  decision,
  severity,
});

describe('a compiled rule set', () => {
  it('lets the strictest decision win, and names the deciding rule first', () => {
    const rules = compileRules(builtInRules);
    const batch = paymentRows([
      { score: 0.02 },
      { score: 0.61 },
      { score: 0.61, found: [cardTestingFound] },
      { score: 0.95, found: [cardTestingFound] },
      { merchantRisk: 0.8 },
    ]);
    expect(rules.evaluate(batch)).toBe(4);
    expect([0, 1, 2, 3, 4].map((row) => rules.decision(row))).toEqual([
      'approve',
      'review',
      'decline',
      'decline',
      'review',
    ]);
    expect(rules.firedAt(2).map(({ rule }) => rule.id)).toEqual(['card-testing', 'elevated-score']);
    expect(rules.firedAt(3).map(({ rule }) => rule.id)).toEqual(['high-score', 'card-testing']);
    expect(rules.firedAt(4).map(({ rule }) => rule.id)).toEqual(['risky-merchant-amount']);
    const firings = Object.fromEntries(rules.paymentRules.map(({ rule }, i) => [rule.id, rules.firings[i]]));
    expect(firings).toMatchObject({ 'elevated-score': 2, 'card-testing': 2, 'high-score': 1, 'velocity-burst': 0 });
  });

  it('breaks a tie of decisions by severity, then by the order of the set', () => {
    const always: Condition = { signal: 'score', op: '>=', value: 0 };
    const rules = compileRules({
      version: 1,
      rules: [
        rule('a', always, 'review', 'low'),
        rule('b', always, 'review', 'high'),
        rule('c', always, 'review', 'high'),
      ],
    });
    rules.evaluate(paymentRows([{}]));
    expect(rules.firedAt(0).map(({ rule }) => rule.id)).toEqual(['b', 'c', 'a']);
  });

  it('keeps nothing of the batch before, whatever its size', () => {
    const rules = compileRules(builtInRules);
    rules.evaluate(paymentRows([{ score: 0.95 }, { score: 0.95 }], { capacity: 4 }));
    expect(rules.evaluate(paymentRows([{ score: 0.1 }], { capacity: 4 }))).toBe(0);
    expect(rules.decision(0)).toBe('approve');
    rules.evaluate(paymentRows([{ score: 0.95 }], { capacity: 4 }));
    expect(rules.evaluate(paymentRows([{ score: 0.1 }], { capacity: 8 }))).toBe(0);
    expect(rules.decision(0)).toBe('approve');
    expect(rules.firedAt(0)).toEqual([]);
  });

  it('runs timer rules over named values alone, never over payments', () => {
    const rules = compileRules(builtInRules);
    expect(rules.firedByTimer('card-testing-expired', { cardTestingSmallCount: 2 })).toEqual([]);
    const [fired] = rules.firedByTimer('card-testing-expired', { cardTestingSmallCount: 3 });
    expect(fired.rule.id).toBe('unfinished-card-testing');
    expect(rules.paymentRules.some(({ rule }) => rule.id === 'unfinished-card-testing')).toBe(false);
  });

  it('reads model features by name, each at its own place in the row', () => {
    const rules = compileRules(
      { version: 1, rules: [rule('busy', { signal: 'feature.count24h', op: '>=', value: 5 })] },
      { featureNames: ['amount', 'count24h'] },
    );
    rules.evaluate(paymentRows([{ features: [9, 4] }, { features: [0, 5] }]));
    expect([rules.decision(0), rules.decision(1)]).toEqual(['approve', 'review']);
  });

  it('counts an unknown value as not comparable, != too', () => {
    for (const op of COMPARISONS) {
      const rules = compileRules({ version: 1, rules: [rule('r', { signal: 'score', op, value: 0.5 })] });
      expect(rules.evaluate(paymentRows([{ score: Number.NaN }]))).toBe(0);
    }
  });

  it('changes its hash with any rule, and not with the order of fields', () => {
    const [first] = builtInRules.rules;
    const reordered = Object.fromEntries(Object.entries(first).reverse());
    const set = (one: unknown) => compileRules({ version: 1, rules: [one] });
    expect(set(first).hash).toMatch(/^[0-9a-f]{16}$/);
    expect(set(reordered).hash).toBe(set(first).hash);
    expect(set(reordered).rules[0].hash).toBe(set(first).rules[0].hash);
    expect(set({ ...first, version: 2 }).hash).not.toBe(set(first).hash);
  });
});

describe('the column loops of a condition', () => {
  const leaf = fc.oneof(
    fc.record({
      signal: fc.constantFrom('score', 'merchantRisk', 'amountMinor', 'cardTestingSmallCount'),
      op: fc.constantFrom(...COMPARISONS),
      value: fc.constantFrom(0, 0.25, 0.5, 1, 40_000),
    }),
    fc.record({
      signal: fc.constantFrom('late', 'degraded', 'cardTesting', 'impossibleTravel'),
      op: fc.constantFrom('==' as const, '!=' as const),
      value: fc.boolean(),
    }),
  );
  const { condition } = fc.letrec<{ condition: Condition }>((tie) => ({
    condition: fc.oneof(
      { maxDepth: 3 },
      leaf,
      fc.record({ all: fc.array(tie('condition'), { minLength: 1, maxLength: 3 }) }),
      fc.record({ any: fc.array(tie('condition'), { minLength: 1, maxLength: 3 }) }),
      fc.record({ not: tie('condition') }),
    ),
  }));
  const row: fc.Arbitrary<RowSpec> = fc.record({
    score: fc.constantFrom(0, 0.25, 0.5, 1, Number.NaN),
    merchantRisk: fc.constantFrom(0, 0.25, 0.5, 1),
    late: fc.boolean(),
    degraded: fc.boolean(),
    found: fc.constantFrom([], [cardTestingFound]),
  });

  it('say the same as the condition tested on one payment at a time', () => {
    const signals = makeSignals();
    fc.assert(
      fc.property(condition, fc.array(row, { minLength: 1, maxLength: 6 }), (tree, rows) => {
        const batch = paymentRows(rows);
        const compiled = compileCondition(tree, signals);
        const selected = new Uint8Array(batch.capacity).fill(9);
        compiled.select(batch, selected);
        expect([...selected]).toEqual(rows.map((_, i) => (compiled.test(readSignals(signals, batch, i)) ? 1 : 0)));
      }),
      { numRuns: 300 },
    );
  });
});

describe('the cost of ten rules', () => {
  it('stays under 0.2 µs a payment', () => {
    const ten = Array.from({ length: 10 }, (_, i) => {
      const { condition, decision, severity } = builtInRules.rules[i % 6];
      return rule(`r-${i}`, condition, decision, severity);
    });
    const rules = compileRules({ version: 1, rules: ten });
    const batch = paymentRows(Array.from({ length: 2048 }, (_, i) => ({ score: (i % 97) / 100 })));
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 200; round++) {
      const start = performance.now();
      rules.evaluate(batch);
      if (round >= 50) best = Math.min(best, performance.now() - start);
    }
    const microsecondsEach = (best * 1000) / batch.count;
    console.log(`10 rules: ${microsecondsEach.toFixed(4)} µs a payment`);
    expect(microsecondsEach).toBeLessThan(0.2);
  });
});
