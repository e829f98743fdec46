/**
 * Owns the check of tokens that we gave out ourselves: whose they are, and whether that user may still come in. The user
 * is looked at again every few seconds, so that a role taken away is gone before the token is. Neighbours: `sign-in.ts`
 * gives tokens out, `src/adapters/identity/local-issuer.ts` signs them and knows their signatures.
 *
 * L1 A user changed in this process counts as changed from then on; one changed in another, within {@link CACHED_MS}.
 */
import type { Clock } from '../../stream/ports.js';
import type { Actor } from './actor.js';
import { CredentialsRefusedError } from './authenticator.js';
import type { TextAuthenticator } from './authenticators.js';
import { permissionsOf } from './permissions.js';
import type { StoredUser, User, UserFinder } from './user.js';

const CACHED_MS = 10_000;
const CACHED_USERS = 1_000;

/** Checks signature, issuer, audience and times. Errors: {@link CredentialsRefusedError}. */
export interface TokenReader {
  read(token: string): Promise<{ readonly username: string; readonly generation: number }>;
}

export interface LocalTokenParts {
  readonly tokens: TokenReader;
  readonly users: UserFinder;
  readonly clock: Pick<Clock, 'monotonic'>;
}

export class LocalTokens implements TextAuthenticator {
  private readonly known = new Map<string, { readonly user: StoredUser | null; readonly until: number }>();

  constructor(private readonly parts: LocalTokenParts) {}

  /** Errors: {@link CredentialsRefusedError}; code `database-unavailable`. */
  async authenticate(token: string): Promise<Actor> {
    const { username, generation } = await this.parts.tokens.read(token);
    const user = await this.lookUp(username);
    if (user === null || user.disabled || user.generation !== generation) {
      throw new CredentialsRefusedError('credentials-expired', 'This token counts no more; sign in again.');
    }
    return userActor(user);
  }

  /** The user is to be looked up anew, as it was changed. */
  forget(username: string): void {
    this.known.delete(username);
  }

  private async lookUp(username: string): Promise<StoredUser | null> {
    const nowMs = this.parts.clock.monotonic();
    const known = this.known.get(username);
    if (known !== undefined && nowMs < known.until) return known.user;
    this.known.delete(username);
    const user = await this.parts.users.find(username);
    if (this.known.size >= CACHED_USERS) this.known.delete(this.known.keys().next().value ?? '');
    this.known.set(username, { user, until: nowMs + CACHED_MS });
    return user;
  }
}

/** The user as an actor. */
export function userActor({ username, name, roles }: User): Actor {
  return { id: username, principal: username, name, kind: 'user', roles, permissions: permissionsOf(roles) };
}
