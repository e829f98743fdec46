/** Removing rules over HTTP: drafts go, what ran stays. */
import type supertest from 'supertest';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';
import { openRulesWorld, type RulesWorld } from './rules-world.js';

let postgres: TestPostgres;
let world: RulesWorld;

beforeAll(async () => {
  postgres = await startTestPostgres(15_623);
});
afterAll(() => postgres.dispose());
beforeEach(async () => {
  world = await openRulesWorld(await postgres.newDatabase());
});
afterEach(async () => {
  expect(world.unexpected).toEqual([]);
  await world.close();
});

const content = (name = 'Large in Andorra') => ({
  name,
  condition: 'payment.amountMinor > 50000 && payment.country == "AD"',
  decision: 'review',
  severity: 'low',
});
const author = () => world.as('rule-author');
const approver = () => world.as('rule-approver');

async function create(): Promise<supertest.Response> {
  const answer = await author()
    .post('/v1/rules')
    .send({ id: 'andorra', ...content() });
  expect(answer.status).toBe(201);
  return answer;
}

const activate = (id: string, version: number, etag: string) =>
  approver().post(`/v1/rules/${id}/activate`).set('if-match', etag).send({ version });

function expectProblem(answer: supertest.Response, status: number, code: string, advice: RegExp): void {
  expect([answer.status, answer.body.code]).toEqual([status, code]);
  expect(answer.body.detail).toMatch(advice);
}

describe('a rule that never ran', () => {
  it('can be removed, once, with all of its versions, and its id be taken anew', async () => {
    await create();
    await author().put('/v1/rules/andorra').set('if-match', '"1"').send(content('Second'));
    const remove = () => author().delete('/v1/rules/andorra').set('if-match', '"2"').set('idempotency-key', 'k-1');
    expectProblem(await author().delete('/v1/rules/andorra'), 428, 'precondition-required', /If-Match/);
    expectProblem(
      await author().delete('/v1/rules/andorra').set('if-match', '"1"'),
      412,
      'precondition-failed',
      /again/,
    );
    const gone = await remove();
    expect([gone.status, gone.text]).toEqual([204, '']);
    expect((await remove()).status).toBe(204);
    expectProblem(await author().delete('/v1/rules/andorra').set('if-match', '"2"'), 404, 'rule-not-found', /lists/);
    expectProblem(await author().get('/v1/rules/andorra/versions/1'), 404, 'rule-not-found', /lists/);
    const removals: { entry: string }[] = await world.database.dataSource.query(
      "SELECT entry FROM audit_entries WHERE action = 'rule.removed'",
    );
    expect(removals.map(({ entry }) => JSON.parse(entry))).toMatchObject([
      { subject: { id: 'andorra' }, details: { before: { version: 2, name: 'Second' } } },
    ]);
    // An approver who has seen the removed one must look again.
    const again = await create();
    expect([again.headers.etag, again.body.newest.version]).toEqual(['"3"', 1]);
    expectProblem(await activate('andorra', 1, '"1"'), 412, 'precondition-failed', /again/);
  });

  it('is the only one that can be: what ran stays, in the database too', async () => {
    await create();
    await activate('andorra', 1, '"1"');
    await approver().post('/v1/rules/andorra/pause').set('if-match', '"2"').send({ reason: 'x' });
    expectProblem(await author().delete('/v1/rules/andorra').set('if-match', '"3"'), 409, 'rule-has-run', /[Pp]ause/);
    expectProblem(
      await approver().delete('/v1/rules/andorra').set('if-match', '"3"'),
      403,
      'permission-denied',
      /write/,
    );
    await expect(
      world.database.dataSource.query("DELETE FROM rule_versions WHERE rule_id = 'andorra'"),
    ).rejects.toThrow('never change');
  });
});
