import { describe, expect, it } from 'vitest';
import { DEFAULT_PATTERN_PARAMETERS } from '../../../src/fraud/patterns/pattern-parameters.js';
import { builtInRuleSet } from '../../../src/fraud/rules/built-in-rules.js';
import { checkRuleContent } from '../../../src/fraud/rules/check-rule.js';
import { RuleInvalidError, RuleSetInvalidError } from '../../../src/fraud/rules/rule-problems.js';
import { parseRuleSet } from '../../../src/fraud/rules/rule-set.js';

const good = {
  id: 'high-score',
  name: 'High score',
  version: 1,
  condition: 'score >= 0.9',
  decision: 'decline',
  severity: 'critical',
};
const { id: _, version: __, ...content } = good;

function problems(of: () => unknown) {
  try {
    of();
  } catch (error) {
    if (error instanceof RuleInvalidError || error instanceof RuleSetInvalidError) return error.problems;
    throw error;
  }
  throw new Error('it was taken');
}

const setProblems = (rules: unknown) => problems(() => parseRuleSet({ version: 1, rules }));
const contentProblems = (change: object) => problems(() => checkRuleContent({ ...content, ...change }));

describe('a rule set from outside', () => {
  it('is taken when it is well formed; what is left out gets its default', () => {
    expect(parseRuleSet({ version: 3, rules: [good] })).toEqual({
      version: 3,
      rules: [{ ...good, description: '', trigger: 'payment', scope: {}, state: 'active' }],
      patterns: DEFAULT_PATTERN_PARAMETERS,
    });
    expect(parseRuleSet(builtInRuleSet)).toEqual(builtInRuleSet);
    expect(parseRuleSet(JSON.parse(JSON.stringify(builtInRuleSet)))).toEqual(builtInRuleSet);
    expect(parseRuleSet({ version: 1, rules: [] }).rules).toEqual([]);
  });

  it('lists its rules by id, and fills in pattern parameters', () => {
    const set = parseRuleSet({
      version: 1,
      rules: [good, { ...good, id: 'a' }],
      patterns: { velocityBurst: { minPayments: 5 } },
    });
    expect(set.rules.map(({ id }) => id)).toEqual(['a', 'high-score']);
    expect(set.patterns.velocityBurst).toEqual({ ...DEFAULT_PATTERN_PARAMETERS.velocityBurst, minPayments: 5 });
  });

  it('is refused for wrong fields, all of them told at once', () => {
    const found = setProblems([{ ...good, id: 'High Score', decision: 'block', weight: 3, version: 0 }]);
    expect(found.map(({ path }) => path).sort()).toEqual([
      'rules[0]',
      'rules[0].decision',
      'rules[0].id',
      'rules[0].version',
    ]);
    expect(found.find(({ path }) => path.endsWith('decision'))?.hint).toBe('use one of approve, review, decline');
  });

  it('is refused for any condition that does not hold up, each with its place', () => {
    const bad = { ...good, id: 'bad', condition: 'scor >\n 0.5' };
    expect(setProblems([good, bad, good])).toMatchObject([
      { path: 'rules[1].condition', line: 1, column: 1, hint: 'did you mean score?' },
      { path: 'rules[2].id', message: "'high-score' names another rule of the set too" },
    ]);
    expect(() => parseRuleSet({ version: 1, rules: [bad] })).toThrow(
      "rules[0].condition, line 1, column 1: 'scor' is not known here (did you mean score?)",
    );
  });

  it.each([null, 7, [], { version: 1 }, { version: 0, rules: [] }, { version: 1, rules: 'all' }, { rules: [] }])(
    'is refused when it is %j',
    (input) => {
      expect(() => parseRuleSet(input)).toThrow(RuleSetInvalidError);
    },
  );
});

describe('what an author sends for a rule', () => {
  it('is taken with defaults', () => {
    expect(checkRuleContent(content)).toEqual({ ...content, description: '', trigger: 'payment', scope: {} });
    const full = {
      ...content,
      description: 'One line.\nAnother one.',
      trigger: 'payment',
      scope: { countries: ['DE'], channels: ['ecom'], mccs: ['5967'], currencies: ['EUR'], merchantIds: ['m-1'] },
    };
    expect(checkRuleContent(full)).toEqual(full);
  });

  it.each([
    [{ scope: { countries: ['Germany'] } }, 'scope.countries[0]'],
    [{ scope: { countries: [] } }, 'scope.countries'],
    [{ scope: { mccs: ['5967', '5967'] } }, 'scope.mccs'],
    [{ scope: { channels: ['web'] } }, 'scope.channels[0]'],
    [{ scope: { merchantIds: ['ü'.repeat(33)] } }, 'scope.merchantIds[0]'],
    [{ scope: { cities: ['Bonn'] } }, 'scope'],
    [{ name: '' }, 'name'],
    [{ name: 'bell\u0007' }, 'name'],
    [{ description: 'half \ud800 a pair' }, 'description'],
    [{ severity: 'huge' }, 'severity'],
    [{ id: 'mine' }, 'rule'],
    [{ condition: 3 }, 'condition'],
    [
      {
        trigger: 'card-testing-expired',
        condition: 'patterns.cardTestingSmallCount > 3',
        scope: { countries: ['DE'] },
      },
      'scope',
    ],
  ])('is refused: %j', (change, path) => {
    const [problem, ...others] = contentProblems(change);
    expect([problem.path, others]).toEqual([path, []]);
    expect(problem.message.length * problem.hint.length).toBeGreaterThan(0);
  });

  it('is told of its condition together with the rest', () => {
    expect(contentProblems({ severity: 'huge', condition: 'score >= 90' }).map(({ path }) => path)).toEqual([
      'severity',
      'condition',
    ]);
  });
});
