/**
 * Owns the rule set that ships. Its thresholds are data like any rule's; a rule set from outside replaces the whole.
 * The score's thresholds belong to the shipped model: a new model needs them looked at again.
 */
import type { RuleSet } from './rule-set.js';

export const builtInRules: RuleSet = {
  version: 1,
  rules: [
    {
      id: 'high-score',
      name: 'High score',
      version: 1,
      trigger: 'payment',
      condition: { signal: 'score', op: '>=', value: 0.9 },
      decision: 'decline',
      severity: 'critical',
    },
    {
      id: 'card-testing',
      name: 'Card testing, then a large payment',
      version: 1,
      trigger: 'payment',
      condition: { signal: 'cardTesting', op: '==', value: true },
      decision: 'decline',
      severity: 'high',
    },
    {
      id: 'elevated-score',
      name: 'Elevated score',
      version: 1,
      trigger: 'payment',
      condition: {
        all: [
          { signal: 'score', op: '>=', value: 0.5 },
          { signal: 'score', op: '<', value: 0.9 },
        ],
      },
      decision: 'review',
      severity: 'medium',
    },
    {
      id: 'impossible-travel',
      name: 'Impossible travel',
      version: 1,
      trigger: 'payment',
      condition: { signal: 'impossibleTravel', op: '==', value: true },
      decision: 'review',
      severity: 'high',
    },
    {
      id: 'velocity-burst',
      name: 'Velocity burst',
      version: 1,
      trigger: 'payment',
      condition: { signal: 'velocityBurst', op: '==', value: true },
      decision: 'review',
      severity: 'medium',
    },
    {
      id: 'risky-merchant-amount',
      name: 'Large amount at a risky merchant',
      version: 1,
      trigger: 'payment',
      condition: {
        all: [
          { signal: 'merchantRisk', op: '>=', value: 0.7 },
          { signal: 'amountMinor', op: '>=', value: 20_000 },
        ],
      },
      decision: 'review',
      severity: 'medium',
    },
    {
      id: 'unfinished-card-testing',
      name: 'Card testing without a large payment',
      version: 1,
      trigger: 'card-testing-expired',
      condition: { signal: 'cardTestingSmallCount', op: '>=', value: 3 },
      decision: 'review',
      severity: 'low',
    },
  ],
};
