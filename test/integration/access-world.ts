/** Who may come in, for tests: the real authenticators, stores and issuer over a database, and one person of each kind. */
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { SignJWT } from 'jose';
import { LocalIssuer } from '../../src/adapters/identity/local-issuer.js';
import { PostgresApiKeys } from '../../src/adapters/postgres/access-api-keys.js';
import { PostgresUsers } from '../../src/adapters/postgres/access-users.js';
import { PostgresAuditLog } from '../../src/adapters/postgres/audit-log.js';
import type { Database } from '../../src/adapters/postgres/database.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import type { ApiParts } from '../../src/api/api.js';
import { DEFAULT_TOPICS } from '../../src/api/docs/asyncapi.js';
import { systemActor } from '../../src/fraud/access/actor.js';
import { combineAuthenticators } from '../../src/fraud/access/authenticators.js';
import { KeyAuthenticator } from '../../src/fraud/access/key-authenticator.js';
import { LocalTokens } from '../../src/fraud/access/local-tokens.js';
import { Passwords } from '../../src/fraud/access/password.js';
import { SignIn } from '../../src/fraud/access/sign-in.js';
import type { WriteRequest } from '../../src/fraud/audit/write-request.js';

export const PRESET_KEY = 'preset-key-of-the-tests-0123456789';
export const TOKEN_MS = 900_000;

export const asTest: WriteRequest = { actor: systemActor('test'), requestId: 'r-test', idempotency: null };

export class TestClock {
  nowMs = Date.UTC(2026, 0, 5, 13);
  now = () => this.nowMs;
  monotonic = () => this.nowMs;
  schedule = () => () => {};
}

export type AccessWorld = ReturnType<typeof makeAccessWorld>;

export function makeAccessWorld({ dataSource }: Database, clock = new TestClock()) {
  const writes = new PostgresWrites(dataSource, clock);
  // Cheaper than in earnest.
  const passwords = new Passwords(randomBytes, 10);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();
  const issuer = new LocalIssuer({ privateKeyPem: pem(privateKey), tokenMs: TOKEN_MS, clock });
  const audit = new PostgresAuditLog(dataSource, writes);
  const troubles: unknown[] = [];
  const apiKeys: PostgresApiKeys = new PostgresApiKeys({
    dataSource,
    writes,
    randomBytes,
    onRevoked: (id) => keys.forget(id),
  });
  const keys = new KeyAuthenticator({
    presetKey: PRESET_KEY,
    keys: apiKeys,
    clock,
    onTrouble: (error) => troubles.push(error),
  });
  const users: PostgresUsers = new PostgresUsers({
    dataSource,
    writes,
    keepPassword: (password) => passwords.keep(password),
    onChanged: (username) => tokens.forget(username),
  });
  const tokens = new LocalTokens({ tokens: issuer, users, clock });
  const signIn = new SignIn({ users, passwords, issuer, audit, clock });
  return {
    clock,
    writes,
    privateKey,
    issuer,
    audit,
    apiKeys,
    users,
    signIn,
    troubles,
    authenticator: combineAuthenticators(keys, tokens),
    access: { apiKeys, audit, local: { users, signIn } },
  };
}

/** A token like the local issuer's, changed as a forger would. */
export function craftToken(options: {
  clock: TestClock;
  key: KeyObject | Uint8Array;
  algorithm?: string;
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
}): Promise<string> {
  const nowS = Math.floor(options.clock.now() / 1_000);
  const claims = {
    iss: 'urn:fraud-detection:issuer:local',
    aud: 'urn:fraud-detection:api',
    sub: 'adam',
    generation: 1,
    iat: nowS,
    nbf: nowS,
    exp: nowS + 600,
    ...options.claims,
  };
  return new SignJWT(claims)
    .setProtectedHeader({ alg: options.algorithm ?? 'ES256', typ: 'at+jwt', ...options.header })
    .sign(options.key);
}

/** The token's content with `alg: none` and no signature. */
export function unsigned(token: string): string {
  const header = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt' })).toString('base64url');
  return `${header}.${token.split('.')[1]}.`;
}

const HOOK = /^(then|on[A-Z]|before[A-Z]|constructor|prototype)/;

/** Stands for parts that a test has no use for: looks like anything. */
function anything(): never {
  const stub: unknown = new Proxy(() => undefined, {
    get: (_, name) => (typeof name === 'symbol' || HOOK.test(name) ? undefined : stub),
    apply: () => {
      throw new Error('a part that this test has not');
    },
  });
  return stub as never;
}

/** Parts of an API with all routes there are; those that have nothing to do with access do nothing. */
export function partsWith(world: AccessWorld, changes: Partial<ApiParts> = {}): ApiParts {
  const known: Partial<ApiParts> = {
    version: '1',
    topics: DEFAULT_TOPICS,
    trustedProxies: [],
    rateLimit: null,
    authenticator: world.authenticator,
    access: world.access,
    clock: world.clock,
    onUnexpected: () => {},
    ...changes,
  };
  return new Proxy(known as ApiParts, {
    get: (target, name, self) =>
      name in target || typeof name === 'symbol' || HOOK.test(name) ? Reflect.get(target, name, self) : anything(),
  });
}
