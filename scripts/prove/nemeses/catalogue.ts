/** Owns the list of nemeses, by name. Neighbours: the files beside this one hold them, `nemesis.ts` says what one is. */
import * as brokers from './broker-nemeses.js';
import * as databases from './database-nemeses.js';
import type { Arena, Nemesis } from './nemesis.js';
import * as networks from './network-nemeses.js';
import * as processes from './process-nemeses.js';
import * as savepoints from './savepoint-nemeses.js';

export const NEMESES: readonly Nemesis[] = [processes, brokers, networks, databases, savepoints].flatMap((file) =>
  Object.values(file),
);

/** Those named, or all where none is. Errors: a name that no nemesis has. */
export function nemesesNamed(names: readonly string[]): readonly Nemesis[] {
  if (names.length === 0) return NEMESES;
  return names.map((name) => {
    const found = NEMESES.find((nemesis) => nemesis.name === name);
    if (found !== undefined) return found;
    throw new Error(`there is no nemesis ${name}; there are ${NEMESES.map((nemesis) => nemesis.name).join(', ')}`);
  });
}

/** Sorted into those that can strike here, and why the others cannot. */
export function possibleIn(
  nemeses: readonly Nemesis[],
  arena: Arena,
): { readonly possible: readonly Nemesis[]; readonly reasons: ReadonlyMap<string, string> } {
  const reasons = new Map<string, string>();
  const possible = nemeses.filter((nemesis) => {
    const reason = nemesis.impossible(arena);
    if (reason !== null) reasons.set(nemesis.name, reason);
    return reason === null;
  });
  return { possible, reasons };
}
