/** Owns the actor: in whose name a request is made or a change happens. Neighbours: `permissions.ts`, `../audit`. */
import type { Permission, Role } from './permissions.js';

export interface Actor {
  /** Stable and unique: a user's subject (`sub`), an API key's id, or `system:<part>`. What the audit trail records. */
  readonly id: string;
  /**
   * Who is behind it, so that nobody passes for two people: a user's own id; for an API key, the principal of whoever
   * made it; the preset key's and a part's own id.
   */
  readonly principal: string;
  /** For people: a user's or key's name. */
  readonly name: string;
  readonly kind: 'user' | 'api-key' | 'system';
  readonly roles: readonly Role[];
  /** What it may do: what its roles allow, narrowed by a key's scopes. */
  readonly permissions: ReadonlySet<Permission>;
}

/** A part of this program that acts by itself, such as a breaker that pauses a rule. */
export function systemActor(part: string): Actor {
  const id = `system:${part}`;
  return { id, principal: id, name: part, kind: 'system', roles: [], permissions: new Set() };
}
