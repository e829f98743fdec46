import { createHash } from 'node:crypto';
import supertest from 'supertest';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresRiskRows } from '../../src/adapters/postgres/risk-row-table.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { type Api, createApi } from '../../src/api/api.js';
import { MOST_RISK_ROWS } from '../../src/fraud/enrichment/risk-rows.js';
import { riskTable } from '../../src/fraud/enrichment/risk-table.js';
import { hash32 } from '../../src/stream/state/key-index.js';
import { bearer } from '../support/actors.js';
import { BARE_PARTS } from '../support/bare-parts.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOW = Date.UTC(2026, 0, 5, 13);
const TOPIC = 'risk-table-of-the-test';
const WRITER = bearer('rule-author');
let postgres: TestPostgres;
let database: Database;
let riskRows: PostgresRiskRows;
let api: Api;
let http: ReturnType<typeof supertest.agent>;
let unexpected: unknown[];

beforeAll(async () => {
  postgres = await startTestPostgres(15_652);
});
afterAll(() => postgres.dispose());
beforeEach(async () => {
  unexpected = [];
  database = await openDatabase({ url: await postgres.newDatabase() });
  const clock = { now: () => NOW, monotonic: () => 0, schedule: () => () => {} };
  riskRows = new PostgresRiskRows(database.dataSource, new PostgresWrites(database.dataSource, clock), TOPIC);
  api = await createApi({
    ...BARE_PARTS,
    database,
    riskRows,
    clock,
    onUnexpected: (error) => unexpected.push(error),
  });
  http = supertest.agent(api.app.getHttpServer());
  return async () => {
    await api.close();
    await database.close();
    expect(unexpected).toEqual([]);
  };
});

const path = (merchantId: string) => `/v1/risk-table/${encodeURIComponent(merchantId)}`;
const read = (address = '/v1/risk-table') => http.get(address).set(bearer('analyst'));
const make = (merchantId: string, risk: number) =>
  http.put(path(merchantId)).set(WRITER).set('if-none-match', '*').send({ risk });
const upload = (content: string | Buffer, type = 'text/csv', query = '') =>
  http.post(`/v1/risk-table/bulk${query}`).set(WRITER).set('content-type', type).send(content);

const outbox = (): Promise<{ topic: string; key: string; value: string | null }[]> =>
  database.dataSource.query('SELECT topic, key, value FROM outbox ORDER BY sequence');
const audited = async () => {
  const rows: { entry: string }[] = await database.dataSource.query(
    'SELECT entry FROM audit_entries ORDER BY sequence',
  );
  return rows.map(({ entry }) => JSON.parse(entry));
};

describe('a row', () => {
  it('is made, read, changed and removed, each time with its audit entry and its message', async () => {
    const made = await make('shop-1', 0.25);
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ merchantId: 'shop-1', risk: 0.25, note: null, updatedAt: NOW });
    expect(made.headers.etag).toBe(`"${made.body.revision}"`);
    const changed = await http
      .put(path('shop-1'))
      .set(WRITER)
      .set('if-match', made.headers.etag)
      .send({ risk: 1, note: 'closed by the acquirer' });
    expect(changed.status).toBe(200);
    const shown = await read(path('shop-1'));
    expect(shown.body).toEqual(changed.body);
    expect(shown.headers.etag).toBe(changed.headers.etag);
    const removed = await http.delete(path('shop-1')).set(WRITER).set('if-match', shown.headers.etag);
    expect([removed.status, removed.text]).toEqual([204, '']);
    expect((await read(path('shop-1'))).status).toBe(404);
    expect(await outbox()).toEqual([
      { topic: TOPIC, key: 'shop-1', value: JSON.stringify({ risk: 0.25, asOf: NOW }) },
      { topic: TOPIC, key: 'shop-1', value: JSON.stringify({ risk: 1, asOf: NOW }) },
      { topic: TOPIC, key: 'shop-1', value: null },
    ]);
    expect((await audited()).map(({ action, actor, details }) => [action, actor.id, details])).toEqual([
      ['risk-row.set', 'rule-author', { before: null, after: { risk: 0.25, note: null } }],
      [
        'risk-row.set',
        'rule-author',
        { before: { risk: 0.25, note: null }, after: { risk: 1, note: 'closed by the acquirer' } },
      ],
      ['risk-row.removed', 'rule-author', { before: { risk: 1, note: 'closed by the acquirer' } }],
    ]);
  });

  it('reaches the detectors in the form that they read', async () => {
    await make('shop-1', 0.75);
    const step = riskTable({ topic: TOPIC });
    const counted: string[] = [];
    const state = step.open({ taskId: 't', count: (name: string) => counted.push(name) } as never);
    for (const { key, value } of await outbox())
      state.apply(Buffer.from(key), value === null ? null : Buffer.from(value));
    const table = step.tableOf('t');
    const key = Buffer.from('shop-1');
    const row = table.find(key, 0, key.length, hash32(key, 0, key.length));
    expect([table.risk(row), table.asOfMs(row), counted]).toEqual([0.75, NOW, []]);
  });

  it('is not overwritten by somebody who has not seen it as it is', async () => {
    const { headers } = await make('shop-1', 0.25);
    const put = (header: Record<string, string>) =>
      http.put(path('shop-1')).set(WRITER).set(header).send({ risk: 0.5 });
    expect((await put({ 'if-none-match': '*' })).body.code).toBe('precondition-failed');
    expect((await put({})).body).toMatchObject({ status: 428, code: 'precondition-required' });
    expect((await put({ 'if-match': '"99"' })).status).toBe(412);
    expect((await put({ 'if-match': 'no tag' })).status).toBe(400);
    expect((await put({ 'if-match': headers.etag, 'if-none-match': '*' })).status).toBe(400);
    expect((await http.delete(path('shop-1')).set(WRITER).set('if-match', '"99"')).status).toBe(412);
    expect((await http.delete(path('shop-1')).set(WRITER)).status).toBe(428);
    expect((await http.put(path('shop-2')).set(WRITER).set('if-match', headers.etag).send({ risk: 1 })).status).toBe(
      412,
    );
    expect((await http.delete(path('shop-2')).set(WRITER).set('if-match', headers.etag)).status).toBe(404);
    expect(await outbox()).toHaveLength(1);
  });

  it('removed and made again has an ETag that nobody has seen', async () => {
    const first = await make('shop-1', 0.25);
    await http.delete(path('shop-1')).set(WRITER).set('if-match', first.headers.etag);
    const second = await make('shop-1', 0.25);
    expect(second.status).toBe(201);
    expect(second.headers.etag).not.toBe(first.headers.etag);
  });

  it('is set once for one idempotency key', async () => {
    const put = () => make('shop-1', 0.25).set('idempotency-key', 'k');
    const answers = [await put(), await put()];
    expect(answers.map(({ status, body }) => [status, body])).toEqual(Array(2).fill([201, answers[0].body]));
    expect(await outbox()).toHaveLength(1);
  });

  it('has a merchant and values that a payment and Postgres could have', async () => {
    const put = (merchantId: string, body: unknown) =>
      http
        .put(path(merchantId))
        .set(WRITER)
        .set('if-none-match', '*')
        .send(body as object);
    for (const merchantId of ['a\u0000b', 'x'.repeat(65), '\u00e9'.repeat(33)]) {
      expect((await put(merchantId, { risk: 0 })).body).toMatchObject({ status: 400, code: 'request-invalid' });
      expect((await read(path(merchantId))).status).toBe(404);
    }
    for (const body of [{}, { risk: 1.1 }, { risk: '1' }, { risk: 0, note: 'a\u0000' }, { risk: 0, x: 1 }, []]) {
      expect((await put('shop', body)).status).toBe(400);
    }
    const halfPair = '{"risk":0,"note":"\\ud800"}';
    const put2 = http.put(path('shop')).set(WRITER).set('if-none-match', '*').set('content-type', 'application/json');
    expect((await put2.send(halfPair)).status).toBe(400);
    const longest = '\u{1f6d2}'.repeat(16);
    expect((await put(longest, { risk: 0, note: '%_\\ "' })).body).toMatchObject({
      merchantId: longest,
      note: '%_\\ "',
    });
    expect((await read(path(longest))).status).toBe(200);
  });

  it('may be read by all, and changed by rule authors and admins alone', async () => {
    expect((await http.put(path('s')).set(bearer('analyst')).set('if-none-match', '*').send({ risk: 0 })).status).toBe(
      403,
    );
    expect((await http.delete(path('s')).set(bearer('auditor')).set('if-match', '"1"')).status).toBe(403);
    expect(
      (await http.post('/v1/risk-table/bulk').set(bearer('analyst')).set('content-type', 'text/csv').send('a,1'))
        .status,
    ).toBe(403);
    expect((await http.get('/v1/risk-table')).status).toBe(401);
    expect((await http.put(path('s')).set(bearer('admin')).set('if-none-match', '*').send({ risk: 0 })).status).toBe(
      201,
    );
  });
});

describe('the list', () => {
  it('pages through rows in order, by prefix, each once', async () => {
    const ids = ['a%', 'a_1', 'a_2', 'ab', 'b', '\u00e9', '\u{1f6d2}'];
    await upload(ids.map((id) => `${id},0.5`).join('\n'));
    const list = async (query: Record<string, string | number>) => {
      const seen: string[] = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page = await read().query({ ...query, ...(cursor === '' ? {} : { cursor }) });
        seen.push(...page.body.items.map((row: { merchantId: string }) => row.merchantId));
        cursor = page.body.next;
      }
      return seen;
    };
    expect(await list({ limit: 2 })).toEqual(ids);
    expect(await list({ limit: 1, merchantIdPrefix: 'a_' })).toEqual(['a_1', 'a_2']);
    expect(await list({ merchantIdPrefix: 'a%' })).toEqual(['a%']);
    expect((await read().query({ cursor: 'AA' })).body.code).toBe('cursor-invalid');
    expect((await read().query({ limit: 501 })).status).toBe(400);
  });
});

it('is published again, each row with the time of its last change, for a topic that lost it', async () => {
  expect(await riskRows.publishAll()).toBe(0);
  await upload('a,0.25\nb,1');
  await database.dataSource.query('DELETE FROM outbox');
  await database.dataSource.query("UPDATE risk_rows SET updated_at = '2026-01-01T00:00:00Z' WHERE merchant_id = 'a'");
  expect(await riskRows.publishAll()).toBe(2);
  expect(await outbox()).toEqual([
    { topic: TOPIC, key: 'a', value: JSON.stringify({ risk: 0.25, asOf: Date.UTC(2026, 0, 1) }) },
    { topic: TOPIC, key: 'b', value: JSON.stringify({ risk: 1, asOf: NOW }) },
  ]);
  const republished = { action: 'risk-table.published-again', actor: { kind: 'system' }, details: { rows: 2 } };
  expect((await audited()).slice(1)).toMatchObject([republished]);
});

describe('an upload', () => {
  it('sets all rows in one change, with one audit entry that tells the file by its digest', async () => {
    await make('shop-1', 0.1);
    const file = '\ufeffmerchantId,risk,note\r\nshop-1,0.5,"says ""no"", twice"\r\n\r\nshop-2,1e-3,\r\n';
    const answer = await upload(file);
    expect(answer.body).toEqual({ rows: 2, created: 1, updated: 1, applied: true });
    expect((await read()).body.items).toMatchObject([
      { merchantId: 'shop-1', risk: 0.5, note: 'says "no", twice' },
      { merchantId: 'shop-2', risk: 0.001, note: null },
    ]);
    expect((await outbox()).slice(1)).toMatchObject([{ key: 'shop-1' }, { key: 'shop-2' }]);
    const entries = await audited();
    expect(entries).toHaveLength(2);
    const sha256 = createHash('sha256').update(file).digest('hex');
    const details = { rows: 2, created: 1, updated: 1, format: 'text/csv', sha256 };
    expect(entries[1]).toMatchObject({ action: 'risk-table.uploaded', details });
  });

  it('takes lines of JSON as well', async () => {
    const lines = '{"merchantId":"a","risk":0}\n{"merchantId":"b","risk":1,"note":"n"}\n\n';
    expect((await upload(lines, 'application/x-ndjson')).body).toMatchObject({ rows: 2, created: 2 });
  });

  it('with faults changes nothing, and tells of each by line and field', async () => {
    const csv = [
      'shop-1,0.5',
      ',0.5',
      'shop-2,1.5',
      'shop-1,0',
      'shop-3',
      `shop-4,0,${'n'.repeat(201)}`,
      'shop-5,0,a\tb',
    ];
    const refused = await upload(csv.join('\n'));
    expect(refused.status).toBe(422);
    expect(refused.headers['content-type']).toBe('application/problem+json');
    expect(refused.body).toMatchObject({ code: 'upload-refused', faultCount: 6 });
    expect(refused.body.faults).toEqual([
      { line: 2, field: 'merchantId', message: 'is empty' },
      { line: 3, field: 'risk', message: 'must be a number from 0 to 1' },
      { line: 4, field: 'merchantId', message: 'has been given in line 1 already' },
      { line: 5, field: null, message: expect.stringContaining('has 1 columns') },
      { line: 6, field: 'note', message: 'is longer than 200 characters' },
      { line: 7, field: 'note', message: 'holds a control character or half a surrogate pair' },
    ]);
    const json = [
      '{"merchantId":"a","risk":"0"}',
      '[]',
      '{',
      '{"merchantId":1,"risk":0,"x":1}',
      '{"merchantId":"\\ud800","risk":0}',
    ];
    const refusedJson = await upload(json.join('\n'), 'application/x-ndjson');
    expect(refusedJson.body.faults.map(({ line, field }: { line: number; field: string }) => [line, field])).toEqual([
      [1, 'risk'],
      [2, null],
      [3, null],
      [4, null],
      [4, 'merchantId'],
      [5, 'merchantId'],
    ]);
    expect([await outbox(), await audited(), (await read()).body.items]).toEqual([[], [], []]);
  });

  it('tells the first hundred faults, and how many there are', async () => {
    const { body } = await upload(Array.from({ length: 250 }, (_, i) => `shop-${i},2`).join('\n'));
    expect([body.faults.length, body.faultCount]).toEqual([100, 250]);
  });

  it.each([
    ['merchantId,risk,asOf', 'unknown column asOf; the columns are merchantId,risk[,note]'],
    ['Merchant,Risk', 'unknown column Merchant; the columns are merchantId,risk[,note]'],
    ['merchantId,risk,note,', 'unknown column ""; the columns are merchantId,risk[,note]'],
    ['risk,merchantId', 'the columns are merchantId,risk[,note], in this order'],
    ['merchantId', 'the columns are merchantId,risk[,note], in this order'],
  ])('under the names %s is refused for them alone', async (names, message) => {
    const { status, body } = await upload(`${names}\nshop-1,0.5,12\nshop-2,13,0.5\n`);
    expect([status, body.faults]).toEqual([422, [{ line: 1, field: null, message }]]);
  });

  it('may have any of our names as a merchant', async () => {
    expect((await upload('risk,0.5\nmerchantId,0.5,note\n')).body).toMatchObject({ rows: 2, created: 2 });
  });

  it('with a quote that never closes is refused where it opens', async () => {
    const { status, body } = await upload('a,0.1\nb,"0.2\nc,3\n');
    expect([status, body.faults.at(-1).field]).toEqual([422, null]);
    expect(body.faults.at(-1).message).toContain('Quote Not Closed');
  });

  it('may be tried without doing it', async () => {
    await make('a', 0);
    const answer = await upload('a,1\nb,1', 'text/csv', '?dryRun=true');
    expect(answer.body).toEqual({ rows: 2, created: 1, updated: 1, applied: false });
    expect(await outbox()).toHaveLength(1);
    expect((await upload('a,2', 'text/csv', '?dryRun=true')).status).toBe(422);
    expect((await upload('a,1', 'text/csv', '?dryRun=maybe')).status).toBe(400);
  });

  it('is bounded in rows and bytes, and comes as a file of text alone', async () => {
    const rows = (count: number) => Array.from({ length: count }, (_, i) => `s${i},0`).join('\n');
    expect((await upload(rows(50_001))).body.faults).toMatchObject([{ line: 50_001, field: null }]);
    expect((await upload(Buffer.alloc(5 * 1024 * 1024 + 1, 'x'))).body).toMatchObject({ status: 413 });
    expect((await upload('')).body.faults).toEqual([{ line: 1, field: null, message: 'there are no rows' }]);
    expect((await upload(Buffer.from([0xff, 0xfe]))).status).toBe(400);
    expect((await upload('{}', 'application/json')).status).toBe(415);
    expect((await upload('a,0', 'text/plain')).status).toBe(415);
    expect((await http.post('/v1/risk-table/bulk').set(WRITER)).status).toBe(415);
    const elsewhere = http.put(path('a')).set(WRITER).set('if-none-match', '*').set('content-type', 'text/csv');
    expect((await elsewhere.send('a,0')).status).toBe(415);
  });

  it('of 50,000 rows is one change, and no more rows are taken than detectors hold', async () => {
    const file = (from: number) => Array.from({ length: 50_000 }, (_, i) => `merchant-${from + i},0.5`).join('\n');
    for (let from = 0; from < MOST_RISK_ROWS; from += 50_000) {
      expect((await upload(file(from))).body).toMatchObject({ created: 50_000 });
    }
    expect(await audited()).toHaveLength(4);
    expect((await make('one-more', 0)).body).toMatchObject({ status: 409, code: 'risk-table-full' });
    expect((await upload('one-more,0', 'text/csv', '?dryRun=true')).status).toBe(409);
    expect((await upload('merchant-7,1')).body).toMatchObject({ updated: 1 });
  });
});
