/**
 * Owns users of our own: people with a name and a password, for installations without an identity provider.
 * Neighbours: `sign-in.ts` gives them tokens, `local-tokens.ts` takes these, `src/adapters/postgres` keeps users.
 */
import type { Precondition } from '../audit/precondition.js';
import type { WriteRequest } from '../audit/write-request.js';
import type { Role } from './permissions.js';

/** A user as people may see it. Times in ms since 1970. */
export interface User {
  /** The actor's id; never changes, is never given out again. */
  readonly username: string;
  readonly name: string;
  readonly roles: readonly Role[];
  readonly disabled: boolean;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly changedAt: number;
  /** Rises with every change. */
  readonly revision: number;
}

/** A user as checks of passwords and tokens need it. */
export interface StoredUser extends User {
  /** As `Passwords.keep` gives it. */
  readonly password: string;
  /** Tokens of an earlier generation count no more. */
  readonly generation: number;
}

export interface NewUser {
  readonly username: string;
  readonly name: string;
  readonly roles: readonly Role[];
  readonly password: string;
}

export interface UserChange {
  readonly name?: string | undefined;
  readonly roles?: readonly Role[] | undefined;
  readonly disabled?: boolean | undefined;
}

export const USERNAME = /^[a-z0-9][a-z0-9._@-]{0,63}$/;

/** Errors: code `database-unavailable`. */
export interface UserFinder {
  find(username: string): Promise<StoredUser | null>;
}

/** Where an administrator keeps users. Every change is audited, and ends the worth of tokens where it takes something away. */
export interface UserBook {
  list(limit: number, after: string | null): Promise<{ items: readonly User[]; next: string | null }>;
  /** Errors: code `user-not-found`. */
  get(username: string): Promise<User>;
  /** Errors: code `user-exists`; `sign-in-busy` while too many passwords are worked on. */
  create(request: WriteRequest, user: NewUser): Promise<User>;
  /** Errors: codes `user-not-found`, `precondition-failed`, `own-access`. */
  change(request: WriteRequest, username: string, expected: Precondition, change: UserChange): Promise<User>;
  /** Errors: codes `user-not-found`, `sign-in-busy`. */
  setPassword(request: WriteRequest, username: string, password: string): Promise<User>;
}
