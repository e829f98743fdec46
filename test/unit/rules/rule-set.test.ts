import { describe, expect, it } from 'vitest';
import { builtInRules } from '../../../src/fraud/rules/built-in-rules.js';
import { parseRuleSet, RuleSetInvalidError } from '../../../src/fraud/rules/rule-set.js';

const good = {
  id: 'high-score',
  name: 'High score',
  version: 1,
  condition: { signal: 'score', op: '>=', value: 0.9 },
  decision: 'decline',
  severity: 'critical',
};

function problems(rules: unknown) {
  try {
    parseRuleSet({ version: 1, rules });
  } catch (error) {
    expect(error).toBeInstanceOf(RuleSetInvalidError);
    return (error as RuleSetInvalidError).problems;
  }
  throw new Error('the rule set was taken');
}

describe('a rule set from outside', () => {
  it('is taken when it is well formed, and a rule looks at payments unless it says otherwise', () => {
    expect(parseRuleSet({ version: 3, rules: [good] })).toEqual({
      version: 3,
      rules: [{ ...good, trigger: 'payment' }],
    });
    expect(parseRuleSet(builtInRules)).toEqual(builtInRules);
  });

  it.each([
    ['an unknown signal', { signal: 'scoer', op: '>=', value: 0.9 }, 'condition.signal', 'did you mean score?'],
    ['an unknown comparison', { signal: 'score', op: '=>', value: 0.9 }, 'condition.op', 'use one of >= > <= < == !='],
    ['text for a number', { signal: 'score', op: '>=', value: '0.9' }, 'condition.value', 'write a number'],
    ['a share in percent', { signal: 'score', op: '>=', value: 90 }, 'condition.value', 'write 0.9 for 90 %'],
    ['a number for a flag', { signal: 'late', op: '==', value: 1 }, 'condition.value', 'write true or false'],
    ['an order for a flag', { signal: 'late', op: '>', value: true }, 'condition.op', 'use == or !='],
    ['an empty list', { all: [] }, 'condition.all', 'write at least one condition in [ ]'],
    ['two forms at once', { all: [good.condition], any: [good.condition] }, 'condition', 'write {signal, op, value}'],
    ['no condition at all', null, 'condition', 'write {signal, op, value}'],
  ])('is refused for %s, with the place and the way out', (_, condition, path, hint) => {
    const [problem, ...others] = problems([{ ...good, condition: { any: [good.condition, { not: condition }] } }]);
    expect(others).toEqual([]);
    expect(problem.path).toBe(`rules[0].condition.any[1].not${path.slice('condition'.length)}`);
    expect(problem.hint).toContain(hint);
  });

  it('is refused for wrong fields, all of them told at once', () => {
    const found = problems([{ ...good, id: 'High Score', decision: 'block', weight: 3, version: 0 }]);
    expect(found.map(({ path }) => path).sort()).toEqual([
      'rules[0]',
      'rules[0].decision',
      'rules[0].id',
      'rules[0].version',
    ]);
    expect(found.find(({ path }) => path.endsWith('decision'))?.hint).toBe('use one of approve, review, decline');
  });

  it('is refused when two rules share an id, or a condition is too deep or too large', () => {
    expect(problems([good, good]).map(({ path }) => path)).toEqual(['rules[1].id']);
    let deep: unknown = good.condition;
    for (let i = 0; i < 5_000; i++) deep = { not: deep };
    expect(problems([{ ...good, condition: deep }])[0].message).toContain('deeper than 8');
    const wide = { all: Array.from({ length: 8 }, () => ({ any: Array.from({ length: 9 }, () => good.condition) })) };
    expect(problems([{ ...good, condition: wide }])[0].message).toContain('72 comparisons');
  });

  it.each([null, 7, [], { version: 1 }, { version: 1, rules: [] }, { version: 1, rules: 'all' }])(
    'is refused when it is %j',
    (input) => {
      expect(() => parseRuleSet(input)).toThrow(RuleSetInvalidError);
    },
  );
});
