import { describe, expect, it } from 'vitest';
import { checkRules, type RulesEvidence } from '../../scripts/prove/rules/check.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import type { Rule } from '../../src/fraud/rules/rule.js';
import { ruleHash } from '../../src/fraud/rules/rule-set.js';
import { anAlert } from './projector-fixtures.js';

const ruleOf = (version: number): Rule => ({
  id: 'marker',
  version,
  name: 'Marker',
  description: '',
  trigger: 'payment',
  condition: 'payment.amountMinor == 77777',
  decision: 'review',
  severity: 'medium',
  scope: {},
  state: 'active',
});
const fired = (version: number) => ({ id: 'marker', version, hash: ruleHash(ruleOf(version)) });

const takeUp = (version: number, fromOffset: number) => ({
  kind: 'take-up' as const,
  taskId: 't-0',
  partition: 0,
  ruleSet: { version, hash: `s${version}` },
  fromOffset,
  at: 1,
  refused: null,
});

function alertAt(
  offset: number,
  ruleSetVersion: number,
  firedRules: readonly { id: string; version: number; hash: string }[],
): Alert {
  const alert = anAlert(offset);
  const [first] = alert.rules;
  if (first === undefined) throw new Error('an alert has a rule');
  return {
    ...alert,
    paymentId: `p-${offset}`,
    rules: firedRules.map((one) => ({ ...first, ...one })),
    evidence: {
      ...alert.evidence,
      source: { ...alert.evidence.source, partition: 0, offset },
      ruleSet: { version: ruleSetVersion, hash: `s${ruleSetVersion}` },
    },
  };
}

const sound: RulesEvidence = {
  alerts: [alertAt(5, 1, [fired(1)]), alertAt(10, 2, [fired(2)])],
  takeUps: [takeUp(1, 0), takeUp(2, 10)],
  ruleSets: new Map([
    [1, { version: 1, hash: 's1', rules: [ruleOf(1)] }],
    [2, { version: 2, hash: 's2', rules: [ruleOf(2)] }],
  ]),
  marked: new Set(['p-5', 'p-10']),
  markerRules: ['marker'],
};

describe('the check of the rules proof', () => {
  it('finds nothing wrong with alerts that agree with the log', () => {
    expect(checkRules(sound)).toEqual([]);
  });

  it.each<[string, Partial<RulesEvidence>, RegExp]>([
    ['a lost alert', { alerts: sound.alerts.slice(1) }, /p-5: 0 alerts/],
    ['a doubled alert', { alerts: [...sound.alerts, ...sound.alerts.slice(1)] }, /p-10: 2 alerts/],
    ['a payment decided under the set before', { takeUps: [takeUp(1, 0), takeUp(2, 5)] }, /in force was 2/],
    ['a payment decided before any take-up', { takeUps: [takeUp(2, 10)] }, /no rule set had been taken up/],
    [
      'half a rule set',
      {
        alerts: [alertAt(5, 1, [fired(1)]), alertAt(10, 2, [fired(1)])],
      },
      /marker version 1 is not of rule set 2/,
    ],
    [
      'a rule that kept silent',
      { alerts: [alertAt(5, 1, [fired(1)]), alertAt(10, 2, [])] },
      /marker of rule set 2 did not fire/,
    ],
  ])('finds %s', (_, changes, words) => {
    expect(checkRules({ ...sound, ...changes }).join('\n')).toMatch(words);
  });
});
