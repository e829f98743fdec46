/** Owns what the access routes are given. Neighbours: `../parts.ts` holds it, the composition root fills it in. */
import type { ApiKeyBook } from '../../fraud/access/api-key.js';
import type { SignIn } from '../../fraud/access/sign-in.js';
import type { UserBook } from '../../fraud/access/user.js';
import type { AuditReader } from '../../fraud/audit/audit-reading.js';

export interface AccessParts {
  readonly apiKeys: ApiKeyBook;
  readonly audit: AuditReader;
  /** Null where an identity provider has the users: `/v1/users` and `/v1/auth/token` do not exist then. */
  readonly local: { readonly users: UserBook; readonly signIn: SignIn } | null;
}

/** Requests a minute. */
export interface RateLimit {
  readonly perActor: number;
  readonly perAddress: number;
}

/** Injection token of the {@link AccessParts}. */
export const ACCESS_PARTS = Symbol('AccessParts');
