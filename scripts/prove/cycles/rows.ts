/**
 * Owns the look at the alerts in Postgres: each alert of the topic must be one row with the same content, and no other
 * row may be there. Neighbours: `verdict.ts` asks, the service's own projector wrote.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { AlertOutcome } from '../outcome.js';

export interface RowsVerdict {
  readonly rows: number;
  /** Missing, foreign or different ones. */
  readonly wrong: number;
  /** The first of them in words. */
  readonly differences: readonly string[];
}

interface Row {
  readonly alert_id: string;
  readonly card_id: string;
  readonly decision: string;
  readonly score: number | null;
  readonly rule_id: string;
}

const TOLD = 5;
const POLL_MS = 200;

/** Waits until the projector has stored everything before these offsets of the alerts topic. Errors: it did not in time. */
export async function untilProjected(
  url: string,
  topic: string,
  ends: readonly number[],
  timeoutMs: number,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const rows = await query<{ partition_id: number; next_offset: string }>(
      url,
      'SELECT partition_id, next_offset FROM projector_offsets WHERE topic = $1',
      [topic],
    );
    const stored = new Map(rows.map(({ partition_id, next_offset }) => [partition_id, Number(next_offset)]));
    const missing = ends.flatMap((end, partition) => ((stored.get(partition) ?? 0) < end ? [partition] : []));
    if (missing.length === 0) return;
    if (performance.now() > deadline) {
      const told = missing.map((partition) => `${partition}: ${stored.get(partition) ?? 0} of ${ends[partition]}`);
      throw new Error(`the projector has not stored all of ${topic} (${told.join(', ')})`);
    }
    await sleep(POLL_MS);
  }
}

/** Compares the rows with the alerts that lie in the topic. */
export async function compareRows(url: string, alerts: readonly AlertOutcome[]): Promise<RowsVerdict> {
  const rows = await query<Row>(url, 'SELECT alert_id, card_id, decision, score, rule_id FROM alerts', []);
  const rejects = await query<{ count: string }>(url, 'SELECT count(*) AS count FROM projector_rejects', []);
  const wrong: string[] = [];
  const wanted = new Map(alerts.map(({ id, summary }) => [id, summary]));
  for (const { alert_id, card_id, decision, score, rule_id } of rows) {
    const summary = wanted.get(alert_id);
    const found = `${decision} by ${rule_id}, score ${score}, card ${card_id}`;
    if (summary === undefined) wrong.push(`row: ${alert_id} (${found}) is no alert of the topic`);
    else if (summary !== found) wrong.push(`row: ${alert_id} is (${found}), the topic has (${summary})`);
    wanted.delete(alert_id);
  }
  for (const [id, summary] of wanted) wrong.push(`row: ${id} (${summary}) is missing`);
  const rejected = Number(rejects[0]?.count ?? 0);
  if (rejected > 0) wrong.push(`row: the projector could not read or store ${rejected} records`);
  return { rows: rows.length, wrong: wrong.length, differences: wrong.slice(0, TOLD) };
}

async function query<Row extends pg.QueryResultRow>(url: string, sql: string, values: unknown[]): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql, values)).rows;
  } finally {
    await client.end();
  }
}
