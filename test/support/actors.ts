/** Owns the people of API tests: one for each role, known by a bearer token that is the role's name. */
import type { Actor } from '../../src/fraud/access/actor.js';
import { type Authenticator, CredentialsRefusedError } from '../../src/fraud/access/authenticator.js';
import { permissionsOf, ROLES, type Role } from '../../src/fraud/access/permissions.js';

/**
 * `id` sets two people of one role apart: the token is then `<role>:<id>`. `principal`: the person behind a key, whose
 * token is then `<role>:<id>:<principal>`.
 */
export function anActor(role: Role, id: string = role, principal: string = id): Actor {
  return {
    id,
    principal,
    name: id,
    kind: principal === id ? 'user' : 'api-key',
    roles: [role],
    permissions: permissionsOf([role]),
  };
}

/** Accepts `Bearer <role>`, `Bearer <role>:<id>` and `Bearer <role>:<id>:<principal>`. */
export const rolesByToken: Authenticator = {
  authenticate: async (credentials) => {
    const [role, id, principal] = (credentials.kind === 'bearer' ? credentials.token : '').split(':');
    const known = ROLES.find((candidate) => candidate === role);
    if (known === undefined) throw new CredentialsRefusedError('credentials-invalid', 'Nobody has this token.');
    return anActor(known, id ?? known, principal ?? id ?? known);
  },
};

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
