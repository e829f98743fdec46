import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import supertest from 'supertest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PostgresAlertProjection } from '../../src/adapters/postgres/alert-projection.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresRiskRows } from '../../src/adapters/postgres/risk-row-table.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { type Api, type ApiParts, createApi } from '../../src/api/api.js';
import type { ProjectorStatus } from '../../src/fraud/cases/projection.js';
import type { PipelineStatus, TaskStatus } from '../../src/stream/runtime/status.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { BARE_PARTS } from '../support/bare-parts.js';
import { makeAccessWorld } from './access-world.js';
import { alertParts } from './alerts-world.js';
import { anAlert, startTestPostgres, type TestPostgres } from './projector-fixtures.js';
import { NO_ROLLOUT, ruleParts } from './rules-world.js';

const NOW = Date.UTC(2026, 0, 5, 13);
const ALERTS = 250;
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
const openApiFile = fileURLToPath(new URL('../../schemas/openapi.json', import.meta.url));

/** What an alert is that nobody has worked on. */
const UNTOUCHED = {
  state: 'open',
  revision: 1,
  assignee: null,
  disposition: null,
  reasonCode: null,
  storedAt: expect.any(Number),
};

let postgres: TestPostgres;
let database: Database;
let api: Api;
let http: ReturnType<typeof supertest.agent>;
let pipeline: PipelineStatus | null;
let projector: ProjectorStatus;
let databaseTrouble: Error | null;
let unexpected: unknown[];

const task = (changes: Partial<TaskStatus> = {}): TaskStatus => ({
  taskId: 'fraud-detection-0',
  partition: 0,
  worker: 0,
  state: 'running',
  error: null,
  committedOffset: 900,
  endOffset: 1000,
  epoch: 77,
  watermarkMs: NOW - 6_000,
  records: 900,
  deadLetters: 3,
  alerts: 12,
  late: 1,
  recoveries: 0,
  epochLatencyMs: { p50: 20, p99: 64, max: 90 },
  checkpoint: { id: 'c-1', completedAt: NOW - 30_000, durationMs: 120, sizeBytes: 4096, failures: 2 },
  hotKeys: 50,
  dirtyKeys: 5,
  pendingTimers: 4,
  counters: { 'rules.fired.high-score': 7, 'decisions.decline': 7, 'enrich.lookups': 30 },
  ...changes,
});

beforeAll(async () => {
  postgres = await startTestPostgres(15_601);
  database = await openDatabase({ url: await postgres.newDatabase() });
  const alerts = Array.from({ length: ALERTS }, (_, i) => ({ offset: i, alert: anAlert(i) }));
  const projection = new PostgresAlertProjection(database.dataSource);
  await projection.append({ topic: 'fraud.alerts', partition: 0, alerts, unreadable: [], nextOffset: ALERTS });
  const parts: ApiParts = {
    ...BARE_PARTS,
    version,
    alerts: alertParts(database, { now: () => NOW }),
    database: {
      check: async () => {
        if (databaseTrouble !== null) throw databaseTrouble;
        await database.check();
      },
    },
    pipeline: { status: () => pipeline },
    projector: { status: () => projector },
    rules: ruleParts(database, { now: () => NOW }, () => NO_ROLLOUT),
    access: makeAccessWorld(database).access,
    riskRows: new PostgresRiskRows(database.dataSource, new PostgresWrites(database.dataSource, systemClock), 'risk'),
    relay: { status: () => ({ state: 'running', error: null, relayed: 7, lag: 2, waitingSince: NOW - 3_000 }) },
    clock: { now: () => NOW, monotonic: () => 0, schedule: () => () => {} },
    onUnexpected: (error) => unexpected.push(error),
  };
  api = await createApi(parts);
  http = supertest.agent(api.app.getHttpServer()).set('authorization', 'Bearer admin');
});
afterAll(async () => {
  await api.close();
  await database.close();
  await postgres.dispose();
});

beforeEach(() => {
  databaseTrouble = null;
  unexpected = [];
  pipeline = {
    name: 'fraud-detection',
    version: '0.1.0',
    backend: 'memory',
    startedAt: NOW - 60_000,
    generation: 1,
    seededFrom: null,
    sourcePartitions: 4,
    tasks: [task(), task({ taskId: 'fraud-detection-1', partition: 1, watermarkMs: Number.NEGATIVE_INFINITY })],
    standbys: [
      {
        taskId: 'fraud-detection-2',
        partition: 2,
        worker: 0,
        state: 'following',
        error: null,
        epoch: 41,
        stateLogOffset: 90,
        endOffset: 96,
        hotKeys: 30,
        dirtyKeys: 2,
      },
    ],
    workers: [
      {
        worker: 0,
        tasks: 2,
        restarts: 1,
        memory: { heapUsedBytes: 1_000, heapTotalBytes: 2_000, heapLimitBytes: 3_000, externalBytes: 4_000 },
      },
    ],
  };
  projector = {
    topic: 'fraud.alerts',
    state: 'running',
    error: null,
    partitions: [{ partition: 0, state: 'running', error: null, nextOffset: 250, endOffset: 254, retries: 0 }],
    stored: 250,
    repeated: 1,
    unreadable: 2,
    lag: 4,
  };
});

/** Checks an answer against the schema that the OpenAPI document gives for it. */
async function matchesDocument(path: string, status: number, type: string, body: unknown): Promise<void> {
  const { body: document } = await http.get('/openapi.json');
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  ajv.addSchema(document, 'openapi');
  const pointer = ['paths', path, 'get', 'responses', String(status), 'content', type, 'schema'];
  const place = pointer.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/');
  const validate = ajv.compile({ $ref: `openapi#/${encodeURI(place)}` });
  validate(body);
  expect(validate.errors).toBeNull();
}

async function problem(path: string, status: number, route: string, method: 'get' | 'post' = 'get') {
  const answer = await http[method](path);
  expect(answer.status).toBe(status);
  expect(answer.headers['content-type']).toBe('application/problem+json');
  expect(answer.body).toMatchObject({ status, type: `urn:fraud-detection:problem:${answer.body.code}` });
  if (route !== '') await matchesDocument(route, status, 'application/problem+json', answer.body);
  return answer.body;
}

describe('GET /v1/alerts', () => {
  it('gives the newest first, page by page, each alert once', async () => {
    const seen: number[] = [];
    let next: string | null = null;
    let pages = 0;
    do {
      const answer = await http.get('/v1/alerts').query({ limit: 60, ...(next === null ? {} : { cursor: next }) });
      expect(answer.status).toBe(200);
      await matchesDocument('/v1/alerts', 200, 'application/json', answer.body);
      seen.push(...answer.body.items.map((item: { detectedAt: number }) => item.detectedAt));
      next = answer.body.next;
      pages++;
    } while (next !== null && pages < 20);
    expect(pages).toBe(5);
    expect(seen).toEqual(Array.from({ length: ALERTS }, (_, i) => anAlert(ALERTS - 1 - i).detectedAt));
  });

  it('gives 50 where no limit is asked for, without evidence', async () => {
    const { body } = await http.get('/v1/alerts');
    expect(body.items).toHaveLength(50);
    const { evidence: _, ...head } = anAlert(ALERTS - 1);
    expect(body.items[0]).toEqual({ ...head, ...UNTOUCHED });
  });

  it.each([
    ['decision=decline', (i: number) => i % 3 === 0],
    ['severity=medium', (i: number) => i % 3 !== 0],
    ['cardId=card-2', (i: number) => i % 5 === 2],
    ['merchantId=merchant-1', (i: number) => i % 2 === 1],
    ['ruleId=high-score', (i: number) => i % 3 === 0],
    ['minScore=0.9', (i: number) => i % 3 === 0],
    ['state=open', () => true],
    ['state=closed', () => false],
    [`from=${anAlert(100).detectedAt}&to=${anAlert(110).detectedAt}`, (i: number) => i >= 100 && i < 110],
    ['cardId=card-2&decision=decline', (i: number) => i % 15 === 12],
    ["cardId=' OR 1=1 --", () => false],
  ])('narrows by %s', async (filter, wanted) => {
    const { body } = await http.get(`/v1/alerts?limit=200&${filter}`);
    const indexes = Array.from({ length: ALERTS }, (_, i) => i).filter(wanted);
    const ids = indexes.reverse().map((i) => anAlert(i).alertId);
    expect(body.items.map((item: { alertId: string }) => item.alertId)).toEqual(ids.slice(0, 200));
  });

  it.each([
    ['limit=0', 'limit'],
    ['limit=201', 'limit'],
    ['limit=ten', 'limit'],
    ['limit=', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['minScore=1.5', 'minScore'],
    ['decision=approve', 'decision'],
    ['state=new', 'state'],
    ['cardId=', 'cardId'],
    ['cardId=%00', 'cardId'],
    [`merchantId=${'m'.repeat(65)}`, 'merchantId'],
    ['from=yesterday', 'from'],
    ['from=99999999999999999', 'from'],
    ['colour=red', 'colour'],
  ])('refuses %s and names the parameter', async (query, name) => {
    const body = await problem(`/v1/alerts?${query}`, 400, '/v1/alerts');
    expect(body.code).toBe('request-invalid');
    expect(body.parameters.map((parameter: { name: string }) => parameter.name)).toEqual([name]);
  });

  it.each([
    'x',
    'AAAA',
    Buffer.from('1.zz').toString('base64url'),
    Buffer.from('-1.'.padEnd(35, 'a')).toString('base64url'),
  ])('refuses the cursor %s', async (cursor) => {
    expect((await problem(`/v1/alerts?cursor=${cursor}`, 400, '/v1/alerts')).code).toBe('cursor-invalid');
  });
});

describe('GET /v1/alerts/:id', () => {
  it('gives the alert as it was made, with its whole evidence', async () => {
    const alert = anAlert(42);
    const answer = await http.get(`/v1/alerts/${alert.alertId}`);
    expect(answer.status).toBe(200);
    const { cardAlerts, ...rest } = answer.body;
    expect(rest).toEqual({ ...alert, ...UNTOUCHED, notes: [], history: [] });
    const others = [247, 242, 237].map((index) => anAlert(index).alertId);
    expect(cardAlerts).toHaveLength(20);
    expect(cardAlerts.slice(0, 3).map((other: { alertId: string }) => other.alertId)).toEqual(others);
    expect(answer.headers.etag).toBe('"1"');
    await matchesDocument('/v1/alerts/{id}', 200, 'application/json', answer.body);
  });

  it.each(['f'.repeat(32), 'nope', '%00', '..%2f..%2fetc', 'F'.repeat(32), 'x'.repeat(127), 'x'.repeat(9_000)])(
    'answers %s with 404',
    async (id) => {
      expect((await problem(`/v1/alerts/${id}`, 404, '/v1/alerts/{id}')).code).toBe('alert-not-found');
    },
  );
});

describe('GET /v1/pipeline', () => {
  it('tells of tasks, lag, epochs, checkpoints and the projector', async () => {
    const { body, status } = await http.get('/v1/pipeline');
    expect(status).toBe(200);
    await matchesDocument('/v1/pipeline', 200, 'application/json', body);
    expect(body).toMatchObject({
      name: 'fraud-detection',
      generation: 1,
      seededFrom: null,
      sourcePartitions: 4,
      lag: 200,
      tasks: [
        { taskId: 'fraud-detection-0', epoch: 77, lag: 100, watermarkMs: NOW - 6_000, checkpoint: { id: 'c-1' } },
        { watermarkMs: null },
      ],
      standbys: [{ taskId: 'fraud-detection-2', state: 'following', epoch: 41, lag: 6 }],
      projector: { state: 'running', lag: 4 },
    });
  });

  it('answers before the pipeline has started, too', async () => {
    pipeline = null;
    const { body, status } = await http.get('/v1/pipeline');
    expect(status).toBe(200);
    await matchesDocument('/v1/pipeline', 200, 'application/json', body);
    expect(body).toMatchObject({ name: null, tasks: [] });
  });
});

describe('health', () => {
  it('is live and ready when all is well', async () => {
    const live = await http.get('/health/live');
    const ready = await http.get('/health/ready');
    expect([live.status, live.body]).toEqual([200, { status: 'live' }]);
    expect([ready.status, ready.body]).toEqual([200, { status: 'ready' }]);
    await matchesDocument('/health/ready', 200, 'application/json', ready.body);
  });

  it('is not ready, for reasons that it names, and lives all the same', async () => {
    const error = { code: 'corrupt-data', message: 'chunk 3 has a bad CRC' };
    pipeline = {
      ...(pipeline as PipelineStatus),
      tasks: [task({ state: 'failed', error }), task({ state: 'recovering' })],
    };
    projector = { ...projector, state: 'failed', error: { code: 'offset-out-of-range', message: 'gone' } };
    databaseTrouble = new Error('connection refused');
    const body = await problem('/health/ready', 503, '/health/ready');
    expect(body.reasons).toEqual([
      'task fraud-detection-0 is failed: chunk 3 has a bad CRC',
      'task fraud-detection-0 is recovering',
      'the projector has failed: gone',
      'connection refused',
    ]);
    pipeline = null;
    databaseTrouble = null;
    expect((await problem('/health/ready', 503, '/health/ready')).reasons[0]).toContain('not started');
    expect((await http.get('/health/live')).status).toBe(200);
  });
});

describe('GET /metrics', () => {
  const value = (text: string, series: string) => {
    const line = text.split('\n').find((one) => one.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length + 1));
  };

  it('gives pipeline, projector, HTTP and process figures with their units', async () => {
    await http.get('/v1/alerts');
    const { text, headers } = await http.get('/metrics');
    expect(headers['content-type']).toContain('text/plain; version=0.0.4');
    expect({
      payments: value(text, 'fraud_payments_total{task="fraud-detection-0"}'),
      deadLetters: value(text, 'fraud_dead_letters_total{task="fraud-detection-0"}'),
      lag: value(text, 'fraud_source_lag_records{task="fraud-detection-0",partition="0"}'),
      p99: value(text, 'fraud_epoch_latency_seconds{task="fraud-detection-0",quantile="0.99"}'),
      checkpointAge: value(text, 'fraud_checkpoint_age_seconds{task="fraud-detection-0"}'),
      watermarkLag: value(text, 'fraud_watermark_lag_seconds{task="fraud-detection-0"}'),
      noWatermark: value(text, 'fraud_watermark_lag_seconds{task="fraud-detection-1"}'),
      hotKeys: value(text, 'fraud_hot_keys{task="fraud-detection-0"}'),
      ruleFirings: value(text, 'fraud_rule_firings_total{rule="high-score"}'),
      declined: value(text, 'fraud_decisions_total{decision="decline"}'),
      projectorLag: value(text, 'fraud_projector_lag_records{partition="0"}'),
      stored: value(text, 'fraud_projector_alerts_stored_total'),
      outbox: value(text, 'fraud_outbox_lag_messages'),
      waited: value(text, 'fraud_outbox_oldest_waiting_seconds'),
      heap: value(text, 'fraud_worker_heap_bytes{worker="0",kind="total"}'),
      standbyLag: value(text, 'fraud_standby_lag_records{task="fraud-detection-2"}'),
      standbyState: value(text, 'fraud_standby_state{task="fraud-detection-2",state="following"}'),
    }).toEqual({
      payments: 897,
      deadLetters: 3,
      lag: 100,
      p99: 0.064,
      checkpointAge: 30,
      watermarkLag: 6,
      noWatermark: undefined,
      hotKeys: 50,
      ruleFirings: 14,
      declined: 14,
      projectorLag: 4,
      stored: 250,
      outbox: 2,
      waited: 3,
      heap: 2_000,
      standbyLag: 6,
      standbyState: 1,
    });
    expect(text).toMatch(
      /fraud_http_request_duration_seconds_count\{method="GET",route="\/v1\/alerts",status="200"\} \d+/,
    );
    expect(value(text, 'process_resident_memory_bytes')).toBeGreaterThan(0);
  });

  it('counts nothing twice when it is asked twice, and forgets tasks that left', async () => {
    const first = (await http.get('/metrics')).text;
    const series = 'fraud_records_total{task="fraud-detection-0"}';
    expect(value((await http.get('/metrics')).text, series)).toBe(value(first, series));
    pipeline = { ...(pipeline as PipelineStatus), tasks: [] };
    expect(value((await http.get('/metrics')).text, series)).toBeUndefined();
  });
});

describe('the API as a whole', () => {
  it('documents itself, as the committed OpenAPI document says', async () => {
    const { body, status } = await http.get('/openapi.json');
    expect(status).toBe(200);
    // `vitest run test/integration/api.test.ts -u` writes the file anew.
    await expect(`${JSON.stringify(body, null, 2)}\n`).toMatchFileSnapshot(openApiFile);
    const references = [...JSON.stringify(body).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name);
    expect(Object.keys(body.components.schemas)).toEqual(expect.arrayContaining([...new Set(references)]));
    expect(JSON.stringify(body)).not.toContain('$defs');
    const limit = body.paths['/v1/alerts'].get.parameters.find(({ name }: { name: string }) => name === 'limit');
    expect(limit).toMatchObject({
      in: 'query',
      required: false,
      schema: { type: 'integer', maximum: 200, default: 50 },
    });
  });

  it('documents every route that it has under /v1, health and metrics, and no other', async () => {
    const { body } = await http.get('/openapi.json');
    const documented = Object.entries(body.paths as Record<string, object>).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
    );
    const served = api.routes
      .filter(({ method, url }) => method !== 'HEAD' && /^\/(v1|health|metrics)\b/.test(url))
      .map(({ method, url }) => `${method} ${url}`);
    expect(documented.sort()).toEqual(served.sort());
    expect(served.length).toBeGreaterThan(45);
  });

  it('documents patterns that other languages read, too', async () => {
    const { body } = await http.get('/openapi.json');
    const patterns = [...JSON.stringify(body).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)].map(([, one]) =>
      JSON.parse(one),
    );
    expect(patterns.length).toBeGreaterThan(20);
    expect(patterns.filter((pattern) => /\\p|\\u\{|\(\?</.test(pattern))).toEqual([]);
  });

  it('serves the page of the documentation without anything from elsewhere', async () => {
    const home = await http.get('/');
    expect([home.status, home.headers.location]).toEqual([302, '/docs']);
    const page = await http.get('/docs');
    expect(page.status).toBe(200);
    expect(page.text).not.toMatch(/https?:/);
    const files = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, file]) => file);
    expect(files).toHaveLength(4);
    for (const file of files) expect([file, (await http.get(file)).status]).toEqual([file, 200]);
    expect(page.headers['content-security-policy']).toContain("script-src 'self'");
  });

  it('sends security headers with every answer, errors too', async () => {
    for (const path of ['/v1/alerts', '/nowhere', '/metrics', '/openapi.json', '/%']) {
      const { headers } = await http.get(path);
      expect([path, headers['x-content-type-options']]).toEqual([path, 'nosniff']);
      expect([path, headers['content-security-policy']]).toEqual([path, "default-src 'none'; frame-ancestors 'none'"]);
      expect(headers['x-powered-by']).toBeUndefined();
    }
  });

  it('answers what it does not know with problems', async () => {
    expect((await problem('/nowhere', 404, '')).code).toBe('route-not-found');
    expect((await problem('/%', 400, '')).code).toBe('request-malformed');
  });

  it('answers a method that an address has not with 405, and names those that it has', async () => {
    const methods = async (method: 'put' | 'post' | 'delete', path: string) => {
      const { status, headers, body } = await http[method](path);
      return [status, body.code, headers.allow];
    };
    expect([
      await methods('post', '/v1/alerts'),
      await methods('delete', '/v1/alerts/stream?decision=review'),
      await methods('post', '/v1/risk-table/merchant-1'),
      await methods('put', '/v1/risk-table/a/b'),
    ]).toEqual([
      [405, 'method-not-allowed', 'GET, HEAD'],
      [405, 'method-not-allowed', 'GET, HEAD'],
      [405, 'method-not-allowed', 'DELETE, GET, HEAD, PUT'],
      [404, 'route-not-found', undefined],
    ]);
  });

  it('serves every schema that others read or write by, as it is in schemas/', async () => {
    for (const file of ['alert.schema.json', 'alert.avsc', 'label.schema.json', 'payment.avsc']) {
      const { status, body, text } = await http.get(`/schemas/${file}`);
      const kept = JSON.parse(readFileSync(new URL(`../../schemas/${file}`, import.meta.url), 'utf8'));
      expect([file, status]).toEqual([file, 200]);
      expect(file.endsWith('.avsc') ? body : JSON.parse(text)).toEqual(kept);
      expect((await http.get('/docs/events')).text).toContain(`href="/schemas/${file}"`);
    }
  });

  it('takes an empty body for none, whatever type it is said to have', async () => {
    const remove = () =>
      http.delete('/v1/risk-table/nobody').set('content-type', 'application/json').set('if-match', '"1"');
    for (const answer of [await remove(), await remove().set('content-length', '0')])
      expect([answer.status, answer.body.code]).toEqual([404, 'risk-row-not-found']);
    const wanted = await http.post('/v1/users').set('content-type', 'application/json');
    expect([wanted.status, wanted.body.code]).toEqual([400, 'request-invalid']);
    const broken = await remove().send('{"broken');
    expect([broken.status, broken.body.code]).toEqual([400, 'request-malformed']);
  });

  it('refuses bodies beyond the limit, of other types, and broken ones', async () => {
    const post = (type: string, body: string) => http.post('/v1/alerts').set('content-type', type).send(body);
    const answers = [
      await post('application/json', JSON.stringify('x'.repeat(70_000))),
      await post('application/json', '{"broken'),
      await post('application/xml', '<x/>'),
    ];
    expect(answers.map(({ status }) => status)).toSatisfy((all: number[]) => all.every((s) => s >= 400 && s < 500));
    for (const { headers } of answers) expect(headers['content-type']).toBe('application/problem+json');
  });

  it('keeps the cause of an unexpected failure to itself, and tells the log', async () => {
    const status = () => {
      throw new Error('password=hunter2');
    };
    const broken = await createApi({
      ...BARE_PARTS,
      pipeline: { status },
      onUnexpected: (error, request) => unexpected.push([error, request]),
    });
    try {
      const answer = await supertest(broken.app.getHttpServer())
        .get('/v1/pipeline?token=secret')
        .set('authorization', 'Bearer admin');
      expect(answer.status).toBe(500);
      expect(JSON.stringify(answer.body)).not.toContain('hunter2');
      const [[error, request]] = unexpected as [[Error, { path: string; id: string }]];
      expect(error.message).toContain('hunter2');
      expect(request.path).toBe('/v1/pipeline');
      expect(answer.body.instance).toContain(request.id);
    } finally {
      await broken.close();
    }
  });
});

describe('listening', () => {
  const apis: Api[] = [];
  afterEach(async () => {
    await Promise.all(apis.splice(0).map((one) => one.close()));
  });
  const make = async () => {
    const one = await createApi({
      ...BARE_PARTS,
      alerts: alertParts(database, { now: () => NOW }),
      database,
    });
    apis.push(one);
    return one;
  };

  it('tells its address, and answers there', async () => {
    const url = await (await make()).listen('127.0.0.1', 0);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
  });

  it('answers what is no request that Node reads with a problem, too', async () => {
    const url = await (await make()).listen('127.0.0.1', 0);
    const raw = (text: string) =>
      new Promise<string>((resolve, reject) => {
        let answer = '';
        const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
        socket.on('data', (chunk) => {
          answer += chunk;
        });
        socket.once('close', () => resolve(answer));
        socket.once('error', reject);
      });
    const answers = [
      await raw('NONSENSE / HTTP/1.1\r\n\r\n'),
      await raw(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\nhost: a\r\n\r\n`),
    ];
    expect(answers.map((answer) => answer.slice(9, 12))).toEqual(['400', '431']);
    for (const answer of answers) {
      const [head, body] = answer.split('\r\n\r\n');
      expect(head).toContain('content-type: application/problem+json');
      expect(JSON.parse(body)).toMatchObject({ type: expect.stringContaining('urn:fraud-detection:problem:') });
    }
  });

  it('says how to choose another port when one is busy', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    try {
      const listening = (await make()).listen('127.0.0.1', port);
      await expect(listening).rejects.toMatchObject({ code: 'port-in-use' });
      await expect(listening).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use`);
      await expect(listening).rejects.toThrow('PORT=');
    } finally {
      other.close();
    }
  });

  it('closes at once, though a client keeps its connection open', async () => {
    const one = await make();
    const url = await one.listen('127.0.0.1', 0);
    await (await fetch(`${url}/health/live`)).text();
    const start = performance.now();
    await one.close();
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});
