/** Users, API keys and signing in, over HTTP and a real database. */
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { DatabaseUnavailableError } from '../../src/adapters/postgres/database-errors.js';
import { type Api, createApi } from '../../src/api/api.js';
import type { AuditEntry } from '../../src/fraud/audit/audit-trail.js';
import { type AccessWorld, makeAccessWorld, PRESET_KEY, partsWith, TOKEN_MS } from './access-world.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const PASSWORD = 'correct horse battery';
let postgres: TestPostgres;
let database: Database;
let world: AccessWorld;
let api: Api;
let http: ReturnType<typeof supertest.agent>;

beforeAll(async () => {
  postgres = await startTestPostgres(15_642);
});
afterAll(() => postgres.dispose());
beforeEach(async () => {
  database = await openDatabase({ url: await postgres.newDatabase() });
  world = makeAccessWorld(database);
  api = await createApi(partsWith(world, { rateLimit: { perActor: 60, perAddress: 20 } }));
  http = supertest.agent(api.app.getHttpServer());
  return async () => {
    await api.close();
    await database.close();
  };
});

const asPreset = { 'x-api-key': PRESET_KEY };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const signIn = (username: string, password: string) => http.post('/v1/auth/token').send({ username, password });
const me = (headers: Record<string, string>) => http.get('/v1/me').set(headers);
const makeUser = (username: string, roles: readonly string[] = ['analyst']) =>
  http
    .post('/v1/users')
    .set(asPreset)
    .send({ username, name: `Name of ${username}`, roles, password: PASSWORD });
const makeKey = (body: Record<string, unknown>) =>
  http
    .post('/v1/api-keys')
    .set(asPreset)
    .send({ name: 'k', ...body });
const trail = async (): Promise<readonly AuditEntry[]> => (await world.audit.list({}, 200, null)).items;
const everythingKept = async (): Promise<string> => {
  const tables = ['users', 'api_keys', 'audit_entries', 'idempotency_keys'];
  const rows = await Promise.all(tables.map((table) => database.dataSource.query(`SELECT * FROM ${table}`)));
  return JSON.stringify(rows);
};

describe('signing in', () => {
  it('gives a token that works at once and until its time is over', async () => {
    expect((await makeUser('ana')).status).toBe(201);
    const { status, body } = await signIn('ana', PASSWORD);
    expect([status, body]).toEqual([
      200,
      { accessToken: expect.any(String), tokenType: 'Bearer', expiresIn: 900, roles: ['analyst'] },
    ]);
    const known = await me(bearer(body.accessToken));
    expect(known.body).toMatchObject({ id: 'ana', name: 'Name of ana', kind: 'user', roles: ['analyst'] });
    expect(known.body.permissions).toContain('alerts:work');
    world.clock.nowMs += TOKEN_MS;
    const late = await me(bearer(body.accessToken));
    expect([late.status, late.body.code]).toEqual([401, 'credentials-expired']);
  });

  it('answers a wrong password, a user who does not exist and one who is disabled alike', async () => {
    await makeUser('ana');
    await makeUser('dan');
    await http
      .patch('/v1/users/dan')
      .set({ ...asPreset, 'if-match': '"1"' })
      .send({ disabled: true });
    const answers = [
      await signIn('ana', 'wrong password'),
      await signIn('nobody', PASSWORD),
      await signIn('dan', PASSWORD),
    ];
    const { instance: _, ...first } = answers[0].body;
    for (const { status, body } of answers) expect([status, body]).toMatchObject([401, first]);
  });

  it('makes a guesser wait after five failures, and nobody else', async () => {
    await makeUser('ana');
    await makeUser('bob');
    for (let i = 0; i < 5; i++) expect((await signIn('ana', `guess number ${i}`)).status).toBe(401);
    const throttled = await signIn('ana', PASSWORD);
    expect([throttled.status, throttled.body.code]).toEqual([429, 'sign-in-throttled']);
    expect(Number(throttled.headers['retry-after'])).toBeGreaterThan(800);
    expect((await signIn('bob', PASSWORD)).status).toBe(200);
    world.clock.nowMs += 16 * 60_000;
    expect((await signIn('ana', PASSWORD)).status).toBe(200);
  });

  it('is audited: each success, and of failures the first and the one that ends the patience', async () => {
    await makeUser('ana');
    await signIn('ana', PASSWORD);
    for (let i = 0; i < 9; i++) await signIn('ana', `guess number ${i}`);
    await signIn('my secret password', 'typed into the wrong field');
    const entries = (await trail()).filter(({ action }) => action.startsWith('user.sign'));
    expect(entries.map(({ action, subject, details }) => [action, subject.id, details.reason]).reverse()).toEqual([
      ['user.signed-in', 'ana', undefined],
      ['user.sign-in-failed', 'ana', 'refused'],
      ['user.sign-in-failed', '(nobody)', 'throttled'],
      ['user.sign-in-failed', '(nobody)', 'refused'],
    ]);
    expect(JSON.stringify(entries)).not.toContain('secret');
  });

  it('refuses bodies of another form with 400', async () => {
    const bodies = [
      { username: 'ana' },
      { username: '', password: PASSWORD },
      { username: 'a\u0000', password: PASSWORD },
      { username: 'a\ud800', password: PASSWORD },
      { username: 'ana', password: 'x'.repeat(200) },
      { username: ['ana'], password: PASSWORD },
      { username: 'ana', password: PASSWORD, admin: true },
      'ana',
      null,
    ];
    for (const body of bodies) {
      const sent = http.post('/v1/auth/token').set('content-type', 'application/json').send(JSON.stringify(body));
      expect([body, (await sent).status]).toEqual([body, 400]);
    }
  });
});

describe('users', () => {
  it('lose what their tokens gave them as soon as it is taken away', async () => {
    await makeUser('ana', ['analyst', 'auditor']);
    const { body } = await signIn('ana', PASSWORD);
    const token = bearer(body.accessToken);
    expect((await http.get('/v1/audit').set(token)).status).toBe(200);
    const change = await http
      .patch('/v1/users/ana')
      .set({ ...asPreset, 'if-match': '"1"' })
      .send({ roles: ['analyst'] });
    expect([change.status, change.headers.etag, change.body.revision]).toEqual([200, '"2"', 2]);
    expect((await me(token)).status).toBe(401);
    const again = bearer((await signIn('ana', PASSWORD)).body.accessToken);
    expect((await http.get('/v1/audit').set(again)).status).toBe(403);
    await http.put('/v1/users/ana/password').set(asPreset).send({ password: 'another long password' }).expect(200);
    expect((await me(again)).status).toBe(401);
    expect((await signIn('ana', PASSWORD)).status).toBe(401);
    expect((await signIn('ana', 'another long password')).status).toBe(200);
  });

  it('are changed only from the revision that was seen', async () => {
    await makeUser('ana');
    const change = (headers: Record<string, string>) =>
      http
        .patch('/v1/users/ana')
        .set({ ...asPreset, ...headers })
        .send({ name: 'New' });
    expect((await change({})).status).toBe(428);
    expect((await change({ 'if-match': '"7"' })).status).toBe(412);
    expect((await change({ 'if-match': '"1"' })).status).toBe(200);
    expect((await http.get('/v1/users/ana').set(asPreset)).headers.etag).toBe('"2"');
  });

  it('are listed page by page, without their passwords', async () => {
    for (const name of ['carl', 'ana', 'bob']) await makeUser(name);
    const first = await http.get('/v1/users?limit=2').set(asPreset);
    expect(first.body.items.map(({ username }: { username: string }) => username)).toEqual(['ana', 'bob']);
    const second = await http.get(`/v1/users?limit=2&cursor=${first.body.next}`).set(asPreset);
    expect(second.body).toMatchObject({ items: [{ username: 'carl' }], next: null });
    expect(JSON.stringify([first.body, second.body])).not.toContain('scrypt');
    expect((await http.get('/v1/users?cursor=!!').set(asPreset)).body.code).toBe('cursor-invalid');
  });

  it('cannot be made twice, nor lock themselves out', async () => {
    await makeUser('adam', ['admin']);
    expect((await makeUser('adam')).body.code).toBe('user-exists');
    const adam = bearer((await signIn('adam', PASSWORD)).body.accessToken);
    const change = (body: unknown) =>
      http
        .patch('/v1/users/adam')
        .set({ ...adam, 'if-match': '"1"' })
        .send(body as object);
    expect((await change({ disabled: true })).body.code).toBe('own-access');
    expect((await change({ roles: ['analyst'] })).body.code).toBe('own-access');
  });

  it('are made once for one idempotency key, whose trace in the database tells nothing of the password', async () => {
    const once = () => makeUser('ana').set('idempotency-key', 'one');
    const [first, second] = [await once(), await once()];
    expect([first.status, second.status, second.body]).toEqual([201, 201, first.body]);
    const body = { username: 'ana', name: 'Name of ana', roles: ['analyst'], password: 'quite another one' };
    // Same in all but the password: were it part of the fingerprint, this would be another request.
    const other = await http
      .post('/v1/users')
      .set({ ...asPreset, 'idempotency-key': 'one' })
      .send(body);
    expect(other.status).toBe(201);
    expect(await everythingKept()).not.toContain(PASSWORD);
  });

  it('of a wrong form are refused with 400, without repeating their password', async () => {
    const wrong = [
      ['Ana', PASSWORD],
      ['key:preset', PASSWORD],
      ['a\ud800', PASSWORD],
      ['ana', 'too short'],
      ['ana', 'x'.repeat(129)],
      ['ana', `a\u0000${PASSWORD}`],
    ];
    for (const [username, password] of wrong) {
      const answer = await http.post('/v1/users').set(asPreset).send({ username, name: 'n', roles: [], password });
      expect([username, password, answer.status]).toEqual([username, password, 400]);
      expect(JSON.stringify(answer.body)).not.toContain(password);
    }
  });
});

describe('API keys', () => {
  it('are shown once, work with their roles, and are kept as a hash alone', async () => {
    const { status, body } = await makeKey({ roles: ['auditor'] });
    expect(status).toBe(201);
    expect(body.key).toMatch(/^fdk_[a-z0-9]{12}_[A-Za-z0-9_-]{43}$/);
    expect((await me({ 'x-api-key': body.key })).body).toMatchObject({ id: `key:${body.id}`, kind: 'api-key' });
    expect((await me(bearer(body.key))).status).toBe(200);
    const { key: _, ...known } = body;
    await vi.waitFor(async () => {
      const { body: list } = await http.get('/v1/api-keys').set(asPreset);
      expect(list).toEqual({ items: [{ ...known, lastUsedAt: world.clock.now() }], next: null });
    });
    expect(await everythingKept()).not.toContain(body.key.split('_')[2]);
    expect((await trail()).map(({ action, actor }) => [action, actor.id])).toEqual([['api-key.created', 'key:preset']]);
  });

  it('stand for the person who made them, through keys that they make in turn, too', async () => {
    await makeUser('adam', ['admin']);
    const adam = bearer((await signIn('adam', PASSWORD)).body.accessToken);
    const makeBy = async (headers: Record<string, string>) => {
      const made = await http
        .post('/v1/api-keys')
        .set(headers)
        .send({ name: 'k', roles: ['admin'] });
      const actor = await world.authenticator.authenticate({ kind: 'api-key', key: made.body.key });
      return { ...made.body, actor };
    };
    const first = await makeBy(adam);
    const second = await makeBy({ 'x-api-key': first.key });
    expect(
      [first, second].map(({ actor, createdBy, principal }) => [actor.id, actor.principal, createdBy, principal]),
    ).toEqual([
      [`key:${first.id}`, 'adam', 'adam', 'adam'],
      [`key:${second.id}`, 'adam', `key:${first.id}`, 'adam'],
    ]);
    expect((await makeBy(asPreset)).actor.principal).toBe('key:preset');
    const token = (await signIn('adam', PASSWORD)).body.accessToken;
    expect((await world.authenticator.authenticate({ kind: 'bearer', token })).principal).toBe('adam');
    const made = (await trail()).filter(({ action }) => action === 'api-key.created');
    expect(made.map(({ details }) => details.principal).sort()).toEqual(['adam', 'adam', 'key:preset']);
  });

  it('made twice with one idempotency key are one key, which only the first answer has', async () => {
    const once = () => makeKey({ roles: ['auditor'] }).set('idempotency-key', 'one');
    const [first, second] = [await once(), await once()];
    expect(second.body).toEqual({ ...first.body, key: null });
    expect(await trail()).toHaveLength(1);
    expect(await everythingKept()).not.toContain(first.body.key);
  });

  it('that are revoked are refused from then on, however fresh their last use', async () => {
    const { body } = await makeKey({ roles: ['auditor'] });
    expect((await me({ 'x-api-key': body.key })).status).toBe(200);
    // As clients do that put a type on everything.
    const gone = await http.delete(`/v1/api-keys/${body.id}`).set(asPreset).set('content-type', 'application/json');
    expect([gone.status, gone.body.revokedAt]).toEqual([200, world.clock.now()]);
    expect((await me({ 'x-api-key': body.key })).status).toBe(401);
    const { lastUsedAt: _, ...again } = (await http.delete(`/v1/api-keys/${body.id}`).set(asPreset)).body;
    expect(gone.body).toMatchObject(again);
    expect((await http.delete('/v1/api-keys/aaaaaaaaaaaa').set(asPreset)).body.code).toBe('api-key-not-found');
  });

  it('that another process revoked are refused within ten seconds', async () => {
    const { body } = await makeKey({ roles: ['auditor'] });
    await me({ 'x-api-key': body.key }).expect(200);
    await database.dataSource.query('UPDATE api_keys SET revoked_at = now()');
    world.clock.nowMs += 10_000;
    expect((await me({ 'x-api-key': body.key })).status).toBe(401);
  });

  it('are refused beside a token: it would not be clear who asks', async () => {
    const { body } = await makeKey({ roles: ['auditor'] });
    const { status, body: problem } = await me({ 'x-api-key': body.key, authorization: `Bearer ${body.key}` });
    expect([status, problem.code]).toEqual([401, 'credentials-invalid']);
    // A proxy's own password is none of ours.
    expect((await me({ 'x-api-key': body.key, authorization: 'Basic YWRhbTpwYXNz' })).status).toBe(200);
  });

  it('end when they expire, remembered or not', async () => {
    const { body } = await makeKey({ roles: ['auditor'], expiresAt: world.clock.now() + 5_000 });
    await me({ 'x-api-key': body.key }).expect(200);
    world.clock.nowMs += 5_000;
    expect((await me({ 'x-api-key': body.key })).body.code).toBe('credentials-expired');
  });

  it('with narrow scopes cannot give themselves more', async () => {
    const { body } = await makeKey({ roles: ['admin'], scopes: ['access:write'] });
    const narrow = { 'x-api-key': body.key };
    await makeUser('adam', ['admin']);
    const tries = [
      http
        .post('/v1/api-keys')
        .set(narrow)
        .send({ name: 'k', roles: ['admin'] }),
      http
        .post('/v1/users')
        .set(narrow)
        .send({ username: 'eve', name: 'E', roles: ['auditor'], password: PASSWORD }),
      http.put('/v1/users/adam/password').set(narrow).send({ password: PASSWORD }),
      http
        .patch('/v1/users/adam')
        .set({ ...narrow, 'if-match': '"1"' })
        .send({ disabled: true }),
    ];
    for (const one of tries) expect((await one).body.code).toBe('permission-denied');
    const same = await http
      .post('/v1/api-keys')
      .set(narrow)
      .send({ name: 'k', roles: ['admin'], scopes: ['access:write'] });
    expect(same.status).toBe(201);
  });
});

describe('limits', () => {
  it('holds a user to their requests a minute, tells when to come back, and leaves others alone', async () => {
    const { body } = await makeKey({ roles: ['auditor'] });
    const statuses = new Set<number>();
    for (let i = 0; i < 60; i++) statuses.add((await me({ 'x-api-key': body.key })).status);
    expect([...statuses]).toEqual([200]);
    const over = await me({ 'x-api-key': body.key });
    expect([over.status, over.body.code, over.headers['content-type']]).toEqual([
      429,
      'rate-limited',
      'application/problem+json',
    ]);
    expect(Number(over.headers['retry-after'])).toBeGreaterThan(0);
    expect(over.headers['x-content-type-options']).toBe('nosniff');
    expect((await me(asPreset)).status).toBe(200);
  });

  it('holds an address that shows no good credentials to fewer, and not the good ones behind it', async () => {
    for (let i = 0; i < 20; i++) expect((await me({ 'x-api-key': 'wrong' })).status).toBe(401);
    expect((await me({ 'x-api-key': 'wrong' })).status).toBe(429);
    expect((await me({})).status).toBe(429);
    expect((await http.get('/nowhere')).status).toBe(429);
    expect((await me(asPreset)).status).toBe(200);
    for (const path of ['/health/live', '/metrics'])
      expect([path, (await http.get(path)).status]).not.toEqual([path, 429]);
  });

  it('reads no body of those who may not come in', async () => {
    const large = 'x'.repeat(70_000);
    expect((await http.post('/v1/users').set({ 'x-api-key': 'wrong' }).send({ large })).status).toBe(401);
    expect((await http.post('/v1/users').set(asPreset).send({ large })).status).toBe(413);
  });
});

describe('GET /v1/audit', () => {
  it('narrows by actor, action, subject and time, and pages from the newest back', async () => {
    for (const name of ['ana', 'bob', 'carl']) {
      await makeUser(name);
      world.clock.nowMs += 1_000;
    }
    await signIn('ana', PASSWORD);
    const list = async (query: string) => (await http.get(`/v1/audit?${query}`).set(asPreset)).body;
    const subjects = async (query: string) =>
      (await list(query)).items.map(({ action, subject }: AuditEntry) => `${action} ${subject.id}`);
    expect(await subjects('actorId=ana')).toEqual(['user.signed-in ana']);
    expect(await subjects('action=user.created&subjectId=bob')).toEqual(['user.created bob']);
    expect(await subjects(`subjectKind=user&to=${world.clock.now() - 2_000}`)).toEqual(['user.created ana']);
    expect(await subjects(`from=${world.clock.now()}`)).toEqual(['user.signed-in ana']);
    const first = await list('limit=3');
    expect(first.items.map(({ sequence }: AuditEntry) => sequence)).toEqual([4, 3, 2]);
    const rest = await list(`limit=3&cursor=${first.next}`);
    expect([rest.items.map(({ sequence }: AuditEntry) => sequence), rest.next]).toEqual([[1], null]);
    const head = await http.get('/v1/audit/head').set(asPreset);
    expect(head.body).toEqual({ sequence: 4, hash: first.items[0].hash });
    expect((await list('from=x')).code).toBe('request-invalid');
    expect((await list('subjectId=%00')).code).toBe('request-invalid');
    expect((await list('cursor=AAAA')).code).toBe('cursor-invalid');
    expect((await list('from=5&to=1')).parameters).toEqual([{ name: 'from', message: 'must be before `to`' }]);
  });

  it('says that the database does not answer, rather than failing', async () => {
    const { body } = await makeKey({ roles: ['auditor'] });
    const away = new DatabaseUnavailableError('away');
    vi.spyOn(world.audit, 'list').mockRejectedValue(away);
    vi.spyOn(world.apiKeys, 'find').mockRejectedValue(away);
    expect((await http.get('/v1/audit').set(asPreset)).body.code).toBe('database-unavailable');
    expect((await me({ 'x-api-key': body.key })).status).toBe(503);
    expect((await me(asPreset)).status).toBe(200);
  });
});
