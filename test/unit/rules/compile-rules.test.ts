import { describe, expect, it } from 'vitest';
import { NamedValues } from '../../../src/fraud/rules/batch-row.js';
import { builtInRuleSet } from '../../../src/fraud/rules/built-in-rules.js';
import { FAILING } from './failing-rules.js';
import { aRule, cardTestingFound, paymentRows, ruleSet } from './payment-rows.js';

const ids = (fired: readonly { readonly rule: { readonly id: string } }[]) => fired.map(({ rule }) => rule.id);
const builtIn = () => ruleSet(builtInRuleSet.rules);

describe('a compiled rule set', () => {
  it('lets the strictest decision win, and names the deciding rule first', () => {
    const { set, evaluate } = builtIn();
    const batch = paymentRows([
      { score: 0.02 },
      { score: 0.61 },
      { score: 0.61, found: [cardTestingFound] },
      { score: 0.95, found: [cardTestingFound] },
      { merchantRisk: 0.8 },
    ]);
    expect(evaluate(batch)).toBe(4);
    expect([0, 1, 2, 3, 4].map((row) => set.decision(row))).toEqual([
      'approve',
      'review',
      'decline',
      'decline',
      'review',
    ]);
    expect(ids(set.firedAt(2))).toEqual(['card-testing', 'elevated-score']);
    expect(ids(set.firedAt(3))).toEqual(['high-score', 'card-testing']);
    expect(ids(set.firedAt(4))).toEqual(['risky-merchant-amount']);
    const firings = Object.fromEntries(set.rules.map(({ rule, index }) => [rule.id, set.firings[index]]));
    expect(firings).toMatchObject({ 'elevated-score': 2, 'card-testing': 2, 'high-score': 1, 'velocity-burst': 0 });
  });

  it('breaks a tie of decisions by severity, then by the order of the ids', () => {
    const { set, evaluate } = ruleSet([
      aRule('c', 'true', { severity: 'high' }),
      aRule('b', 'true', { severity: 'high' }),
      aRule('a', 'true', { severity: 'low' }),
    ]);
    evaluate(paymentRows([{}]));
    expect(ids(set.firedAt(0))).toEqual(['b', 'c', 'a']);
  });

  it('keeps nothing of the batch before, whatever its size', () => {
    const { set, evaluate } = ruleSet([aRule('s', 'score > 0.9'), aRule('t', 'payment.ip != "" && score > 0.5')]);
    evaluate(paymentRows([{ score: 0.95 }, { score: 0.95 }], { capacity: 4 }));
    expect(evaluate(paymentRows([{ score: 0.1 }], { capacity: 4 }))).toBe(0);
    expect(set.decision(0)).toBe('approve');
    evaluate(paymentRows([{ score: 0.95 }], { capacity: 4 }));
    expect(evaluate(paymentRows([{ score: 0.1 }], { capacity: 8 }))).toBe(0);
    expect(set.decision(0)).toBe('approve');
    expect(set.firedAt(0)).toEqual([]);
  });

  it('runs timer rules over named values alone, never over payments', () => {
    const { set, breakers, evaluate } = builtIn();
    const fired = (count: number) =>
      ids(
        set.firedByTimer(
          'card-testing-expired',
          new NamedValues({ 'patterns.cardTestingSmallCount': count }),
          breakers,
        ),
      );
    expect(fired(2)).toEqual([]);
    expect(fired(3)).toEqual(['unfinished-card-testing']);
    evaluate(paymentRows([{ cardTestingSmallCount: 9 }]));
    expect(set.firedAt(0)).toEqual([]);
  });

  it('reads model features by name, each at its own place in the row', () => {
    const { set, evaluate } = ruleSet([aRule('busy', 'features.count24h >= 5')], ['amountMinor', 'count24h']);
    evaluate(paymentRows([{ features: [9, 4] }, { features: [0, 5] }]));
    expect([set.decision(0), set.decision(1)]).toEqual(['approve', 'review']);
    const other = ruleSet([aRule('busy', 'features.night >= 0')], ['amountMinor', 'count24h']);
    expect(other.evaluate(paymentRows([{}]))).toBe(0); // this model has no such input
  });

  it('takes texts from the payment itself, absent ones as ""', () => {
    const { set, evaluate } = ruleSet([
      aRule('device', 'payment.deviceId == "d-1"'),
      aRule('nowhere', 'payment.ip == "" && payment.mcc == ""'),
      aRule('ids', 'payment.cardId == "card-1" && payment.merchantId == "m-1" && payment.paymentId == "p-1"'),
      aRule('money', 'payment.currency == "EUR" && payment.occurredAt > 1.6e12'),
    ]);
    evaluate(paymentRows([{ payment: { deviceId: 'd-1', ip: '10.0.0.1' } }, {}]));
    expect([ids(set.firedAt(0)), ids(set.firedAt(1))]).toEqual([
      ['device', 'ids', 'money'],
      ['ids', 'money', 'nowhere'],
    ]);
  });

  it('evaluates and counts shadow rules, which decide nothing and are in no alert', () => {
    const { set, evaluate } = ruleSet([
      aRule('loud', 'score > 0.5'),
      aRule('quiet', 'score > 0.2', { state: 'shadow', decision: 'decline' }),
    ]);
    expect(evaluate(paymentRows([{ score: 0.3 }, { score: 0.6 }]))).toBe(1);
    expect([set.decision(0), set.decision(1)]).toEqual(['approve', 'review']);
    expect(ids(set.firedAt(1))).toEqual(['loud']);
    expect(set.rules.map(({ firedCounter, index }) => [firedCounter, set.firings[index]])).toEqual([
      ['rules.fired.loud', 1],
      ['rules.shadow.quiet', 2],
    ]);
  });
});

describe('a scope', () => {
  const rows = [
    { payment: { country: 'DE', channel: 'ecom', mcc: '5967', merchantId: 'm-1' } },
    { payment: { country: 'FR', channel: 'pos', mcc: '5411', merchantId: 'm-2', currency: 'USD' } },
    { payment: { merchantId: 'm-22' } },
  ];
  it.each([
    [{}, [0, 1, 2]],
    [{ countries: ['DE', 'IT'] }, [0]],
    [{ currencies: ['USD'] }, [1]],
    [{ channels: ['ecom', 'pos'] }, [0, 1]],
    [{ mccs: ['5411'] }, [1]],
    [{ merchantIds: ['m-2', 'm-22', 'm'] }, [1, 2]],
    [{ countries: ['DE', 'FR'], channels: ['pos'] }, [1]],
    [{ merchantIds: ['m-1'], mccs: ['5411'] }, []],
  ])('%j lets a rule look at its payments alone', (scope, expected) => {
    const { set, evaluate } = ruleSet([
      aRule('r', 'true', { scope }),
      aRule('text', 'payment.cardId != ""', { scope }),
    ]);
    evaluate(paymentRows(rows));
    const inScope = [0, 1, 2].filter((row) => set.decisions[row] === 1);
    expect(inScope).toEqual(expected);
    for (const row of inScope) expect(ids(set.firedAt(row))).toEqual(['r', 'text']);
  });

  it('keeps a rule from failing at payments out of it', () => {
    const { set, evaluate } = ruleSet([aRule('r', FAILING.failsWithoutDevice, { scope: { countries: ['DE'] } })]);
    evaluate(paymentRows([{ payment: { country: 'FR' } }, { payment: { country: 'DE' } }]));
    expect(set.failures[0]).toBe(1);
  });
});

describe('a rule that fails', () => {
  const failing = aRule('bad', FAILING.failsWithoutDevice, { decision: 'decline' });
  const others = [aRule('score', 'score > 0.5'), aRule('text', 'payment.currency == "EUR" && score > 0.2')];
  const rows = [
    { score: 0.6 },
    { score: 0.3, payment: { deviceId: 'a-b' } },
    { score: 0.1 },
    { score: 0.6, payment: { deviceId: 'a-b' } },
  ];

  it('does not fire at that payment, and changes nothing of the others', () => {
    const { set, evaluate } = ruleSet([failing, ...others]);
    evaluate(paymentRows(rows));
    expect(rows.map((_, row) => ids(set.firedAt(row)))).toEqual([
      ['score', 'text'],
      ['bad', 'text'],
      [],
      ['bad', 'score', 'text'],
    ]);
    expect([...set.failures]).toEqual([2, 0, 0]);
  });

  it('fails no more once its breaker tripped, which is told once', () => {
    const { set, breakers, evaluate } = ruleSet([failing, ...others]);
    const batch = paymentRows(Array.from({ length: 12 }, () => ({ score: 0.6 })));
    evaluate(batch);
    expect([set.failures[0], breakers.takeTrips()]).toEqual([12, []]);
    evaluate(batch);
    expect(set.failures[0]).toBe(8);
    expect(breakers.takeTrips()).toEqual([
      {
        rule: expect.objectContaining({ id: 'bad', version: 1 }),
        row: 7,
        failures: 20,
        evaluations: 20,
        reason: 'No such key: index out of bounds, index 1 >= size 1',
      },
    ]);
    evaluate(paymentRows([{ payment: { deviceId: 'a-b' } }]));
    expect([set.decision(0), set.failures[0], breakers.takeTrips()]).toEqual(['approve', 0, []]);
    expect(evaluate(batch)).toBe(12); // by the other rules
  });

  it('for its steps alone is contained too', () => {
    const { set, evaluate } = ruleSet([aRule('slow', FAILING.slowForManyParts), ...others]);
    evaluate(paymentRows([{ payment: { merchantId: '-'.repeat(64) } }, { payment: { merchantId: 'a-b' } }]));
    expect([set.failures[1], set.failures[0], set.decision(1)]).toEqual([1, 0, 'review']);
  });
});

describe('the hashes of a rule set', () => {
  const set = (rule: object, patterns = {}) => ruleSet([rule], []).set.hash + JSON.stringify(patterns);
  const base = aRule('r', 'score > 0.5');

  it('change with any rule, and not with the order of fields', () => {
    const { set: compiled } = ruleSet([base]);
    expect(compiled.hash).toMatch(/^[0-9a-f]{16}$/);
    expect(compiled.rules[0].hash).toMatch(/^[0-9a-f]{16}$/);
    expect(set(Object.fromEntries(Object.entries(base).reverse()))).toBe(set(base));
    for (const change of [{ version: 2 }, { condition: 'score > 0.6' }, { scope: { countries: ['DE'] } }]) {
      expect(set({ ...base, ...change })).not.toBe(set(base));
    }
  });

  it('say of a rule what it is, not whether it runs in the shadow', () => {
    const shadow = ruleSet([{ ...base, state: 'shadow' }]).set;
    const active = ruleSet([base]).set;
    expect(shadow.rules[0].hash).toBe(active.rules[0].hash);
    expect(shadow.hash).not.toBe(active.hash);
  });
});
