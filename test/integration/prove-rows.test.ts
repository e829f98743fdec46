/** The proof's look at Postgres must be able to fail: a row that is missing, foreign or different is told. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { compareRows, untilProjected } from '../../scripts/prove/cycles/rows.js';
import { alertOutcome } from '../../scripts/prove/outcome.js';
import { PostgresAlertProjection } from '../../src/adapters/postgres/alert-projection.js';
import { openDatabase } from '../../src/adapters/postgres/database.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { anAlert, query, startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const TOPIC = 'fraud.alerts';
const alerts = [0, 1, 2, 3].map((index) => anAlert(index));
const outcome = (alert: Alert) => alertOutcome(Buffer.from(JSON.stringify(alert)));
let postgres: TestPostgres;
let url: string;

beforeAll(async () => {
  postgres = await startTestPostgres(19_895);
});
afterAll(() => postgres.dispose());

beforeEach(async () => {
  url = await postgres.newDatabase();
  const database = await openDatabase({ url });
  const placed = alerts.map((alert, offset) => ({ offset, alert }));
  const batch = { topic: TOPIC, partition: 0, alerts: placed, unreadable: [], nextOffset: 4 };
  await new PostgresAlertProjection(database.dataSource).append(batch);
  await database.close();
});

describe('the rows of alerts', () => {
  it('are right where each alert of the topic is one row with its content', async () => {
    await untilProjected(url, TOPIC, [4], 1_000);
    expect(await compareRows(url, alerts.map(outcome))).toEqual({ rows: 4, wrong: 0, differences: [] });
  });

  it('are waited for, and not for ever', async () => {
    await expect(untilProjected(url, TOPIC, [5], 300)).rejects.toThrow('(0: 4 of 5)');
    await expect(untilProjected(url, TOPIC, [4, 1], 300)).rejects.toThrow('(1: 0 of 1)');
  });

  it('are wrong where one is missing, foreign or has another score', async () => {
    await query(url, `UPDATE alerts SET score = 0.5 WHERE alert_id = '${alerts[1].alertId}'`);
    await query(url, `DELETE FROM alerts WHERE alert_id = '${alerts[2].alertId}'`);
    const verdict = await compareRows(url, alerts.slice(0, 3).map(outcome));
    expect(verdict).toMatchObject({ rows: 3, wrong: 3 });
    expect(verdict.differences.toSorted()).toEqual(
      [
        `row: ${alerts[1].alertId} is (review by elevated-score, score 0.5, card card-1), the topic has (review by elevated-score, score 0.61, card card-1)`,
        `row: ${alerts[2].alertId} (review by elevated-score, score 0.61, card card-2) is missing`,
        `row: ${alerts[3].alertId} (decline by high-score, score 0.93, card card-3) is no alert of the topic`,
      ].toSorted(),
    );
  });

  it('are wrong where the projector put a record aside', async () => {
    const columns = '(topic, partition_id, record_offset, reason)';
    await query(url, `INSERT INTO projector_rejects ${columns} VALUES ('${TOPIC}', 0, 9, 'broken')`);
    const { wrong, differences } = await compareRows(url, alerts.map(outcome));
    expect(wrong).toBe(1);
    expect(differences[0]).toContain('could not read or store 1 records');
  });
});
