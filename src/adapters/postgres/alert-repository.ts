/**
 * Owns finding stored alerts: filters, orders, paging by position, counts. Neighbours: `src/api/analyst` asks through
 * the port `AlertReader`, `alert-rows.ts` has the SQL of filters. Pages go by position and not by number, so that new
 * alerts never shift what has been seen.
 */
import type { DataSource } from 'typeorm';
import { type Alert, SEVERITIES } from '../../fraud/alerts/alert.js';
import {
  type AlertCounts,
  type AlertFilter,
  type AlertOrder,
  type AlertPage,
  type AlertPosition,
  type AlertReader,
  CARD_ALERTS_LIMIT,
  HISTORY_LIMIT,
  type StoredAlert,
  type WorkEntry,
} from '../../fraud/cases/stored-alert.js';
import { conditionsOf, HEAD_COLUMNS, type HeadRow, headOf, pageStatement, placeOf } from './alert-rows.js';
import { databaseError } from './database-errors.js';

interface WorkRow {
  readonly entry: WorkEntry;
}

export class PostgresAlertRepository implements AlertReader {
  constructor(private readonly dataSource: DataSource) {}

  async list(filter: AlertFilter, order: AlertOrder, limit: number, after: AlertPosition | null): Promise<AlertPage> {
    const { text, values } = pageStatement(filter, order, limit + 1, after);
    const rows = await this.ask<HeadRow>('listing alerts', text, values);
    const items = rows.slice(0, limit).map(headOf);
    const last = items.at(-1);
    return { items, next: rows.length > limit && last !== undefined ? placeOf(order, last) : null };
  }

  async get(alertId: string): Promise<StoredAlert | null> {
    const [row] = await this.ask<HeadRow & { evidence: Alert['evidence'] }>(
      'reading an alert',
      `SELECT ${HEAD_COLUMNS}, evidence FROM alerts WHERE alert_id = $1`,
      [alertId],
    );
    if (row === undefined) return null;
    const [history, cardAlerts] = await Promise.all([
      this.ask<WorkRow>(
        'reading the work on an alert',
        'SELECT entry FROM alert_work WHERE alert_id = $1 ORDER BY revision DESC LIMIT $2',
        [alertId, HISTORY_LIMIT],
      ),
      this.ask<HeadRow>(
        "reading a card's alerts",
        `SELECT ${HEAD_COLUMNS} FROM alerts WHERE card_id = $1 AND alert_id <> $2
         ORDER BY detected_at DESC, alert_id DESC LIMIT $3`,
        [row.card_id, alertId, CARD_ALERTS_LIMIT],
      ),
    ]);
    return {
      ...headOf(row),
      evidence: row.evidence,
      history: history.map(({ entry }) => entry),
      cardAlerts: cardAlerts.map(headOf),
    };
  }

  async counts(filter: AlertFilter): Promise<AlertCounts> {
    const conditions = conditionsOf(filter);
    const rows = await this.ask<CountRow>(
      'counting alerts',
      `SELECT decision, severity, count(*)::float8 AS number FROM alerts ${conditions.where()} GROUP BY 1, 2`,
      conditions.values,
    );
    return sumUp(rows);
  }

  async isMoreThan(filter: AlertFilter, count: number): Promise<boolean> {
    const conditions = conditionsOf(filter);
    const statement = `SELECT 1 FROM alerts ${conditions.where()} OFFSET ${conditions.value(count)} LIMIT 1`;
    return (await this.ask('counting alerts', statement, conditions.values)).length > 0;
  }

  private async ask<Row>(doing: string, statement: string, values: unknown[]): Promise<Row[]> {
    try {
      return await this.dataSource.query(statement, values);
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

interface CountRow {
  readonly decision: Alert['decision'];
  readonly severity: Alert['severity'];
  readonly number: number;
}

function sumUp(rows: readonly CountRow[]): AlertCounts {
  const sum = (wanted: (row: CountRow) => boolean) => rows.filter(wanted).reduce((all, row) => all + row.number, 0);
  const bySeverity = Object.fromEntries(SEVERITIES.map((name) => [name, sum(({ severity }) => severity === name)]));
  return {
    total: sum(() => true),
    byDecision: {
      review: sum(({ decision }) => decision === 'review'),
      decline: sum(({ decision }) => decision === 'decline'),
    },
    bySeverity: bySeverity as AlertCounts['bySeverity'],
  };
}
