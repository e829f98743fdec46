/**
 * Owns reading the counts of alerts by hour, rule, decision and disposition. Triggers of the migration keep them in the
 * transaction that stores or disposes of an alert, so they are always right, and a month of them is read in
 * milliseconds however many alerts there are. Neighbours: the API asks through the port `AlertStatisticsReader`.
 */
import type { DataSource } from 'typeorm';
import {
  type AlertNumbers,
  type AlertStatisticsReader,
  HOUR_MS,
  type HourNumbers,
  StatisticsTooLargeError,
} from '../../fraud/cases/alert-statistics.js';
import { databaseError } from './database-errors.js';

/** Rules times hours: about 12 MB of JSON. */
const MOST_COUNTS = 100_000;

type CountsRow = AlertNumbers & { readonly rule_id: string; readonly hour: number };

const sumWhere = (condition: string, name: string) =>
  `coalesce(sum(alerts) FILTER (WHERE ${condition}), 0)::float8 AS ${name}`;
const NUMBERS = [
  'sum(alerts)::float8 AS alerts',
  sumWhere("decision = 'review'", 'review'),
  sumWhere("decision = 'decline'", 'decline'),
  sumWhere("disposition = 'fraud'", 'fraud'),
  sumWhere("disposition = 'legitimate'", 'legitimate'),
  sumWhere("disposition = 'inconclusive'", 'inconclusive'),
  sumWhere("disposition = 'none'", 'undecided'),
].join(', ');

export class PostgresAlertStatistics implements AlertStatisticsReader {
  constructor(private readonly dataSource: DataSource) {}

  async counted(
    from: number,
    to: number,
    ruleId: string | null,
  ): Promise<readonly (HourNumbers & { readonly ruleId: string })[]> {
    const values: unknown[] = [Math.floor(from / HOUR_MS), Math.ceil(to / HOUR_MS), MOST_COUNTS + 1];
    const ofRule = ruleId === null ? '' : 'AND rule_id = $4::text';
    if (ruleId !== null) values.push(ruleId);
    const rows = await this.ask(
      `SELECT rule_id, hour, ${NUMBERS} FROM alert_counts
       WHERE hour >= $1::integer AND hour < $2::integer ${ofRule}
       GROUP BY rule_id, hour HAVING sum(alerts) > 0 ORDER BY rule_id, hour LIMIT $3`,
      values,
    );
    if (rows.length > MOST_COUNTS) throw new StatisticsTooLargeError(MOST_COUNTS);
    return rows.map(({ rule_id, hour, ...numbers }) => ({ ruleId: rule_id, hour: hour * HOUR_MS, ...numbers }));
  }

  private async ask(statement: string, values: unknown[]): Promise<CountsRow[]> {
    try {
      return await this.dataSource.query(statement, values);
    } catch (error) {
      throw databaseError(error, 'reading statistics');
    }
  }
}
