/** Every route of the API × everybody who may knock: the list of routes is the API's own, so a new one is in it. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { type Api, createApi } from '../../src/api/api.js';
import { permissionsOf, ROLES } from '../../src/fraud/access/permissions.js';
import {
  type AccessWorld,
  asTest,
  craftToken,
  makeAccessWorld,
  PRESET_KEY,
  partsWith,
  unsigned,
} from './access-world.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const PASSWORD = 'correct horse battery';
/** A route that waits for something (a stream) has let its caller in. */
const PATIENCE_MS = 1_500;

type Headers = Record<string, string>;
const bearer = (token: string): Headers => ({ authorization: `Bearer ${token}` });

let postgres: TestPostgres;
let database: Database;
let world: AccessWorld;
let api: Api;
const accepted = new Map<string, { headers: Headers; permissions: ReadonlySet<string> }>();
const refused = new Map<string, Headers>();

beforeAll(async () => {
  postgres = await startTestPostgres(15_641);
  database = await openDatabase({ url: await postgres.newDatabase() });
  world = makeAccessWorld(database);
  api = await createApi(partsWith(world));
  await makePeople();
  await makeIntruders();
});
afterAll(async () => {
  await Promise.race([api.close(), new Promise((resolve) => setTimeout(resolve, 3_000))]);
  await database.close();
  await postgres.dispose();
});

async function makePeople(): Promise<void> {
  for (const role of ROLES) {
    await world.users.create(asTest, { username: role, name: role, roles: [role], password: PASSWORD });
    const { token } = await world.signIn.signIn(role, PASSWORD, { address: '10.0.0.1', requestId: 'r' });
    accepted.set(role, { headers: bearer(token), permissions: permissionsOf([role]) });
  }
  await world.users.create(asTest, { username: 'nobody', name: 'No role', roles: [], password: PASSWORD });
  const { token } = await world.signIn.signIn('nobody', PASSWORD, { address: '10.0.0.1', requestId: 'r' });
  accepted.set('no role at all', { headers: bearer(token), permissions: new Set() });
  accepted.set('the preset key', { headers: { 'x-api-key': PRESET_KEY }, permissions: permissionsOf(['admin']) });
  const narrow = await world.apiKeys.create(asTest, {
    name: 'narrow',
    roles: ['admin'],
    scopes: ['alerts:read'],
    expiresAt: null,
  });
  accepted.set('a narrowed key', {
    headers: { 'x-api-key': narrow.text ?? '' },
    permissions: new Set(['alerts:read']),
  });
}

async function makeIntruders(): Promise<void> {
  const { clock, privateKey } = world;
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const publicPem = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' }).toString();
  await world.users.create(asTest, { username: 'adam', name: 'Adam', roles: ['admin'], password: PASSWORD });
  const good = await craftToken({ clock, key: privateKey });
  // What all the forgeries below are a forgery of is accepted.
  await world.authenticator.authenticate({ kind: 'bearer', token: good });
  const nowS = Math.floor(clock.now() / 1_000);
  const tokens: Record<string, string> = {
    'an expired token': await craftToken({ clock, key: privateKey, claims: { exp: nowS - 1 } }),
    'a token of tomorrow': await craftToken({ clock, key: privateKey, claims: { nbf: nowS + 86_400 } }),
    'a token without an end': await craftToken({ clock, key: privateKey, claims: { exp: undefined } }),
    'a token signed by a stranger': await craftToken({ clock, key: stranger }),
    'a token without a signature (alg none)': unsigned(good),
    'a token signed with the public key as a shared secret (HS256)': await craftToken({
      clock,
      key: Buffer.from(publicPem),
      algorithm: 'HS256',
    }),
    'a token with another content under a good signature': swapContent(good),
    'a token of another issuer': await craftToken({ clock, key: privateKey, claims: { iss: 'https://elsewhere' } }),
    'a token for another audience': await craftToken({ clock, key: privateKey, claims: { aud: 'elsewhere' } }),
    'a token of another kind': await craftToken({ clock, key: privateKey, header: { typ: 'JWT' } }),
    'a token of somebody who does not exist': await craftToken({ clock, key: privateKey, claims: { sub: 'eve' } }),
    'a token of an earlier generation': await craftToken({ clock, key: privateKey, claims: { generation: 0 } }),
    'a token of another curve': await craftToken({
      clock,
      key: generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey,
      algorithm: 'ES384',
    }),
    nonsense: 'a.b.c',
  };
  refused.set('nobody', {});
  for (const [who, token] of Object.entries(tokens)) refused.set(who, bearer(token));
  await keysThatDoNotCount();
}

async function keysThatDoNotCount(): Promise<void> {
  const wanted = { name: 'k', roles: ['admin'] as const, scopes: null };
  const revoked = await world.apiKeys.create(asTest, { ...wanted, expiresAt: null });
  await world.authenticator.authenticate({ kind: 'api-key', key: revoked.text ?? '' });
  await world.apiKeys.revoke(asTest, revoked.key.id);
  const expired = await world.apiKeys.create(asTest, { ...wanted, expiresAt: world.clock.now() - 1 });
  const good = await world.apiKeys.create(asTest, { ...wanted, expiresAt: null });
  const text = good.text ?? '';
  const keys: Record<string, string> = {
    'a revoked key': revoked.text ?? '',
    'an expired key': expired.text ?? '',
    'a key of the right id with another secret': `${text.slice(0, -4)}AAAA`,
    'a key that was never made': `fdk_aaaaaaaaaaaa_${'A'.repeat(43)}`,
    'a key that is none': 'x'.repeat(40),
    'the preset key but for a letter': `${PRESET_KEY.slice(0, -1)}x`,
    'an enormous key': 'k'.repeat(10_000),
  };
  for (const [who, key] of Object.entries(keys)) refused.set(who, { 'x-api-key': key });
  refused.set('a user and password', { authorization: 'Basic YWRhbTpwYXNz' });
}

function swapContent(token: string): string {
  const [header, payload = '', signature] = token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  const changed = Buffer.from(JSON.stringify({ ...claims, sub: 'admin' })).toString('base64url');
  return `${header}.${changed}.${signature}`;
}

/** The status; 'let in' where there is no answer yet. */
async function knock(method: string, url: string, headers: Headers): Promise<number | 'let in'> {
  const path = url.replaceAll(/:\w+/g, 'x').replace('*', 'x');
  const fastify = api.app.getHttpAdapter().getInstance() as unknown as FastifyInstance;
  const answer = fastify.inject({ method: method as 'GET', url: path, headers }).then(({ statusCode }) => statusCode);
  const late = new Promise<'let in'>((resolve) => setTimeout(resolve, PATIENCE_MS, 'let in'));
  return Promise.race([answer, late]);
}

const isLetIn = (status: number | 'let in') => status !== 401 && status !== 403 && status !== 429;
const guarded = () => api.routes.filter(({ requires }) => requires !== 'open');

describe('every route', () => {
  it('says whom it is for, and that is written down: a change shows in review', async () => {
    const lines = api.routes
      .filter(({ method }) => method !== 'HEAD')
      .map(({ method, url, requires }) => `${method.padEnd(6)} ${url.padEnd(44)} ${requires}\n`)
      .sort((a, b) => (a.slice(7) < b.slice(7) ? -1 : 1));
    // `vitest run test/integration/access-matrix.test.ts -u` writes the file anew.
    await expect(lines.join('')).toMatchFileSnapshot('./access-routes.txt');
  });

  it('that is open lets everybody in; nothing under /v1 is but the way to a token', async () => {
    const open = api.routes.filter(({ requires, method }) => requires === 'open' && method !== 'HEAD');
    expect(open.map(({ url }) => url).filter((url) => url.startsWith('/v1'))).toEqual(['/v1/auth/token']);
    for (const { method, url } of open) expect([url, isLetIn(await knock(method, url, {}))]).toEqual([url, true]);
  });

  it('that is not open refuses all credentials that do not count, with 401', async () => {
    const wrong: string[] = [];
    for (const { method, url } of guarded()) {
      for (const [who, headers] of refused) {
        const status = await knock(method, url, headers);
        if (status !== 401) wrong.push(`${method} ${url} answers ${who} with ${status}`);
      }
    }
    expect(refused.size).toBeGreaterThan(20);
    expect(wrong).toEqual([]);
  });

  it('lets in those who have its permission, and answers the others with 403', async () => {
    const wrong: string[] = [];
    let seen = 0;
    for (const { method, url, requires } of guarded()) {
      for (const [who, { headers, permissions }] of accepted) {
        const expected = requires === 'signed-in' || permissions.has(requires);
        const status = await knock(method, url, headers);
        if (isLetIn(status) !== expected || (!expected && status !== 403)) {
          wrong.push(`${method} ${url} (${requires}) answers ${who} with ${status}`);
        }
        seen++;
      }
    }
    expect(seen).toBe(guarded().length * (ROLES.length + 3));
    expect(wrong).toEqual([]);
  }, 60_000);
});
