/**
 * Owns what must hold after rules were changed under load: which payment was decided under which rule set is read from
 * the log itself (take-ups) and compared with what each alert says of itself. Neighbours: `proof.ts` gathers.
 */
import type { Alert } from '../../../src/fraud/alerts/alert.js';
import type { TakeUp } from '../../../src/fraud/rules/rollout.js';
import { ruleHash } from '../../../src/fraud/rules/rule-set.js';
import type { PublishedRuleSet } from './admin-client.js';

export interface RulesEvidence {
  readonly alerts: readonly Alert[];
  readonly takeUps: readonly TakeUp[];
  /** By version. */
  readonly ruleSets: ReadonlyMap<number, PublishedRuleSet>;
  /** Payments that every rule set alerts of. */
  readonly marked: ReadonlySet<string>;
  /** Rules that fire for exactly those, in every rule set that has them. */
  readonly markerRules: readonly string[];
}

const SHOWN = 5;

/** What is wrong, in sentences; empty where nothing is. */
export function checkRules(evidence: RulesEvidence): readonly string[] {
  return [
    ...first('marked payments without exactly one alert', onceEach(evidence)),
    ...first('alert ids that come twice', doubled(evidence.alerts.map(({ alertId }) => alertId))),
    ...first(
      'alerts that differ from the rule set in force',
      evidence.alerts.flatMap((alert) => faults(alert, evidence)),
    ),
  ];
}

function onceEach({ alerts, marked }: RulesEvidence): string[] {
  const counts = new Map<string, number>();
  for (const { paymentId } of alerts) {
    if (paymentId !== null) counts.set(paymentId, (counts.get(paymentId) ?? 0) + 1);
  }
  return [...marked].flatMap((id) => (counts.get(id) === 1 ? [] : [`${id}: ${counts.get(id) ?? 0} alerts`]));
}

function doubled(ids: readonly string[]): string[] {
  const seen = new Set<string>();
  return ids.filter((id) => seen.has(id) || !seen.add(id));
}

/** One payment, one whole rule set: the one its task had taken up before it. */
function faults(alert: Alert, evidence: RulesEvidence): string[] {
  const { partition, offset } = alert.evidence.source;
  // A timer's alert names the payment that set the timer; it was decided later, under the set of that time.
  if (alert.evidence.payment === null) return [];
  const inForce = evidence.takeUps.findLast(
    (takeUp) => takeUp.partition === partition && takeUp.fromOffset <= offset,
  )?.ruleSet;
  const place = `partition ${partition}, offset ${offset}`;
  if (inForce === undefined) return [`${place}: no rule set had been taken up`];
  const { version, hash } = alert.evidence.ruleSet;
  if (version !== inForce.version || hash !== inForce.hash) {
    return [`${place}: decided under rule set ${version} (${hash}), in force was ${inForce.version} (${inForce.hash})`];
  }
  const ruleSet = evidence.ruleSets.get(version);
  if (ruleSet === undefined) return [`${place}: nobody knows rule set ${version}`];
  if (ruleSet.hash !== hash) return [`${place}: rule set ${version} is ${ruleSet.hash}, the alert says ${hash}`];
  const strange = alert.rules.filter(
    (fired) => !ruleSet.rules.some((rule) => rule.id === fired.id && ruleHash(rule) === fired.hash),
  );
  const silent = evidence.marked.has(alert.paymentId ?? '')
    ? ruleSet.rules.filter(
        ({ id }) => evidence.markerRules.includes(id) && !alert.rules.some((fired) => fired.id === id),
      )
    : [];
  return [
    ...strange.map(({ id, version: fired }) => `${place}: ${id} version ${fired} is not of rule set ${version}`),
    ...silent.map(({ id }) => `${place}: ${id} of rule set ${version} did not fire`),
  ];
}

function first(what: string, found: readonly string[]): string[] {
  return found.length === 0 ? [] : [`${found.length} ${what}: ${found.slice(0, SHOWN).join('; ')}`];
}
