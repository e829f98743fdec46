/**
 * Owns which payments a rule looks at. Countries and merchants are told from columns, the other fields row by row from
 * the payment. Neighbours: `rule.ts` says what a scope is, `compile-rules.ts` runs it with the rule's condition.
 */
import { hash53 } from '../../stream/state/key-index.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import type { Select } from './condition.js';
import type { ValueSource } from './language.js';
import type { RuleScope } from './rule.js';
import { countryCode } from './variables.js';

export interface CompiledScope {
  /** Writes 0 to `selected[row]` for rows out of scope, and leaves the others. Null: no row is. */
  readonly narrow: Select | null;
  /** The lists that columns do not tell of; null where there are none. May throw what reading the payment throws. */
  readonly rest: ((source: ValueSource) => boolean) | null;
}

export function compileScope(scope: RuleScope): CompiledScope {
  const columns = [byCountry(scope.countries), byMerchant(scope.merchantIds)].filter((select) => select !== null);
  const texts = [
    among('payment.currency', scope.currencies),
    among('payment.channel', scope.channels),
    among('payment.mcc', scope.mccs),
  ].filter((test) => test !== null);
  return {
    narrow: columns.length === 0 ? null : oneAfterTheOther(columns),
    rest: texts.length === 0 ? null : (source) => texts.every((holds) => holds(source)),
  };
}

function oneAfterTheOther(selects: readonly Select[]): Select {
  return (batch, selected) => {
    for (const select of selects) select(batch, selected);
  };
}

function byCountry(countries: readonly string[] | undefined): Select | null {
  if (countries === undefined) return null;
  const codes = new Set(countries.map(countryCode));
  return ({ country, count }, selected) => {
    for (let row = 0; row < count; row++) if (selected[row] === 1 && !codes.has(country[row])) selected[row] = 0;
  };
}

/** By hash first; equal hashes are settled by the bytes. */
function byMerchant(merchantIds: readonly string[] | undefined): Select | null {
  if (merchantIds === undefined) return null;
  const byHash = new Map<number, Buffer[]>();
  for (const id of merchantIds) {
    const bytes = Buffer.from(id, 'utf8');
    const hash = hash53(bytes, 0, bytes.length);
    byHash.set(hash, [...(byHash.get(hash) ?? []), bytes]);
  }
  return (batch, selected) => {
    for (let row = 0; row < batch.count; row++) {
      if (selected[row] === 0) continue;
      const candidates = byHash.get(batch.merchantHash[row]);
      if (candidates === undefined || !candidates.some((id) => isMerchant(batch, row, id))) selected[row] = 0;
    }
  };
}

function isMerchant(batch: PaymentBatch, row: number, id: Buffer): boolean {
  const start = batch.merchantStart[row];
  const end = start + batch.merchantLength[row];
  return id.compare(batch.textBytes(row), start, end) === 0;
}

function among(name: string, list: readonly string[] | undefined): ((source: ValueSource) => boolean) | null {
  if (list === undefined) return null;
  const listed = new Set(list);
  return (source) => listed.has(source.text(name));
}
