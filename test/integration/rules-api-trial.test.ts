/** Checking and trying rules out over HTTP, with the shipped model and no database. */
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import supertest from 'supertest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOnnxScorer } from '../../src/adapters/onnx/onnx-scorer.js';
import { type Api, createApi } from '../../src/api/api.js';
import { systemActor } from '../../src/fraud/access/actor.js';
import { CARD_FEATURES } from '../../src/fraud/features/feature-list.js';
import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import { builtInRuleSet } from '../../src/fraud/rules/built-in-rules.js';
import { RuleBook } from '../../src/fraud/rules/rule-book.js';
import { RuleTrial } from '../../src/fraud/rules/rule-trial.js';
import { bearer } from '../support/actors.js';
import { BARE_PARTS } from '../support/bare-parts.js';
import { MemoryRuleStore } from '../unit/rules/rule-book-memory.js';
import { NO_ROLLOUT } from './rules-world.js';

const NOON = Date.UTC(2026, 0, 5, 12);
const store = new MemoryRuleStore();
const unexpected: unknown[] = [];
let api: Api;
let trial: RuleTrial;
let http: ReturnType<typeof supertest.agent>;

beforeAll(async () => {
  const book = new RuleBook(store, { fourEyes: true });
  await book.seed(builtInRuleSet, { isEmpty: true });
  const author = { actor: systemActor('test'), requestId: 'r', idempotency: null };
  const content = { name: 'Large', condition: 'payment.amountMinor > 50000', decision: 'review', severity: 'low' };
  await book.create(author, 'large', content);
  await book.change(author, 'large', { ...content, condition: 'payment.amountMinor > 90000' }, [1]);
  const model = fileURLToPath(new URL('../../models/card-risk/1', import.meta.url));
  trial = new RuleTrial({
    payments: jsonPayments({ topic: 'payments.raw', featureCount: CARD_FEATURES.length }),
    outOfOrdernessMs: 5_000,
    openScorer: () => openOnnxScorer(model),
  });
  api = await createApi({
    ...BARE_PARTS,
    rules: { book, trial, rollout: { state: () => NO_ROLLOUT } },
    onUnexpected: (error) => unexpected.push(error),
  });
  http = supertest.agent(api.app.getHttpServer()).set(bearer('analyst'));
});
afterAll(async () => {
  await api.close();
  await trial.close();
  expect(unexpected).toEqual([]);
});

async function matchesDocument(path: string, answer: supertest.Response): Promise<void> {
  const { body: document } = await http.get('/openapi.json');
  const [{ schema }] = Object.values(document.paths[path].post.responses[answer.status].content) as {
    schema: object;
  }[];
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const validate = ajv.compile({ ...schema, components: document.components });
  expect(validate(answer.body) ? [] : validate.errors, path).toEqual([]);
}

const payment = (index: number, changes: object = {}) => ({
  paymentId: `p-${index}`,
  cardId: `card-${index % 10}`,
  merchantId: 'm-1',
  amountMinor: 60_000 + index,
  currency: 'EUR',
  occurredAt: NOON + index * 1_000,
  ...changes,
});

describe('POST /v1/rules/validate', () => {
  const validate = async (body: object) => {
    const answer = await http.post('/v1/rules/validate').send(body);
    expect(answer.status).toBe(200);
    await matchesDocument('/v1/rules/validate', answer);
    return answer.body;
  };

  it('says of a good condition that it is, and what it costs', async () => {
    expect(await validate({ condition: 'score >= 0.9 && payment.country == "DE"' })).toEqual({
      valid: true,
      problems: [],
      notes: [],
      cost: expect.any(Number),
    });
  });

  it('tells line, column and a hint of a bad one', async () => {
    expect(await validate({ condition: 'score >= 0.9 &&\npayment.contry == "DE"' })).toMatchObject({
      valid: false,
      problems: [{ path: 'condition', line: 2, hint: expect.stringContaining('country') }],
    });
  });

  it('goes by the trigger, and knows what a matches would cost', async () => {
    const condition = 'patterns.cardTestingSmallCount >= 3.0';
    expect(await validate({ condition, trigger: 'card-testing-expired' })).toMatchObject({ valid: true });
    expect(await validate({ condition: 'score > 0.5', trigger: 'card-testing-expired' })).toMatchObject({
      valid: false,
    });
    expect(await validate({ condition: 'payment.mcc.matches("^5")' })).toMatchObject({ valid: false });
  });

  it('looks at a whole rule, and tells all of its problems at once', async () => {
    const good = { id: 'a', name: 'A', condition: 'score > 0.5', decision: 'review', severity: 'low' };
    expect(await validate({ rule: good })).toMatchObject({ valid: true });
    const { problems } = await validate({ rule: { ...good, name: '', condition: 'scoer > 1', decision: 'ask' } });
    expect(problems.map(({ path }: { path: string }) => path).sort()).toEqual(['condition', 'decision', 'name']);
    expect(await validate({ rule: {} })).toMatchObject({ valid: false, notes: [], cost: null });
  });

  it('notes that a rule which approves never changes a decision, and holds it valid', async () => {
    const rule = { id: 'a', name: 'A', condition: 'score < 0.5', decision: 'approve', severity: 'low' };
    expect(await validate({ rule })).toMatchObject({
      valid: true,
      problems: [],
      notes: [
        { path: 'decision', message: expect.stringContaining('strictest'), hint: expect.stringMatching(/review/) },
      ],
    });
    expect((await validate({ rule: { ...rule, decision: 'review' } })).notes).toEqual([]);
    expect((await validate({ rule: { ...rule, name: '' } })).notes).toHaveLength(1);
  });

  it.each([{}, { condition: 'true', rule: {} }, { trigger: 'payment', rule: {} }, { condition: 7 }, { colour: 'red' }])(
    'refuses %j',
    async (body) => {
      const answer = await http.post('/v1/rules/validate').send(body);
      expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    },
  );
});

describe('POST /v1/rules/:id/test', () => {
  it('tries the newest version, or the one that is asked for, and touches nothing', async () => {
    const before = store.kept;
    const payments = [10, 40_000].map((index) => ({ payment: payment(index) }));
    const newest = await http.post('/v1/rules/large/test').send({ payments });
    expect(newest.status).toBe(200);
    await matchesDocument('/v1/rules/{id}/test', newest);
    expect(newest.body).toMatchObject({
      rule: { id: 'large', version: 2 },
      patternsVersion: 1,
      totals: { payments: 2, expiries: 0, fired: 1, notFired: 1, failed: 0, refused: 0 },
      payments: [{ outcome: 'not-fired' }, { outcome: 'fired', reason: expect.stringContaining('above') }],
    });
    const first = await http.post('/v1/rules/large/test').send({ version: 1, payments });
    expect(first.body.totals).toMatchObject({ fired: 2 });
    expect(store.kept).toBe(before);
  });

  it('scores with the shipped model', async () => {
    const payments = [{ payment: payment(1) }, { payment: payment(11), score: 0.99 }];
    const { body } = await http.post('/v1/rules/high-score/test').send({ payments });
    expect(body.payments[0].score).toBeGreaterThan(0);
    expect(body.payments[0].values).toEqual({ score: body.payments[0].score });
    expect(body.payments[1]).toMatchObject({ score: 0.99, outcome: 'fired' });
  });

  it('takes 500 payments, more than other routes take bytes, and no more', async () => {
    const payments = Array.from({ length: 500 }, (_, i) => ({ payment: payment(i, { deviceId: 'd'.repeat(60) }) }));
    const answer = await http.post('/v1/rules/large/test').send({ payments });
    expect([answer.status, answer.body.totals.payments]).toEqual([200, 500]);
    const tooMany = await http.post('/v1/rules/large/test').send({ payments: [...payments, ...payments.slice(0, 1)] });
    expect([tooMany.status, tooMany.body.code]).toEqual([400, 'request-invalid']);
    const tooLarge = await http.post('/v1/rules/large/test').send({ payments, pad: 'x'.repeat(600_000) });
    expect([tooLarge.status, tooLarge.body.code]).toEqual([413, 'body-too-large']);
  });

  it('tells what cannot be read, and refuses what is not there', async () => {
    const { body } = await http.post('/v1/rules/large/test').send({ payments: [{ payment: { cardId: 'x' } }] });
    expect(body).toMatchObject({ totals: { refused: 1 }, payments: [{ outcome: 'refused', paymentId: null }] });
    const asked = { payments: [{ payment: payment(1) }] };
    const answers = await Promise.all([
      http.post('/v1/rules/nobody/test').send(asked),
      http.post('/v1/rules/large/test').send({ ...asked, version: 3 }),
      http.post('/v1/rules/large/test').send({ payments: [] }),
      http.post('/v1/rules/large/test').send({ payments: [{ payment: payment(1), score: 2 }] }),
    ]);
    expect(answers.map(({ body: { code } }) => code)).toEqual([
      'rule-not-found',
      'rule-version-not-found',
      'request-invalid',
      'request-invalid',
    ]);
  });
});
