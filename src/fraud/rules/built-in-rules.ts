/**
 * Owns the rule set that ships. Its thresholds are data like any rule's; a rule set from outside replaces the whole.
 * The score's thresholds belong to the shipped model: a new model needs them looked at again.
 */
import { DEFAULT_PATTERN_PARAMETERS } from '../patterns/pattern-parameters.js';
import type { Rule, RuleContent, RuleSet } from './rule.js';

const shipped = (
  id: string,
  rule: Pick<RuleContent, 'name' | 'description' | 'condition' | 'decision' | 'severity'> & Partial<RuleContent>,
): Rule => ({ id, version: 1, trigger: 'payment', scope: {}, state: 'active', ...rule });

export const builtInRuleSet: RuleSet = {
  version: 1,
  rules: [
    shipped('card-testing', {
      name: 'Card testing, then a large payment',
      description: 'Several small payments of a card in a short time, then a large one.',
      condition: 'patterns.cardTesting',
      decision: 'decline',
      severity: 'high',
    }),
    shipped('elevated-score', {
      name: 'Elevated score',
      description: 'The model finds the payment suspicious.',
      condition: 'score >= 0.5 && score < 0.9',
      decision: 'review',
      severity: 'medium',
    }),
    shipped('high-score', {
      name: 'High score',
      description: 'The model is nearly sure.',
      condition: 'score >= 0.9',
      decision: 'decline',
      severity: 'critical',
    }),
    shipped('impossible-travel', {
      name: 'Impossible travel',
      description: 'Two payments of a card further apart than its holder can have travelled.',
      condition: 'patterns.impossibleTravel',
      decision: 'review',
      severity: 'high',
    }),
    shipped('risky-merchant-amount', {
      name: 'Large amount at a risky merchant',
      description: 'A large amount at a merchant with a high share of fraud.',
      condition: 'merchant.risk >= 0.7 && payment.amountMinor >= 20000',
      decision: 'review',
      severity: 'medium',
    }),
    shipped('unfinished-card-testing', {
      name: 'Card testing without a large payment',
      description: 'Several small payments of a card, and no large one in time.',
      trigger: 'card-testing-expired',
      condition: 'patterns.cardTestingSmallCount >= 3',
      decision: 'review',
      severity: 'low',
    }),
    shipped('velocity-burst', {
      name: 'Velocity burst',
      description: 'Many payments of a card in a short time.',
      condition: 'patterns.velocityBurst',
      decision: 'review',
      severity: 'medium',
    }),
  ],
  patterns: DEFAULT_PATTERN_PARAMETERS,
};
