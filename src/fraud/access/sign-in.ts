/**
 * Owns signing in with a password. Neighbours: `sign-in-throttle.ts` brakes, `password.ts` compares, the port
 * `TokenIssuer` makes the token, the audit trail hears of it.
 *
 * S1 Who does not exist, is disabled, or has another password gets one and the same answer, after the same time.
 * S2 No token without its entry in the audit trail.
 * S3 Failures are written sparsely: the first and the last before the wait, at most {@link ENTRIES_A_MINUTE} a minute over
 *    all users; an entry says how many were left out before it. A name that nobody has is never written: people type
 *    passwords into the wrong field.
 */
import type { Clock } from '../../stream/ports.js';
import type { AuditEvent } from '../audit/audit-trail.js';
import type { WriteRequest } from '../audit/write-request.js';
import { SignInThrottledError } from './access-errors.js';
import { type Actor, systemActor } from './actor.js';
import { CredentialsRefusedError } from './authenticator.js';
import { userActor } from './local-tokens.js';
import type { Passwords } from './password.js';
import type { Role } from './permissions.js';
import { SignInThrottle } from './sign-in-throttle.js';
import type { StoredUser, UserFinder } from './user.js';

export interface IssuedToken {
  readonly token: string;
  readonly expiresInMs: number;
}

export interface TokenIssuer {
  issue(user: Pick<StoredUser, 'username' | 'generation'>): Promise<IssuedToken>;
}

/** Appends an entry that belongs to no change. Errors: code `database-unavailable`. */
export interface AuditLog {
  append(request: WriteRequest, event: AuditEvent): Promise<void>;
}

export interface SignedIn extends IssuedToken {
  readonly roles: readonly Role[];
}

export interface SignInParts {
  readonly users: UserFinder;
  readonly passwords: Passwords;
  readonly issuer: TokenIssuer;
  readonly audit: AuditLog;
  readonly clock: Pick<Clock, 'monotonic'>;
}

const ENTRIES_A_MINUTE = 30;
const MINUTE_MS = 60_000;
const WAY_IN = systemActor('sign-in');

export class SignIn {
  private readonly throttle = new SignInThrottle();
  private minute = { begunAt: Number.NEGATIVE_INFINITY, written: 0 };
  private leftOut = 0;

  constructor(private readonly parts: SignInParts) {}

  /**
   * Errors: {@link SignInThrottledError}; {@link CredentialsRefusedError}; codes `sign-in-busy`, `database-unavailable`.
   */
  async signIn(username: string, password: string, from: { address: string; requestId: string }): Promise<SignedIn> {
    const { users, passwords, issuer, clock } = this.parts;
    const { address, requestId } = from;
    const attempt = this.throttle.begin(username, address, clock.monotonic());
    if (attempt.retryAfterS !== null) {
      if (attempt.notable) await this.writeFailure('throttled', null, from);
      throw new SignInThrottledError(attempt.retryAfterS);
    }
    const user = await users.find(username);
    const right = await passwords.matches(password, user?.password ?? null);
    if (!right || user === null || user.disabled) {
      const known = user === null ? null : user.username;
      if (attempt.notable) await this.writeFailure(right ? 'disabled' : 'refused', known, from);
      else this.leftOut++;
      throw new CredentialsRefusedError('credentials-invalid', 'User and password do not fit together.');
    }
    const { token, expiresInMs } = await issuer.issue(user);
    await this.write(userActor(user), requestId, 'user.signed-in', user.username, { address });
    this.throttle.succeeded(username, address);
    return { token, expiresInMs, roles: user.roles };
  }

  private async writeFailure(
    reason: 'refused' | 'disabled' | 'throttled',
    username: string | null,
    { address, requestId }: { address: string; requestId: string },
  ): Promise<void> {
    const nowMs = this.parts.clock.monotonic();
    if (nowMs - this.minute.begunAt > MINUTE_MS) this.minute = { begunAt: nowMs, written: 0 };
    if (this.minute.written >= ENTRIES_A_MINUTE) {
      this.leftOut++;
      return;
    }
    this.minute.written++;
    const details = { reason, address, leftOutBefore: this.leftOut };
    this.leftOut = 0;
    await this.write(WAY_IN, requestId, 'user.sign-in-failed', username ?? '(nobody)', details);
  }

  private write(
    actor: Actor,
    requestId: string,
    action: string,
    username: string,
    details: AuditEvent['details'],
  ): Promise<void> {
    const request = { actor, requestId, idempotency: null };
    return this.parts.audit.append(request, { action, subject: { kind: 'user', id: username }, details });
  }
}
