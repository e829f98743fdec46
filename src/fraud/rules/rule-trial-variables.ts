/** Owns which variables a condition reads, for a trial to show. Neighbours: `tree.ts` walks, `variables.ts` names them. */
import { parseCel, variablesOf } from './language.js';
import type { RuleTrigger } from './rule.js';
import { childrenOf, variableName } from './tree.js';
import type { Variable } from './variables.js';

export type UsedVariable = Pick<Variable, 'name' | 'type'>;

/** In the order of `docs/RULES.md`. The condition must have been checked. */
export function usedVariables(condition: string, trigger: RuleTrigger): readonly UsedVariable[] {
  const names = new Set<string>();
  const nodes = [parseCel(condition, trigger).ast];
  for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
    const name = variableName(node);
    if (name !== null) names.add(name);
    nodes.push(...childrenOf(node));
  }
  return variablesOf(trigger).filter(({ name }) => names.has(name));
}
