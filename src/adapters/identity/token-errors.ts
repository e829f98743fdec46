/** Owns what a token that jose refuses means to its sender. Neighbours: both issuers here. */
import { errors } from 'jose';
import { CredentialsRefusedError } from '../../fraud/access/authenticator.js';

/** The refusal; any other error as it is. */
export function tokenRefusal(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) {
    return new CredentialsRefusedError('credentials-expired', 'The token has expired; sign in again.', {
      cause: error,
    });
  }
  if (!(error instanceof errors.JOSEError)) return error;
  return new CredentialsRefusedError('credentials-invalid', 'The token is not accepted.', { cause: error });
}
