/** Owns what can be wrong with a change of users and API keys. Neighbours: the stores throw them, the API maps them. */
import { StreamError } from '../../stream/errors.js';

export class ApiKeyNotFoundError extends StreamError {
  constructor(id: string) {
    super('api-key-not-found', `No API key has the id '${id.slice(0, 32)}'.`);
  }
}

export class UserNotFoundError extends StreamError {
  constructor(username: string) {
    super('user-not-found', `There is no user '${username.slice(0, 64)}'.`);
  }
}

export class UserExistsError extends StreamError {
  constructor(username: string) {
    super('user-exists', `There is a user '${username}' already; choose another name.`);
  }
}

/** Somebody takes away what they need to give it back. */
export class OwnAccessError extends StreamError {
  constructor() {
    super(
      'own-access',
      'You would lock yourself out: another administrator must disable you or take your role admin away.',
    );
  }
}

/** Too many tries to sign in. */
export class SignInThrottledError extends StreamError {
  constructor(readonly retryAfterS: number) {
    super('sign-in-throttled', `Too many failed tries to sign in; try again in ${retryAfterS} s.`);
  }
}

/** So many people sign in at this moment that another one has to wait. */
export class SignInBusyError extends StreamError {
  readonly retryAfterS = 2;
  constructor() {
    super('sign-in-busy', 'Too many people are signing in at this moment; try again in a few seconds.');
  }
}
