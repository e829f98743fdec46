/**
 * Owns finding stored alerts: filters, paging by position, counts. Neighbours: `src/api/analyst` asks through the port
 * `AlertReader`. Pages go by position and not by number, so that new alerts never shift what has been seen.
 */
import { type DataSource, type SelectQueryBuilder } from 'typeorm';
import { SEVERITIES } from '../../fraud/alerts/alert.js';
import type {
  AlertCounts,
  AlertFilter,
  AlertHead,
  AlertPage,
  AlertPosition,
  AlertReader,
  StoredAlert,
} from '../../fraud/cases/stored-alert.js';
import { databaseError } from './database-errors.js';
import { AlertEntity, type AlertRow } from './entities.js';

export class PostgresAlertRepository implements AlertReader {
  constructor(private readonly dataSource: DataSource) {}

  async list(filter: AlertFilter, limit: number, after: AlertPosition | null): Promise<AlertPage> {
    const query = this.filtered(filter)
      .orderBy('alert.detectedAt', 'DESC')
      .addOrderBy('alert.alertId', 'DESC')
      .limit(limit + 1);
    if (after !== null) {
      query.andWhere('(alert.detectedAt, alert.alertId) < (:afterTime::timestamptz, :afterId::text)', {
        afterTime: new Date(after.detectedAt),
        afterId: after.alertId,
      });
    }
    try {
      const rows = await query.getMany();
      const items = rows.slice(0, limit).map(headOf);
      const last = items.at(-1);
      const next = rows.length > limit && last !== undefined ? positionOf(last) : null;
      return { items, next };
    } catch (error) {
      throw databaseError(error, 'listing alerts');
    }
  }

  async get(alertId: string): Promise<StoredAlert | null> {
    try {
      const row = await this.alerts()
        .addSelect('alert.evidence')
        .where('alert.alertId = :alertId', { alertId })
        .getOne();
      return row === null ? null : { ...headOf(row), evidence: row.evidence };
    } catch (error) {
      throw databaseError(error, 'reading an alert');
    }
  }

  async counts(filter: AlertFilter): Promise<AlertCounts> {
    try {
      const rows: { decision: 'review' | 'decline'; severity: AlertRow['severity']; number: string }[] =
        await this.filtered(filter)
          .select('alert.decision', 'decision')
          .addSelect('alert.severity', 'severity')
          .addSelect('count(*)', 'number')
          .groupBy('alert.decision')
          .addGroupBy('alert.severity')
          .getRawMany();
      return sumUp(rows.map((row) => ({ ...row, number: Number(row.number) })));
    } catch (error) {
      throw databaseError(error, 'counting alerts');
    }
  }

  private alerts(): SelectQueryBuilder<AlertRow> {
    return this.dataSource.getRepository(AlertEntity).createQueryBuilder('alert');
  }

  private filtered(filter: AlertFilter): SelectQueryBuilder<AlertRow> {
    const query = this.alerts();
    const { from, to, minScore } = filter;
    for (const field of ['state', 'decision', 'severity', 'cardId', 'merchantId', 'ruleId'] as const) {
      if (filter[field] !== undefined) query.andWhere(`alert.${field} = :${field}`, { [field]: filter[field] });
    }
    if (minScore !== undefined) query.andWhere('alert.score >= :minScore', { minScore });
    if (from !== undefined) query.andWhere('alert.detectedAt >= :from', { from: new Date(from) });
    if (to !== undefined) query.andWhere('alert.detectedAt < :to', { to: new Date(to) });
    return query;
  }
}

function headOf({ ruleId: _, evidence: __, ...head }: AlertRow): AlertHead {
  return head;
}

function positionOf({ detectedAt, alertId }: AlertHead): AlertPosition {
  return { detectedAt, alertId };
}

function sumUp(
  rows: readonly { decision: 'review' | 'decline'; severity: AlertRow['severity']; number: number }[],
): AlertCounts {
  const sum = (wanted: (row: (typeof rows)[number]) => boolean) =>
    rows.filter(wanted).reduce((total, row) => total + row.number, 0);
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
