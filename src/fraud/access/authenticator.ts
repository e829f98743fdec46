/**
 * Owns the question "who is this?": the port behind which tokens and API keys are checked. Neighbours: the API's guard
 * asks on every request, `src/adapters` verify tokens and look keys up.
 */
import { StreamError } from '../../stream/errors.js';
import type { Actor } from './actor.js';

export type Credentials =
  | { readonly kind: 'bearer'; readonly token: string }
  | { readonly kind: 'api-key'; readonly key: string };

/** Credentials that are not accepted. The message never tells which part of them was wrong, nor repeats them. */
export class CredentialsRefusedError extends StreamError {
  constructor(
    code: 'credentials-missing' | 'credentials-invalid' | 'credentials-expired',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(code, message, options);
  }
}

/** The actor is known, and may not do this. */
export class PermissionDeniedError extends StreamError {
  constructor(permission: string) {
    super('permission-denied', `This needs the permission ${permission}, which your roles do not give you.`);
  }
}

/** Errors: {@link CredentialsRefusedError}; code `issuer-unavailable` where the identity provider can't be asked. */
export interface Authenticator {
  authenticate(credentials: Credentials): Promise<Actor>;
}
