/**
 * Owns the check of an OIDC issuer's tokens, and what their claims say of a person. Neighbours: `issuer-keys.ts` has the
 * keys, `src/fraud/access` says what an actor is.
 *
 * O1 Only asymmetric algorithms: with a shared-secret one, whoever knows the public key could sign.
 * O2 A subject is text of ours to keep: bounded, printable, and never one that this service uses for itself.
 */
import { type JWTPayload, jwtVerify } from 'jose';
import type { Actor } from '../../fraud/access/actor.js';
import { CredentialsRefusedError } from '../../fraud/access/authenticator.js';
import type { TextAuthenticator } from '../../fraud/access/authenticators.js';
import { permissionsOf, ROLES, type Role } from '../../fraud/access/permissions.js';
import type { Clock } from '../../stream/ports.js';
import type { IssuerKeys } from './issuer-keys.js';
import { tokenRefusal } from './token-errors.js';

const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
const SUBJECT = /^(?!key:|system:)[^\p{Cc}\p{Cs}]{1,255}$/u;
const NAME_LENGTH = 128;

export interface OidcOptions {
  readonly issuer: string;
  readonly audience: string;
  /** A claim's name, or a path with dots. */
  readonly rolesClaim: string;
  /** Which of the claim's values stand for which role; null: they are our roles' names. */
  readonly roleMapping: ReadonlyMap<string, readonly Role[]> | null;
  readonly clockToleranceMs: number;
  readonly clock: Pick<Clock, 'now'>;
}

export class OidcTokens implements TextAuthenticator {
  constructor(
    private readonly options: OidcOptions,
    private readonly keys: Pick<IssuerKeys, 'find'>,
  ) {}

  /** Errors: {@link CredentialsRefusedError}; code `issuer-unavailable`. */
  async authenticate(token: string): Promise<Actor> {
    const { issuer, audience, clock, clockToleranceMs } = this.options;
    let claims: JWTPayload;
    try {
      const { payload } = await jwtVerify(token, this.keys.find, {
        algorithms: ALGORITHMS, // O1
        issuer,
        audience,
        requiredClaims: ['sub', 'exp'],
        clockTolerance: clockToleranceMs / 1_000,
        currentDate: new Date(clock.now()),
      });
      claims = payload;
    } catch (error) {
      throw tokenRefusal(error);
    }
    const { sub } = claims;
    if (typeof sub !== 'string' || !SUBJECT.test(sub)) {
      throw new CredentialsRefusedError('credentials-invalid', 'The token is not accepted.'); // O2
    }
    const roles = rolesOf(claims, this.options);
    return {
      id: sub,
      principal: sub,
      name: nameOf(claims) ?? sub,
      kind: 'user',
      roles,
      permissions: permissionsOf(roles),
    };
  }
}

function rolesOf(claims: JWTPayload, { rolesClaim, roleMapping }: OidcOptions): readonly Role[] {
  const value = claimAt(claims, rolesClaim);
  const given = typeof value === 'string' ? value.split(/[\s,]+/) : Array.isArray(value) ? value : [];
  const roles = new Set<Role>();
  for (const one of given) {
    if (typeof one !== 'string') continue;
    const mapped = roleMapping === null ? ROLES.filter((role) => role === one) : (roleMapping.get(one) ?? []);
    for (const role of mapped) roles.add(role);
  }
  return ROLES.filter((role) => roles.has(role));
}

/** The claim of that very name (they may hold dots: `https://example.com/roles`), else the path's. */
function claimAt(claims: JWTPayload, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: unknown = claims;
  for (const key of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

function nameOf(claims: JWTPayload): string | null {
  for (const claim of ['name', 'preferred_username', 'email']) {
    const value = claims[claim];
    if (typeof value !== 'string') continue;
    const clean = value.replace(/[\p{Cc}\p{Cs}]/gu, '').trim();
    // By code points, so that no half of a surrogate pair is left over.
    if (clean !== '') return [...clean].slice(0, NAME_LENGTH).join('');
  }
  return null;
}
