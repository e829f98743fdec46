/**
 * Owns the one authenticator of a process, made of those for API keys and for tokens. Neighbours: `key-authenticator.ts`,
 * `local-tokens.ts`; tokens of an OIDC issuer are checked in `src/adapters/identity`.
 */
import type { Actor } from './actor.js';
import { type Authenticator, type Credentials, CredentialsRefusedError } from './authenticator.js';

/** Turns a text that somebody sent into an actor. Errors: as {@link Authenticator}. */
export interface TextAuthenticator {
  authenticate(text: string): Promise<Actor>;
}

/** Longer ones are refused unread. */
const LONGEST_TOKEN = 16_384;

/** `tokens` is null where nobody gives out tokens. A key may also come as a bearer token: some clients know no other way. */
export function combineAuthenticators(keys: TextAuthenticator, tokens: TextAuthenticator | null): Authenticator {
  return {
    authenticate: async (credentials: Credentials): Promise<Actor> => {
      if (credentials.kind === 'api-key') return keys.authenticate(credentials.key);
      const { token } = credentials;
      if (token.length > LONGEST_TOKEN) {
        throw new CredentialsRefusedError('credentials-invalid', 'This token is too long to be one of ours.');
      }
      // A token has three parts; a key has no dot.
      if (!token.includes('.')) return keys.authenticate(token);
      if (tokens === null) {
        throw new CredentialsRefusedError(
          'credentials-invalid',
          'This process accepts no tokens: it has neither an OIDC issuer nor users of its own. Use an API key.',
        );
      }
      return tokens.authenticate(token);
    },
  };
}
