import { Ajv2020 } from 'ajv/dist/2020.js';
import type supertest from 'supertest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_PATTERN_PARAMETERS } from '../../src/fraud/patterns/pattern-parameters.js';
import { builtInRuleSet } from '../../src/fraud/rules/built-in-rules.js';
import type { TakeUp } from '../../src/fraud/rules/rollout.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';
import { NO_ROLLOUT, openRulesWorld, type RulesWorld } from './rules-world.js';

let postgres: TestPostgres;
let world: RulesWorld;

beforeAll(async () => {
  postgres = await startTestPostgres(15_621);
});
afterAll(() => postgres.dispose());
const newWorld = async () => {
  world = await openRulesWorld(await postgres.newDatabase());
};
/** Each test of the block has a book of its own, seeded with the built-in rules. */
function withOwnWorld(): void {
  beforeEach(newWorld);
  afterEach(() => world.close());
}
/** The block's tests, which change nothing that the others look at, have one together. */
function withSharedWorld(): void {
  beforeAll(newWorld);
  afterAll(() => world.close());
}
afterEach(() => {
  // Whatever was asked, nothing of it may end in an unexpected failure.
  expect(world.unexpected).toEqual([]);
});

const content = (changes: object = {}) => ({
  name: 'Large in Andorra',
  condition: 'payment.amountMinor > 50000 && payment.country == "AD"',
  decision: 'review',
  severity: 'low',
  ...changes,
});
const author = () => world.as('rule-author');
const approver = () => world.as('rule-approver');

async function create(id = 'andorra'): Promise<supertest.Response> {
  const answer = await author()
    .post('/v1/rules')
    .send({ id, ...content() });
  expect(answer.status).toBe(201);
  return answer;
}

const activate = (id: string, version: number, etag: string) =>
  approver().post(`/v1/rules/${id}/activate`).set('if-match', etag).send({ version });

/** A problem with its code, and a detail that says what to do. */
function expectProblem(answer: supertest.Response, status: number, code: string, advice: RegExp): void {
  expect([answer.status, answer.body.code, answer.headers['content-type']]).toEqual([
    status,
    code,
    'application/problem+json',
  ]);
  expect(answer.body.detail).toMatch(advice);
}

/** Checks an answer against the document. */
async function matchesDocument(method: string, path: string, answer: supertest.Response): Promise<void> {
  const { body: document } = await world.as('admin').get('/openapi.json');
  const { content } = document.paths[path][method].responses[answer.status];
  const [{ schema }] = Object.values(content) as { schema: object }[];
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const validate = ajv.compile({ ...schema, components: document.components });
  expect(validate(answer.body) ? [] : validate.errors, `${method} ${path}`).toEqual([]);
}

describe('a rule over HTTP', () => {
  withOwnWorld();
  it('goes from draft to active to its next version and back, each step in the rule set', async () => {
    const created = await create();
    expect(created.headers).toMatchObject({ etag: '"1"', location: '/v1/rules/andorra' });
    expect(created.body).toMatchObject({
      state: 'draft',
      live: null,
      newest: { version: 1, author: { id: 'rule-author' } },
    });
    const active = await activate('andorra', 1, '"1"');
    expect([active.status, active.headers.etag, active.body.state]).toEqual([200, '"2"', 'active']);
    const changed = await author()
      .put('/v1/rules/andorra')
      .set('if-match', '"2"')
      .send(content({ decision: 'decline' }));
    expect(changed.body).toMatchObject({
      state: 'active',
      revision: 3,
      live: { version: 1, decision: 'review' },
      newest: { version: 2, decision: 'decline' },
    });
    await activate('andorra', 2, '"3"');
    const shadow = await approver().post('/v1/rules/andorra/shadow').set('if-match', '"4"').send({ version: 1 });
    expect(shadow.body).toMatchObject({ state: 'shadow', live: { version: 1 } });
    const paused = await approver().post('/v1/rules/andorra/pause').set('if-match', '"5"').send({ reason: 'too loud' });
    expect(paused.body).toMatchObject({ state: 'paused', pause: { by: { id: 'rule-approver' }, reason: 'too loud' } });
    const runs = (await world.published()).map(({ version, rules }) => {
      const rule = rules.find(({ id }) => id === 'andorra');
      return [version, rule === undefined ? null : `${rule.version} ${rule.state}`];
    });
    expect(runs).toEqual([
      [1, null],
      [2, '1 active'],
      [3, '2 active'],
      [4, '1 shadow'],
      [5, null],
    ]);
    for (const [path, answer] of [
      ['/v1/rules', created],
      ['/v1/rules/{id}/activate', active],
      ['/v1/rules/{id}/shadow', shadow],
      ['/v1/rules/{id}/pause', paused],
    ] as const) {
      await matchesDocument('post', path, answer);
    }
    await matchesDocument('put', '/v1/rules/{id}', changed);
  });

  it('is shown with its versions', async () => {
    await create();
    await author()
      .put('/v1/rules/andorra')
      .set('if-match', '"1"')
      .send(content({ scope: { countries: ['AD'] } }));
    const shown = await world.as('analyst').get('/v1/rules/andorra');
    expect(shown.headers.etag).toBe('"2"');
    await matchesDocument('get', '/v1/rules/{id}', shown);
    const versions = await world.as('analyst').get('/v1/rules/andorra/versions').query({ limit: 1 });
    await matchesDocument('get', '/v1/rules/{id}/versions', versions);
    expect(versions.body.items).toMatchObject([{ version: 2, scope: { countries: ['AD'] } }]);
    const rest = await world.as('analyst').get('/v1/rules/andorra/versions').query({ cursor: versions.body.next });
    expect([rest.body.items.length, rest.body.next]).toEqual([1, null]);
    const first = await world.as('analyst').get('/v1/rules/andorra/versions/1');
    expect(first.body).toEqual(rest.body.items[0]);
    await matchesDocument('get', '/v1/rules/{id}/versions/{version}', first);
  });

  it('makes no version of what does not differ, nor a set of what already runs', async () => {
    await create();
    const same = await author()
      .put('/v1/rules/andorra')
      .set('if-match', '"1"')
      .send(content({ description: '' }));
    expect([same.status, same.headers.etag, same.body.newest.version]).toEqual([200, '"1"', 1]);
    await activate('andorra', 1, '"1"');
    expect((await activate('andorra', 1, '"2"')).headers.etag).toBe('"2"');
    expect(await world.published()).toHaveLength(2);
  });

  it('is changed once where a request comes twice with one idempotency key', async () => {
    const post = () =>
      author()
        .post('/v1/rules')
        .set('idempotency-key', 'k-1')
        .send({ id: 'andorra', ...content() });
    const [first, second] = [await post(), await post()];
    expect([first.status, second.status]).toEqual([201, 201]);
    expect([second.body, second.headers.etag]).toEqual([first.body, first.headers.etag]);
    const bring = () =>
      approver()
        .post('/v1/rules/andorra/activate')
        .set('idempotency-key', 'k-1')
        .set('if-match', '"1"')
        .send({ version: 1 });
    expect([(await bring()).body.revision, (await bring()).body.revision]).toEqual([2, 2]);
    expect(await world.published()).toHaveLength(2);
    const other = await author()
      .post('/v1/rules')
      .set('idempotency-key', 'k-1')
      .send({ id: 'b', ...content() });
    expectProblem(other, 422, 'idempotency-key-reused', /take a new key/);
  });

  it('is changed by one of many who change it at the same time', async () => {
    await create();
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        world
          .as(`rule-author:a-${i}`)
          .put('/v1/rules/andorra')
          .set('if-match', '"1"')
          .send(content({ name: `By ${i}` })),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412, 412, 412]);
    const { body } = await author().get('/v1/rules/andorra');
    expect([body.revision, body.newest.version]).toEqual([2, 2]);
  });
});

describe('lists', () => {
  withOwnWorld();
  it('give rules in the order of their ids, page by page, by state', async () => {
    await create('a-b');
    await create('ab');
    const ids: string[] = [];
    let cursor: string | null = null;
    do {
      const page: supertest.Response = await author()
        .get('/v1/rules')
        .query({ limit: 4, ...(cursor === null ? {} : { cursor }) });
      await matchesDocument('get', '/v1/rules', page);
      ids.push(...page.body.items.map(({ id }: { id: string }) => id));
      cursor = page.body.next;
    } while (cursor !== null && ids.length < 50);
    expect(ids).toEqual(['a-b', 'ab', ...builtInRuleSet.rules.map(({ id }) => id)]);
    const drafts = await author().get('/v1/rules').query({ state: 'draft' });
    expect(drafts.body.items.map(({ id }: { id: string }) => id)).toEqual(['a-b', 'ab']);
  });

  it('give rule sets newest first, with what each was made for', async () => {
    await create();
    await activate('andorra', 1, '"1"');
    const page = await author().get('/v1/rule-sets').query({ limit: 1 });
    await matchesDocument('get', '/v1/rule-sets', page);
    expect(page.body.items).toMatchObject([{ version: 2, ruleCount: 8, cause: 'rule.activated andorra 1' }]);
    const rest = await author().get('/v1/rule-sets').query({ cursor: page.body.next });
    expect(rest.body.items).toMatchObject([{ version: 1, cause: 'rule-set.seeded', madeBy: { id: 'system:seed' } }]);
    const first = await author().get('/v1/rule-sets/1');
    await matchesDocument('get', '/v1/rule-sets/{version}', first);
    const seeded = builtInRuleSet.rules.map((rule) => ({ ...rule, liveSince: 1 }));
    expect([first.body.rules, first.body.patterns]).toEqual([seeded, DEFAULT_PATTERN_PARAMETERS]);
    expect(first.body.hash).toBe(rest.body.items[0].hash);
  });
});

describe('the roll-out', () => {
  withOwnWorld();
  const takeUp = (partition: number, ruleSet: { version: number; hash: string }): TakeUp => ({
    kind: 'take-up',
    taskId: `fraud-detection-${partition}`,
    partition,
    ruleSet,
    fromOffset: 100 + partition,
    at: 5,
    refused: null,
  });
  const current = async () => {
    const answer = await author().get('/v1/rule-sets/current');
    await matchesDocument('get', '/v1/rule-sets/current', answer);
    return answer.body;
  };

  it('is complete once every task runs the newest set, and only then', async () => {
    const { version, hash, rollout } = await current();
    expect(rollout).toEqual({ complete: false, trouble: null, tasks: [], missing: [0, 1], trips: [], leftOut: 0 });
    const now = { version, hash };
    world.rollout = { ...NO_ROLLOUT, takeUps: [takeUp(1, now)] };
    expect((await current()).rollout).toMatchObject({ complete: false, missing: [0] });
    world.rollout = { ...NO_ROLLOUT, takeUps: [takeUp(1, now), takeUp(0, { version, hash: 'of another book' })] };
    expect((await current()).rollout).toMatchObject({ complete: false, missing: [] });
    world.rollout = { ...NO_ROLLOUT, takeUps: [takeUp(1, now), takeUp(0, now)] };
    expect((await current()).rollout).toMatchObject({
      complete: true,
      tasks: [
        { taskId: 'fraud-detection-0', ruleSet: now, fromOffset: 100 },
        { taskId: 'fraud-detection-1', fromOffset: 101 },
      ],
    });
    world.rollout = { ...world.rollout, partitions: 0 };
    expect((await current()).rollout.complete).toBe(false);
    await create();
    await activate('andorra', 1, '"1"');
    world.rollout = { ...world.rollout, partitions: 2 };
    expect((await current()).rollout.complete).toBe(false);
  });

  it('tells of refused sets and of trips that still count', async () => {
    const refused = { version: 9, reason: 'rules[0].condition: too long' };
    const trip = {
      kind: 'rule-trip' as const,
      taskId: 'fraud-detection-0',
      partition: 0,
      ruleId: 'high-score',
      ruleVersion: 1,
      ruleSetVersion: 1,
      failures: 20,
      evaluations: 40,
      reason: 'index out of range',
      fromOffset: 7,
      at: 5,
    };
    world.rollout = {
      ...NO_ROLLOUT,
      takeUps: [{ ...takeUp(0, { version: 1, hash: 'x' }), refused }],
      trips: [trip, { ...trip, ruleId: 'no-more' }],
    };
    const { rollout } = await current();
    expect(rollout.leftOut).toBe(0);
    expect(rollout.tasks[0].refused).toEqual(refused);
    expect(rollout.trips.map(({ ruleId }: { ruleId: string }) => ruleId)).toEqual(['high-score']);
    expect(await world.parts.book.pauseTripped(trip)).toBe(true);
    const { body } = await author().get('/v1/rules/high-score');
    expect(body).toMatchObject({ state: 'paused', pause: { by: { id: 'system:rule-breaker' } } });
    expect((await current()).rules.map(({ id }: { id: string }) => id)).not.toContain('high-score');
  });
});

describe('trips', () => {
  withOwnWorld();
  it('of before a rule was brought live anew are not shown', async () => {
    const trip = (ruleSetVersion: number) => ({
      kind: 'rule-trip' as const,
      taskId: 'fraud-detection-0',
      partition: 0,
      ruleId: 'high-score',
      ruleVersion: 1,
      ruleSetVersion,
      failures: 20,
      evaluations: 40,
      reason: 'index out of range',
      fromOffset: 7,
      at: 5,
    });
    await approver().post('/v1/rules/high-score/pause').set('if-match', '"2"').send({ reason: 'x' });
    expect((await activate('high-score', 1, '"3"')).status).toBe(200);
    const shown = async (ruleSetVersion: number) => {
      world.rollout = { ...NO_ROLLOUT, trips: [trip(ruleSetVersion)] };
      return (await author().get('/v1/rule-sets/current')).body.rollout.trips.length;
    };
    expect([await shown(1), await shown(2), await shown(3), await shown(4)]).toEqual([0, 0, 1, 1]);
  });
});

describe('pattern parameters', () => {
  withSharedWorld();
  const wanted = { ...DEFAULT_PATTERN_PARAMETERS, velocityBurst: { minPayments: 4, withinMs: 60_000 } };

  it('are drafted by one, activated by another, and gone back to', async () => {
    const shown = await author().get('/v1/pattern-parameters');
    expect([shown.headers.etag, shown.body.live.parameters]).toEqual(['"1"', DEFAULT_PATTERN_PARAMETERS]);
    await matchesDocument('get', '/v1/pattern-parameters', shown);
    const changed = await author().put('/v1/pattern-parameters').set('if-match', '"1"').send(wanted);
    expect(changed.body).toMatchObject({
      revision: 2,
      live: { version: 1 },
      newest: { version: 2, parameters: wanted },
    });
    await matchesDocument('put', '/v1/pattern-parameters', changed);
    expect(await world.published()).toHaveLength(1);
    const own = await world
      .as('admin:rule-author')
      .post('/v1/pattern-parameters/activate')
      .set('if-match', '"2"')
      .send({ version: 2 });
    expectProblem(own, 403, 'four-eyes', /somebody else/);
    const active = await approver().post('/v1/pattern-parameters/activate').set('if-match', '"2"').send({ version: 2 });
    expect(active.body).toMatchObject({ revision: 3, live: { version: 2 } });
    await matchesDocument('post', '/v1/pattern-parameters/activate', active);
    await approver().post('/v1/pattern-parameters/activate').set('if-match', '"3"').send({ version: 1 });
    expect((await world.published()).map(({ patterns }) => patterns.velocityBurst.minPayments)).toEqual([8, 4, 8]);
    const versions = await author().get('/v1/pattern-parameters/versions');
    await matchesDocument('get', '/v1/pattern-parameters/versions', versions);
    expect(versions.body.items.map(({ version }: { version: number }) => version)).toEqual([2, 1]);
  });

  it.each([
    [
      'what leaves something out',
      { ...wanted, velocityBurst: { minPayments: 4 } },
      /velocityBurst: withinMs must be given/,
    ],
    ['what leaves a pattern out', { cardTesting: wanted.cardTesting }, /velocityBurst: minPayments, withinMs/],
    [
      'what goes beyond its bounds',
      { ...wanted, velocityBurst: { minPayments: 1, withinMs: 60_000 } },
      /velocityBurst/,
    ],
    [
      'what contradicts itself',
      { ...wanted, cardTesting: { ...wanted.cardTesting, largeMinMinor: 1 } },
      /above smallMaxMinor/,
    ],
    ['what it does not know', { ...wanted, colour: 'red' }, /colour/],
    ['no object', 'x', /cardTesting/],
  ])('refuse %s', async (_, body, advice) => {
    const put = author().put('/v1/pattern-parameters').set('if-match', '"1"').set('content-type', 'application/json');
    expectProblem(await put.send(JSON.stringify(body)), 400, 'request-invalid', advice);
  });
});

describe('what is refused', () => {
  withSharedWorld();
  it('a rule with problems, each with line, column and a hint', async () => {
    const condition = 'score >= 0.5 &&\n  payment.amonutMinor > 3';
    const answer = await author()
      .post('/v1/rules')
      .send({ id: 'typo', ...content({ condition }) });
    expectProblem(answer, 422, 'rule-invalid', /amonutMinor/);
    expect(answer.body.problems).toMatchObject([
      { path: 'condition', line: 2, column: expect.any(Number), hint: expect.stringContaining('amountMinor') },
    ]);
    await matchesDocument('post', '/v1/rules', answer);
  });

  it.each([
    [
      'an id taken',
      409,
      'rule-exists',
      /PUT/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'high-score', ...content() }),
    ],
    [
      'an id of another form',
      400,
      'request-invalid',
      /hyphens/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'A b', ...content() }),
    ],
    [
      'a name with a zero byte',
      400,
      'request-invalid',
      /control/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'a', ...content({ name: 'a\0b' }) }),
    ],
    [
      'half a surrogate pair',
      400,
      'request-invalid',
      /surrogate/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'a', ...content({ name: 'a\ud800b' }) }),
    ],
    [
      'an unknown decision',
      400,
      'request-invalid',
      /decision/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'a', ...content({ decision: 'ask' }) }),
    ],
    [
      'an unknown field',
      400,
      'request-invalid',
      /colour/,
      () =>
        author()
          .post('/v1/rules')
          .send({ id: 'a', ...content({ colour: 'red' }) }),
    ],
    ['no body', 400, 'request-invalid', /./, () => author().post('/v1/rules')],
    ['a rule that is not there', 404, 'rule-not-found', /lists/, () => author().get('/v1/rules/nobody')],
    ['what can be no id', 404, 'rule-not-found', /lists/, () => author().get('/v1/rules/%00')],
    [
      'a version that is not there',
      404,
      'rule-version-not-found',
      /newest is 1/,
      () => author().get('/v1/rules/high-score/versions/2'),
    ],
    [
      'a version that is no number',
      404,
      'rule-version-not-found',
      /newest is 1/,
      () => author().get('/v1/rules/high-score/versions/99999999999'),
    ],
    ['a rule set that is not there', 404, 'rule-set-not-found', /lists/, () => author().get('/v1/rule-sets/99')],
    ['a rule set that is no number', 404, 'rule-set-not-found', /lists/, () => author().get('/v1/rule-sets/last')],
    [
      'a change without If-Match',
      428,
      'precondition-required',
      /If-Match: "3"/,
      () => author().put('/v1/rules/high-score').send(content()),
    ],
    [
      'a change of something older',
      412,
      'precondition-failed',
      /Read it again/,
      () => author().put('/v1/rules/high-score').set('if-match', '"1"').send(content()),
    ],
    [
      'a weak ETag',
      412,
      'precondition-failed',
      /Read it again/,
      () => author().put('/v1/rules/high-score').set('if-match', 'W/"2"').send(content()),
    ],
    [
      'an ETag without quotes',
      400,
      'request-invalid',
      /quotes/,
      () => author().put('/v1/rules/high-score').set('if-match', '2').send(content()),
    ],
    [
      'pausing a draft',
      409,
      'rule-not-running',
      /Activate/,
      async () => {
        await create();
        return approver().post('/v1/rules/andorra/pause').set('if-match', '"1"').send({ reason: 'x' });
      },
    ],
    [
      'activating what is not there',
      404,
      'rule-version-not-found',
      /newest is 1/,
      () => activate('high-score', 7, '"2"'),
    ],
    [
      'an author who activates',
      403,
      'permission-denied',
      /rules:approve/,
      () => author().post('/v1/rules/high-score/pause').set('if-match', '"2"').send({ reason: 'x' }),
    ],
    [
      'an approver who writes',
      403,
      'permission-denied',
      /rules:write/,
      () =>
        approver()
          .post('/v1/rules')
          .send({ id: 'a', ...content() }),
    ],
    [
      'a cursor of elsewhere',
      400,
      'cursor-invalid',
      /again/,
      () => author().get('/v1/rules').query({ cursor: 'AAAA' }),
    ],
    ['a page too large', 400, 'request-invalid', /limit/, () => author().get('/v1/rule-sets').query({ limit: 1_000 })],
  ] as const)('%s', async (_, status, code, advice, ask) => {
    expectProblem(await ask(), status, code, advice);
  });

  it('an author who approves the own version', async () => {
    const admin = world.as('admin:ann');
    await admin.post('/v1/rules').send({ id: 'own', ...content() });
    for (const one of [admin, world.as('admin:key-of-ann:ann')]) {
      const answer = await one.post('/v1/rules/own/activate').set('if-match', '"1"').send({ version: 1 });
      expectProblem(answer, 403, 'four-eyes', /somebody else/);
    }
  });
});

describe('the tables', () => {
  withSharedWorld();
  it('let nobody change a version or a rule set', async () => {
    for (const statement of [
      "UPDATE rule_versions SET hash = 'x'",
      'DELETE FROM rule_sets',
      'TRUNCATE pattern_parameter_versions',
    ]) {
      await expect(world.database.dataSource.query(statement)).rejects.toThrow('never change');
    }
  });
});
