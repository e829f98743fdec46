import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CreateAlertWork1763856120000 } from '../../migrations/1763856120000-create-alert-work.js';
import { type AlertsWorld, openAlertsWorld } from './alerts-world.js';
import { anAlert, query, startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOON = Date.UTC(2026, 0, 5, 12);
const HOUR_MS = 3_600_000;

let postgres: TestPostgres;
let world: AlertsWorld;

beforeAll(async () => {
  postgres = await startTestPostgres(15_632);
  world = await openAlertsWorld(await postgres.newDatabase(), NOON);
  await world.store(Array.from({ length: 40 }, (_, i) => anAlert(i)));
});
afterAll(async () => {
  await world.close();
  await postgres.dispose();
});

describe('the export', () => {
  const csv = (text: string) =>
    text
      .trimEnd()
      .split('\r\n')
      .map((line) => line.split(','));

  it('holds what the list holds, page after page, one line an alert', async () => {
    const answer = await world.as('analyst').get('/v1/alerts/export?decision=decline&sort=amountMinor&order=asc');
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'text/csv; charset=utf-8; header=present',
      'content-disposition': 'attachment; filename="alerts.csv"',
      'x-export-limit': '100000',
      'x-export-truncated': 'false',
    });
    const [names, ...rows] = csv(answer.text);
    expect(names.slice(0, 3)).toEqual(['alertId', 'detectedAt', 'occurredAt']);
    const declined = Array.from({ length: 40 }, (_, i) => anAlert(i)).filter(({ decision }) => decision === 'decline');
    expect(rows.map(([id]) => id)).toEqual(declined.map(({ alertId }) => alertId));
  });

  it('defuses formulas and quotes what must be quoted', async () => {
    const other = await openAlertsWorld(await postgres.newDatabase(), NOON);
    try {
      const [rule] = anAlert(1).rules;
      await other.store([
        anAlert(1, {
          merchantId: '=HYPERLINK("http://x","y")',
          rules: [{ ...rule, reason: 'two\r\n"lines", and more' }],
        }),
      ]);
      const { text } = await other.as('analyst').get('/v1/alerts/export');
      expect(text).toContain(`"'=HYPERLINK(""http://x"",""y"")"`);
      expect(text).toContain('"two\r\n""lines"", and more"');
      expect(text.endsWith('Z\r\n')).toBe(true);
    } finally {
      await other.close();
    }
  });

  it('goes over pages, is audited with its filter, and says when there was more', async () => {
    const other = await openAlertsWorld(await postgres.newDatabase(), NOON);
    try {
      await other.store(Array.from({ length: 2_350 }, (_, i) => anAlert(i)));
      const { text } = await other.as('auditor').get('/v1/alerts/export');
      const rows = csv(text).slice(1);
      expect(new Set(rows.map(([id]) => id)).size).toBe(2_350);
      const [audited] = await query<{ action: string; actor_id: string; entry: string }>(
        other.url,
        'SELECT action, actor_id, entry FROM audit_entries',
      );
      expect(audited).toMatchObject({ action: 'alerts.exported', actor_id: 'auditor' });
      expect(JSON.parse(audited.entry).details).toEqual({
        filter: {},
        order: { by: 'detectedAt', descending: true },
        truncated: false,
      });
      expect(await other.parts.reader.isMoreThan({}, 2_349)).toBe(true);
      expect(await other.parts.reader.isMoreThan({}, 2_350)).toBe(false);
    } finally {
      await other.close();
    }
  });

  it('is not for those who may only read', async () => {
    expect((await world.as('rule-author').get('/v1/alerts/export')).status).toBe(403);
    expect((await world.as('analyst').get('/v1/alerts/export?colour=red')).status).toBe(400);
  });

  it('runs four at once at most, and a client that goes away frees its place', async () => {
    let letGo = () => {};
    const held = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const slow = await openAlertsWorld(world.url, NOON, (parts) => ({
      ...parts,
      reader: Object.assign(Object.create(parts.reader), {
        list: (...asked: Parameters<typeof parts.reader.list>) => held.then(() => parts.reader.list(...asked)),
      }),
    }));
    try {
      const address = await slow.api.listen('127.0.0.1', 0);
      const gone = new AbortController();
      const ask = () =>
        fetch(`${address}/v1/alerts/export`, { headers: { authorization: 'Bearer analyst' }, signal: gone.signal });
      const four = await Promise.all([1, 2, 3, 4].map(ask));
      expect(four.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
      const refused = await ask();
      const problem = (await refused.json()) as { code: string };
      expect([refused.status, problem.code]).toEqual([503, 'too-many-exports']);
      // A caller's own doing: the log is not theirs to fill.
      expect(slow.unexpected).toEqual([]);
      gone.abort();
      letGo();
      await expect.poll(async () => (await slow.as('analyst').get('/v1/alerts/export')).status).toBe(200);
    } finally {
      await slow.close();
    }
  });
});

describe('an older database', () => {
  it('has its alerts numbered in the order in which they were stored, and counted', async () => {
    const url = await postgres.newDatabase();
    const old = await openAlertsWorld(url, NOON);
    await old.store(Array.from({ length: 30 }, (_, i) => anAlert(i)));
    const alerts = await old.parts.feed.after(0, Number.MAX_SAFE_INTEGER, {}, 100);
    const runner = old.database.dataSource.createQueryRunner();
    const migration = new CreateAlertWork1763856120000();
    await migration.down(runner);
    // As if each had been stored a second after the other, the last first.
    await runner.query('UPDATE alerts SET stored_at = to_timestamp(2e9) - (detected_at - to_timestamp(0))');
    await runner.startTransaction();
    await migration.up(runner);
    await runner.commitTransaction();
    await runner.release();
    const after = await old.parts.feed.after(0, Number.MAX_SAFE_INTEGER, {}, 100);
    expect(after.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
    expect(after.map(({ alert }) => alert.alertId)).toEqual(alerts.map(({ alert }) => alert.alertId).reverse());
    await old.store([anAlert(30)]);
    expect(await old.parts.feed.latest()).toBe(31);
    const counted = await old.parts.statistics.counted(NOON, NOON + HOUR_MS, null);
    expect(counted.reduce((sum, { alerts }) => sum + alerts, 0)).toBe(31);
    await old.close();
  });
});

describe('an id', () => {
  it('of any form gives an answer that is no failure', async () => {
    const http = world.as('analyst');
    for (const id of ['stream/x', randomBytes(16).toString('hex'), '%00', '%ed%a0%80']) {
      expect([404, 400]).toContain((await http.get(`/v1/alerts/${id}`)).status);
    }
    expect(world.unexpected).toEqual([]);
  });
});
