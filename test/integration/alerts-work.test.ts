import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { REASON_CODES } from '../../src/fraud/labels/disposition.js';
import { type Label, labelId, labelJsonSchema, labelSchema } from '../../src/fraud/labels/label.js';
import { type AlertsWorld, LABELS, openAlertsWorld } from './alerts-world.js';
import { anAlert, query, startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOON = Date.UTC(2026, 0, 5, 12);
const FRAUD = { disposition: 'fraud', reasonCode: 'card-stolen' };
const LEGITIMATE = { disposition: 'legitimate', reasonCode: 'customer-confirmed' };

let postgres: TestPostgres;
let world: AlertsWorld;
let alertId: string;
let alerts = 0;

beforeAll(async () => {
  postgres = await startTestPostgres(15_633);
  world = await openAlertsWorld(await postgres.newDatabase(), NOON);
});
afterAll(async () => {
  await world.close();
  await postgres.dispose();
});
beforeEach(async () => {
  const alert = anAlert(alerts++);
  await world.store([alert]);
  alertId = alert.alertId;
  world.nowMs = NOON + alerts;
});

const post = (what: string, body?: object, who = 'analyst:anna', headers: Record<string, string> = {}) =>
  world.as(who).post(`/v1/alerts/${alertId}/${what}`).set(headers).send(body);
const detail = async () => (await world.as('analyst').get(`/v1/alerts/${alertId}`)).body;
const labels = async (): Promise<(Label & { key: string })[]> => {
  const rows = await query<{ topic: string; key: string; value: string }>(
    world.url,
    'SELECT topic, key, value FROM outbox ORDER BY sequence',
  );
  return rows
    .filter(({ topic }) => topic === LABELS)
    .map(({ key, value }) => ({ ...JSON.parse(value), key }))
    .filter((label) => label.alertId === alertId);
};
const audited = async () => {
  const rows = await query<{ entry: string }>(
    world.url,
    `SELECT entry FROM audit_entries WHERE subject_id = '${alertId}' ORDER BY sequence`,
  );
  return rows.map(({ entry }) => JSON.parse(entry));
};

describe('work on an alert', () => {
  it('goes from open over in progress to closed, each step a revision with its entry and audit', async () => {
    const assigned = await post('assign');
    expect([assigned.status, assigned.headers.etag]).toEqual([200, '"2"']);
    expect(assigned.body).toMatchObject({ state: 'in-progress', assignee: 'anna', revision: 2, disposition: null });
    const noted = await post('notes', { text: 'called the customer:\n"not me"' });
    expect(noted.body).toMatchObject({ state: 'in-progress', revision: 3 });
    const closed = await post('disposition', { ...FRAUD, note: 'card replaced' });
    expect(closed.body).toMatchObject({ state: 'closed', assignee: 'anna', revision: 4, ...FRAUD });
    const reopened = await post('reopen', undefined, 'analyst:bert');
    expect(reopened.body).toMatchObject({ state: 'in-progress', revision: 5, disposition: null, reasonCode: null });

    const { history, notes, revision } = await detail();
    const by = { id: 'anna', name: 'anna' };
    const nothing = { disposition: null, reasonCode: null, note: null };
    expect(revision).toBe(5);
    expect(history).toEqual([
      {
        ...nothing,
        revision: 5,
        at: world.nowMs,
        by: { id: 'bert', name: 'bert' },
        action: 'reopened',
        assignee: 'anna',
      },
      { revision: 4, at: world.nowMs, by, action: 'disposed', assignee: 'anna', ...FRAUD, note: 'card replaced' },
      {
        ...nothing,
        revision: 3,
        at: world.nowMs,
        by,
        action: 'noted',
        assignee: 'anna',
        note: 'called the customer:\n"not me"',
      },
      { ...nothing, revision: 2, at: world.nowMs, by, action: 'assigned', assignee: 'anna' },
    ]);
    expect(notes.map(({ text }: { text: string }) => text)).toEqual([
      'card replaced',
      'called the customer:\n"not me"',
    ]);
    expect((await audited()).map(({ action, actor }) => [action, actor.id])).toEqual([
      ['alert.assigned', 'anna'],
      ['alert.noted', 'anna'],
      ['alert.disposed', 'anna'],
      ['alert.reopened', 'bert'],
    ]);
  });

  it('assigns to whom is named, to nobody, and changes nothing where it is so already', async () => {
    expect((await post('assign', { assignee: 'carla' })).body).toMatchObject({ assignee: 'carla', revision: 2 });
    expect((await post('assign', { assignee: 'carla' })).body).toMatchObject({ assignee: 'carla', revision: 2 });
    const nobody = await post('assign', { assignee: null });
    expect(nobody.body).toMatchObject({ assignee: null, revision: 3, state: 'open' });
    expect(await audited()).toHaveLength(2);
  });

  it('is refused where the state does not fit', async () => {
    expect((await post('reopen')).body).toMatchObject({ status: 409, code: 'alert-not-closed' });
    await post('disposition', FRAUD);
    expect((await post('assign')).body).toMatchObject({ status: 409, code: 'alert-closed' });
    expect((await post('disposition', FRAUD)).body).toMatchObject({ status: 409, code: 'disposition-unchanged' });
    expect((await post('notes', { text: 'more' })).status).toBe(200);
    expect(await labels()).toHaveLength(1);
  });

  it('is for those who may, on alerts that exist', async () => {
    for (const who of ['auditor', 'rule-author']) expect((await post('assign', {}, who)).status).toBe(403);
    alertId = 'f'.repeat(32);
    for (const id of ['f'.repeat(32), 'x', '%00']) {
      alertId = id;
      for (const [what, body] of [
        ['assign', {}],
        ['notes', { text: 'x' }],
        ['disposition', FRAUD],
        ['reopen', {}],
      ] as const) {
        expect([id, what, (await post(what, body)).body.code]).toEqual([id, what, 'alert-not-found']);
      }
    }
  });

  it.each([
    ['notes', undefined],
    ['notes', { text: '' }],
    ['notes', { text: ' \n' }],
    ['notes', { text: 'nul \u0000' }],
    ['notes', { text: 'lone \ud800' }],
    ['notes', { text: 'x'.repeat(4_001) }],
    ['notes', { text: 'x', more: 1 }],
    ['assign', { assignee: 'me' }],
    ['assign', { assignee: '' }],
    ['assign', { assignee: 'bell \u0007' }],
    ['assign', []],
    ['disposition', { disposition: 'fraud' }],
    ['disposition', { disposition: 'fraud', reasonCode: 'travel' }],
    ['disposition', { disposition: 'guilty', reasonCode: 'card-stolen' }],
    ['disposition', { ...FRAUD, note: '\u0000' }],
    ['disposition', { ...FRAUD, score: 1 }],
    ['disposition', undefined],
    ['reopen', { note: '' }],
  ])('refuses %s with %j', async (what, body) => {
    const answer = await post(what, body as object);
    expect([answer.status, answer.body.code]).toEqual([400, 'request-invalid']);
    expect((await detail()).revision).toBe(1);
  });

  it('takes every reason that its disposition has', async () => {
    for (const [disposition, codes] of Object.entries(REASON_CODES)) {
      for (const reasonCode of codes) expect((await post('disposition', { disposition, reasonCode })).status).toBe(200);
    }
  });
});

describe('two analysts on one alert', () => {
  it('of two who both saw the same revision one wins, and the other is told', async () => {
    const { headers } = await world.as('analyst').get(`/v1/alerts/${alertId}`);
    const ifMatch = { 'if-match': headers.etag };
    const answers = await Promise.all([
      post('disposition', FRAUD, 'analyst:anna', ifMatch),
      post('disposition', LEGITIMATE, 'analyst:bert', ifMatch),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
    const winner = answers.find(({ status }) => status === 200);
    expect(answers.find(({ status }) => status === 412)?.body.code).toBe('precondition-failed');
    const all = await labels();
    expect(all.map(({ label }) => label)).toEqual([winner?.body.disposition]);
    expect((await detail()).disposition).toBe(winner?.body.disposition);
  });

  it('without If-Match both count, one after the other, and the later label names the earlier', async () => {
    const answers = await Promise.all([
      post('disposition', FRAUD, 'analyst:anna'),
      post('disposition', LEGITIMATE, 'analyst:bert'),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const [first, second] = await labels();
    expect(first).not.toHaveProperty('supersedes');
    expect(second.supersedes).toBe(first.labelId);
    expect((await detail()).disposition).toBe(second.label);
  });

  it.each([
    ['"7"', 412],
    ['W/"1"', 412],
    ['"1", "9"', 200],
    ['*', 200],
    ['1', 400],
  ])('If-Match %s is answered with %i', async (ifMatch, status) => {
    expect((await post('assign', {}, 'analyst', { 'if-match': ifMatch })).status).toBe(status);
  });
});

describe('labels', () => {
  it('are published once for each disposition, whole and as their schema says', async () => {
    const alert = anAlert(alerts - 1);
    await post('disposition', FRAUD);
    await post('reopen');
    await post('disposition', LEGITIMATE, 'analyst:bert');
    const all = await labels();
    const common = {
      alertId,
      paymentId: alert.paymentId,
      cardId: alert.cardId,
      merchantId: alert.merchantId,
      occurredAt: alert.occurredAt,
      decidedAt: world.nowMs,
      key: alert.cardId,
    };
    expect(all).toEqual([
      { ...common, labelId: labelId(alertId, 2), label: 'fraud', reasonCode: 'card-stolen', decidedBy: 'anna' },
      {
        ...common,
        labelId: labelId(alertId, 4),
        label: 'legitimate',
        reasonCode: 'customer-confirmed',
        decidedBy: 'bert',
        supersedes: labelId(alertId, 2),
      },
    ]);
    const validate = new Ajv2020({ strict: false }).compile(labelJsonSchema());
    for (const { key: _, ...label } of all) {
      validate(label);
      expect(validate.errors).toBeNull();
      expect(labelSchema.parse(label)).toEqual(label);
    }
  });

  it('come once from a disposition that is sent again with its key', async () => {
    const key = { 'idempotency-key': `k-${alertId}` };
    const first = await post('disposition', FRAUD, 'analyst:anna', key);
    await post('reopen');
    const again = await post('disposition', FRAUD, 'analyst:anna', key);
    expect([again.status, again.body]).toEqual([200, first.body]);
    expect(await labels()).toHaveLength(1);
    expect((await detail()).state).toBe('open');
    const other = await post('disposition', LEGITIMATE, 'analyst:anna', key);
    expect([other.status, other.body.code]).toEqual([422, 'idempotency-key-reused']);
  });

  it('come from ten analysts at once in one chain, as many as were accepted', async () => {
    const bodies = Array.from({ length: 10 }, (_, i) => ({
      disposition: 'inconclusive',
      reasonCode: REASON_CODES.inconclusive[i % 4],
    }));
    const answers = await Promise.all(bodies.map((body, i) => post('disposition', body, `analyst:a${i}`)));
    const accepted = answers.filter(({ status }) => status === 200).length;
    const all = await labels();
    expect(all).toHaveLength(accepted);
    expect(new Set(all.map((label) => label.labelId)).size).toBe(accepted);
    expect(all.slice(1).map(({ supersedes }) => supersedes)).toEqual(all.slice(0, -1).map((label) => label.labelId));
    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true);
  });

  it('and everything else of a failed disposition are not there', async () => {
    await query(world.url, "ALTER TABLE outbox ADD CONSTRAINT broken CHECK (topic <> 'fraud.labels') NOT VALID");
    try {
      expect((await post('disposition', FRAUD)).status).toBe(500);
    } finally {
      await query(world.url, 'ALTER TABLE outbox DROP CONSTRAINT broken');
    }
    expect(await labels()).toEqual([]);
    expect(await audited()).toEqual([]);
    expect(await detail()).toMatchObject({ state: 'open', revision: 1, history: [] });
  });
});
