/** Tokens of an identity provider, a real one over HTTP as far as we can tell. */
import { createServer, type Server } from 'node:http';
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { IssuerKeys } from '../../../src/adapters/identity/issuer-keys.js';
import { type OidcOptions, OidcTokens } from '../../../src/adapters/identity/oidc-tokens.js';

const PORT = 15_645;
const ISSUER = `http://127.0.0.1:${PORT}/realm`;
const AUDIENCE = 'fraud-api';
const NOW = Date.UTC(2026, 0, 5, 13);

interface KeyPair {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
}

let first: KeyPair;
let second: KeyPair;
let rsa: KeyPair;
let server: Server;
let published: JWK[];
let discovery: Record<string, unknown>;
/** What the issuer does instead of answering. */
let mood: 'well' | 'failing' | 'silent' | 'endless';
let asked: string[];
let nowMs: number;
let troubles: Error[];
let tokens: OidcTokens;

beforeAll(async () => {
  [first, second, rsa] = await Promise.all([
    generateKeyPair('ES256', { extractable: true }),
    generateKeyPair('ES256', { extractable: true }),
    generateKeyPair('RS256', { extractable: true }),
  ]);
});

const jwk = async (pair: KeyPair, kid: string): Promise<JWK> => ({
  ...(await exportJWK(pair.publicKey)),
  kid,
  use: 'sig',
});
const make = (changes: Partial<OidcOptions> = {}) => {
  const clock = { now: () => nowMs, monotonic: () => nowMs };
  const keys = new IssuerKeys({ issuer: ISSUER, timeoutMs: 300, clock, onTrouble: (error) => troubles.push(error) });
  const options = {
    issuer: ISSUER,
    audience: AUDIENCE,
    rolesClaim: 'roles',
    roleMapping: null,
    clockToleranceMs: 5_000,
  };
  return new OidcTokens({ ...options, clock, ...changes }, keys);
};

beforeEach(async () => {
  nowMs = NOW;
  mood = 'well';
  asked = [];
  troubles = [];
  published = [await jwk(first, 'one'), await jwk(rsa, 'rsa')];
  discovery = { issuer: ISSUER, jwks_uri: `${ISSUER}/keys` };
  tokens = make();
  await startIssuer();
});
afterEach(() => stopIssuer());
afterAll(() => stopIssuer());

async function startIssuer(): Promise<void> {
  server = createServer((request, response) => {
    asked.push(request.url ?? '');
    if (mood === 'silent') return;
    if (mood === 'failing') return void response.writeHead(500).end('down');
    if (mood === 'endless') return void response.writeHead(200).end(`"${'x'.repeat(400_000)}"`);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url === '/realm/keys' ? { keys: published } : discovery));
  });
  await new Promise<void>((resolve) => server.listen(PORT, '127.0.0.1', resolve));
}
function stopIssuer(): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

const seconds = () => Math.floor(nowMs / 1_000);
function token(
  claims: Record<string, unknown> = {},
  key: KeyPair = first,
  kid = 'one',
  alg = 'ES256',
): Promise<string> {
  const all = {
    iss: ISSUER,
    aud: AUDIENCE,
    sub: 'u-17',
    exp: seconds() + 600,
    roles: ['analyst'],
    name: 'Ana',
    ...claims,
  };
  return new SignJWT(all).setProtectedHeader({ alg, kid }).sign(key.privateKey);
}
const code = async (text: string | Promise<string>, by = tokens): Promise<string> =>
  by.authenticate(await text).then(
    () => 'accepted',
    (error: { code: string }) => error.code,
  );

describe('a token of the issuer', () => {
  it('tells who comes and with which roles; keys are fetched once for many', async () => {
    const actors = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => tokens.authenticate(await token({ sub: `u-${i}` }))),
    );
    expect(actors[17]).toMatchObject({ id: 'u-17', name: 'Ana', kind: 'user', roles: ['analyst'] });
    expect(actors[17].permissions.has('alerts:work')).toBe(true);
    expect(await code(token({}, rsa, 'rsa', 'RS256'))).toBe('accepted');
    expect(asked).toEqual(['/realm/.well-known/openid-configuration', '/realm/keys']);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['expired', { exp: Math.floor(NOW / 1_000) - 6 }, 'credentials-expired'],
    ['expired within the tolerance', { exp: Math.floor(NOW / 1_000) - 4 }, 'accepted'],
    ['not valid yet', { nbf: Math.floor(NOW / 1_000) + 6 }, 'credentials-invalid'],
    ['without an end', { exp: undefined }, 'credentials-invalid'],
    ['of another issuer', { iss: 'https://elsewhere' }, 'credentials-invalid'],
    ['for another audience', { aud: 'another-api' }, 'credentials-invalid'],
    ['for several, us among them', { aud: ['another-api', AUDIENCE] }, 'accepted'],
    ['without an audience', { aud: undefined }, 'credentials-invalid'],
    ['without a subject', { sub: undefined }, 'credentials-invalid'],
    ['with a subject of ours', { sub: 'system:demo' }, 'credentials-invalid'],
    ['with a key as its subject', { sub: 'key:preset' }, 'credentials-invalid'],
    ['with a subject that no database takes', { sub: 'a\u0000' }, 'credentials-invalid'],
    ['with a subject without end', { sub: 'x'.repeat(300) }, 'credentials-invalid'],
  ])('%s is judged', async (_, claims, expected) => {
    expect(await code(token(claims))).toBe(expected);
  });

  it('is refused when it is signed by somebody else, by nobody, or with the public key as a secret', async () => {
    expect(await code(token({}, second, 'one'))).toBe('credentials-invalid');
    const content = (await token()).split('.')[1];
    const none = Buffer.from(JSON.stringify({ alg: 'none', kid: 'one' })).toString('base64url');
    expect(await code(`${none}.${content}.`)).toBe('credentials-invalid');
    const secret = Buffer.from(JSON.stringify(await exportJWK(rsa.publicKey)));
    const confused = new SignJWT({ iss: ISSUER, aud: AUDIENCE, sub: 'u', exp: seconds() + 60 })
      .setProtectedHeader({ alg: 'HS256', kid: 'rsa' })
      .sign(secret);
    expect(await code(confused)).toBe('credentials-invalid');
  });

  it('that brings its own key along is refused', async () => {
    const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'u', exp: seconds() + 60 };
    const header = { alg: 'ES256', kid: 'one', jwk: await exportJWK(second.publicKey), jku: 'http://127.0.0.1:1/keys' };
    expect(await code(new SignJWT(claims).setProtectedHeader(header).sign(second.privateKey))).toBe(
      'credentials-invalid',
    );
  });
});

describe('roles', () => {
  const roles = async (claims: Record<string, unknown>, changes: Partial<OidcOptions> = {}) =>
    (await make(changes).authenticate(await token(claims))).roles;

  it('are taken from the configured claim: a list, words, or a path', async () => {
    expect(await roles({ roles: ['admin', 'unknown', 7, 'admin'] })).toEqual(['admin']);
    expect(await roles({ roles: 'auditor rule-author' })).toEqual(['rule-author', 'auditor']);
    expect(await roles({ realm: { roles: ['auditor'] } }, { rolesClaim: 'realm.roles' })).toEqual(['auditor']);
    expect(await roles({ 'https://x.y/roles': ['auditor'] }, { rolesClaim: 'https://x.y/roles' })).toEqual(['auditor']);
    expect(await roles({ roles: { admin: true } })).toEqual([]);
    expect(await roles({}, { rolesClaim: '__proto__.constructor' })).toEqual([]);
  });

  it('go by the mapping alone where there is one', async () => {
    const roleMapping = new Map([['fraud-team', ['analyst', 'rule-author'] as const]]);
    expect(await roles({ roles: ['fraud-team', 'admin'] }, { roleMapping })).toEqual(['analyst', 'rule-author']);
  });
});

describe('the issuer’s keys', () => {
  it('that are new are fetched when a token names them, and not more often than every 30 s', async () => {
    expect(await code(token())).toBe('accepted');
    published = [await jwk(second, 'two')];
    expect(await code(token({}, second, 'two'))).toBe('credentials-invalid');
    nowMs += 30_000;
    expect(await code(token({}, second, 'two'))).toBe('accepted');
    expect(asked.filter((path) => path === '/realm/keys')).toHaveLength(2);
    for (let i = 0; i < 50; i++) expect(await code(token({}, first, `made-up-${i}`))).toBe('credentials-invalid');
    expect(asked.filter((path) => path === '/realm/keys')).toHaveLength(2);
  });

  it.each(['failing', 'silent', 'endless'] as const)(
    'go on while the issuer is %s; unknown ones are unavailable',
    async (how) => {
      expect(await code(token())).toBe('accepted');
      mood = how;
      nowMs += 700_000;
      expect(await code(token())).toBe('accepted');
      expect(await code(token({}, second, 'two'))).toBe('issuer-unavailable');
      expect(await code(token({}, second, 'two'))).toBe('issuer-unavailable');
      expect(troubles).toHaveLength(1);
      mood = 'well';
      published = [await jwk(second, 'two')];
      nowMs += 5_000;
      expect(await code(token({}, second, 'two'))).toBe('accepted');
      expect(await code(token())).toBe('credentials-invalid');
    },
  );

  it('are missing from the start when the issuer is down, and are there once it is back', async () => {
    mood = 'failing';
    expect(await code(token())).toBe('issuer-unavailable');
    mood = 'well';
    expect(await code(token())).toBe('issuer-unavailable');
    nowMs += 5_000;
    expect(await code(token())).toBe('accepted');
  });

  it('do not count for more than a day without the issuer', async () => {
    expect(await code(token())).toBe('accepted');
    mood = 'failing';
    nowMs += 86_400_001;
    expect(await code(token())).toBe('issuer-unavailable');
  });

  it('are not taken from a page of another issuer', async () => {
    discovery = { issuer: 'https://elsewhere', jwks_uri: `${ISSUER}/keys` };
    expect(await code(token())).toBe('issuer-unavailable');
    expect(troubles[0].message).toContain('another issuer');
  });
});
