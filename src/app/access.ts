/**
 * Owns how access is put together: API keys, the configured or the local issuer, users, the audit trail, rate limits.
 * Neighbours: `analyst-side.ts` hands it to the API, `access-demo.ts` makes the demo's users.
 */
import { randomBytes } from 'node:crypto';
import { IssuerKeys } from '../adapters/identity/issuer-keys.js';
import { LocalIssuer } from '../adapters/identity/local-issuer.js';
import { OidcTokens } from '../adapters/identity/oidc-tokens.js';
import { PostgresApiKeys } from '../adapters/postgres/access-api-keys.js';
import { PostgresUsers } from '../adapters/postgres/access-users.js';
import { PostgresAuditLog } from '../adapters/postgres/audit-log.js';
import type { Database } from '../adapters/postgres/database.js';
import { PostgresWrites } from '../adapters/postgres/writes.js';
import type { ApiParts } from '../api/api.js';
import { combineAuthenticators, type TextAuthenticator } from '../fraud/access/authenticators.js';
import { KeyAuthenticator } from '../fraud/access/key-authenticator.js';
import { LocalTokens } from '../fraud/access/local-tokens.js';
import { Passwords } from '../fraud/access/password.js';
import type { Role } from '../fraud/access/permissions.js';
import { SignIn } from '../fraud/access/sign-in.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { makeDemoUsers } from './access-demo.js';
import type { Configuration } from './configuration/index.js';
import type { OwedWork } from './owed-work.js';
import { tokenKey } from './secrets.js';

export interface AccessOptions {
  readonly configuration: Configuration;
  /** Null where this process needs none: then the preset key and an issuer's tokens count. */
  readonly database: Database | null;
  /** Gets the demo's users. */
  readonly owed: OwedWork;
  /** Lines for people at the first start. */
  note(line: string): void;
  say(level: 'info' | 'warn', message: string): void;
}

/** What the API is given of it. */
export type Access = Pick<ApiParts, 'authenticator' | 'access' | 'rateLimit' | 'trustedProxies'>;

type Stores = ReturnType<typeof openStores>;

export async function startAccess(options: AccessOptions): Promise<Access> {
  const { configuration, database, say } = options;
  const { access } = configuration;
  // Stores tell of what they take away, to those who remember it; these come into being after the stores.
  const forget: { key(id: string): void; user(username: string): void } = { key: () => {}, user: () => {} };
  const stores = database === null ? null : openStores(database, forget);
  const keys = new KeyAuthenticator({
    presetKey: access.apiKey ?? null,
    keys: stores?.apiKeys ?? null,
    clock: systemClock,
    onTrouble: (error) => say('warn', `API keys: ${error instanceof Error ? error.message : String(error)}`),
  });
  forget.key = (id) => keys.forget(id);
  const local = stores !== null && access.local.enabled ? await openLocal(options, stores) : null;
  forget.user = (username) => local?.tokens.forget(username);
  const limits = { rateLimit: access.rateLimit, trustedProxies: access.trustedProxies };
  const authenticator = combineAuthenticators(keys, local?.tokens ?? openOidc(options));
  if (stores === null || !configuration.roles.includes('api')) return { authenticator, access: null, ...limits };
  if (local !== null && configuration.demo.enabled) {
    options.owed.add(() => makeDemoUsers({ dataDir: configuration.dataDir, users: stores.users, note: options.note }));
  }
  const { apiKeys, audit, users } = stores;
  return {
    authenticator,
    ...limits,
    access: { apiKeys, audit, local: local === null ? null : { users, signIn: local.signIn } },
  };
}

function openStores({ dataSource }: Database, forget: { key(id: string): void; user(username: string): void }) {
  const writes = new PostgresWrites(dataSource, systemClock);
  const passwords = new Passwords(randomBytes);
  return {
    passwords,
    audit: new PostgresAuditLog(dataSource, writes),
    apiKeys: new PostgresApiKeys({ dataSource, writes, randomBytes, onRevoked: (id) => forget.key(id) }),
    users: new PostgresUsers({
      dataSource,
      writes,
      keepPassword: (password) => passwords.keep(password),
      onChanged: (username) => forget.user(username),
    }),
  };
}

async function openLocal({ configuration }: AccessOptions, { users, passwords, audit }: Stores) {
  const { dataDir, access } = configuration;
  const issuer = new LocalIssuer({
    privateKeyPem: await tokenKey(dataDir),
    tokenMs: access.local.tokenMs,
    clock: systemClock,
  });
  return {
    tokens: new LocalTokens({ tokens: issuer, users, clock: systemClock }),
    signIn: new SignIn({ users, passwords, issuer, audit, clock: systemClock }),
  };
}

/** Null where no issuer is configured. */
function openOidc({ configuration, say }: AccessOptions): TextAuthenticator | null {
  const { issuer, audience, rolesClaim, roleMapping, clockToleranceMs, timeoutMs } = configuration.access.oidc;
  if (issuer === undefined || audience === undefined) return null;
  const onTrouble = (error: Error) => say('warn', `${issuer}: ${error.message}`);
  const keys = new IssuerKeys({ issuer, timeoutMs, clock: systemClock, onTrouble });
  const mapping = readMapping(roleMapping);
  const options = { issuer, audience, rolesClaim, roleMapping: mapping, clockToleranceMs, clock: systemClock };
  return new OidcTokens(options, keys);
}

/** `fraud-team=analyst` and so on; null where there is none. The configuration's schema has checked the roles. */
function readMapping(entries: readonly string[]): ReadonlyMap<string, readonly Role[]> | null {
  if (entries.length === 0) return null;
  const mapping = new Map<string, Role[]>();
  for (const entry of entries) {
    const at = entry.lastIndexOf('=');
    const value = entry.slice(0, at);
    mapping.set(value, [...(mapping.get(value) ?? []), entry.slice(at + 1) as Role]);
  }
  return mapping;
}
