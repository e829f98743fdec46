import { describe, expect, it } from 'vitest';
import { type BreakableRule, RuleBreakers } from '../../../src/fraud/rules/rule-breakers.js';

const rule: BreakableRule = { id: 'r', version: 1 };

function watching(rules = [rule]) {
  const breakers = new RuleBreakers({ failures: 3, share: 0.1 });
  breakers.watch(rules);
  const evaluate = (outcomes: string) => {
    for (const outcome of outcomes) {
      breakers.evaluated(0);
      if (outcome === 'x') breakers.failed(0, rule, 7, 'why');
    }
    return breakers.isOpen(0);
  };
  return { breakers, evaluate };
}

describe('a rule’s breaker', () => {
  it('trips at so many failures within so many evaluations, and tells of it once', () => {
    const { breakers, evaluate } = watching();
    expect(evaluate('x.x')).toBe(false);
    expect(evaluate('...x')).toBe(true);
    expect(breakers.takeTrips()).toEqual([{ rule, row: 7, failures: 3, evaluations: 7, reason: 'why' }]);
    expect(breakers.takeTrips()).toEqual([]);
  });

  it('bears any number of failures that are few among the evaluations', () => {
    const { evaluate } = watching();
    expect(evaluate('x..............'.repeat(50))).toBe(false);
    // Three in thirty evaluations, the last bit of the allowance.
    const { evaluate: other } = watching();
    expect(other(`x${'.'.repeat(28)}xx`)).toBe(false);
    expect(other('x')).toBe(true);
  });

  it('stays tripped while the version stays, and begins anew with another or after the rule was gone', () => {
    const { breakers, evaluate } = watching();
    expect(evaluate('xxx')).toBe(true);
    breakers.watch([{ id: 'other', version: 1 }, rule]);
    expect([breakers.isOpen(0), breakers.isOpen(1)]).toEqual([false, true]);
    breakers.watch([{ id: 'r', version: 2 }]);
    expect(breakers.isOpen(0)).toBe(false);
    breakers.watch([rule]);
    expect(breakers.isOpen(0)).toBe(false);
  });

  it('begins anew where the version was brought live again, also unseen between two sets', () => {
    const { breakers, evaluate } = watching([{ ...rule, liveSince: 4 }]);
    expect(evaluate('xxx')).toBe(true);
    breakers.watch([{ ...rule, liveSince: 4 }]);
    expect(breakers.isOpen(0)).toBe(true);
    breakers.watch([{ ...rule, liveSince: 6 }]);
    expect([breakers.isOpen(0), evaluate('xx'), evaluate('x')]).toEqual([false, false, true]);
  });
});
