/**
 * Owns which payments a rule looks at, told from columns and bytes. Neighbours: `rule.ts` says what a scope is,
 * `text-loops.ts` has the loops, `compile-rules.ts` runs them after the rule's condition.
 */
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { RuleScope } from './rule.js';
import { refineText } from './text-loops.js';
import type { Variables } from './variables.js';

/** Writes 0 to `selected[row]` for rows out of scope, and leaves the others. */
export type Narrow = (batch: PaymentBatch, selected: Uint8Array) => void;

/** Null: no payment is out of scope. */
export function compileScope(scope: RuleScope, variables: Variables): Narrow | null {
  const listed = [
    ['payment.country', scope.countries],
    ['payment.currency', scope.currencies],
    ['payment.channel', scope.channels],
    ['payment.mcc', scope.mccs],
    ['payment.merchantId', scope.merchantIds],
  ] as const;
  const refines = listed.flatMap(([name, values]) => {
    const variable = variables.get(name);
    if (values === undefined || !variable?.text) return [];
    return [refineText({ kind: 'text', variable, place: variable.text, test: 'among', values }, 1)];
  });
  if (refines.length === 0) return null;
  return (batch, selected) => {
    for (const refine of refines) refine(batch, selected, 1);
  };
}
