/**
 * Owns putting the risk table's administration together, and that its topic holds what the database holds where the
 * topic was lost. Neighbours: `analyst-side.ts` hands it to the API, the relay carries what is published here.
 */
import type { Database } from '../adapters/postgres/database.js';
import { PostgresRiskRows } from '../adapters/postgres/risk-row-table.js';
import type { PostgresWrites } from '../adapters/postgres/writes.js';
import type { TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';
import type { OwedWork } from './owed-work.js';

interface RiskRowsSurroundings {
  readonly configuration: Configuration;
  readonly database: Database;
  readonly writes: PostgresWrites;
  readonly admin: TopicAdmin;
  /** Gets what a topic that was lost needs. */
  readonly owed: OwedWork;
  say(level: 'info' | 'warn', message: string): void;
}

export function openRiskRows(surroundings: RiskRowsSurroundings): PostgresRiskRows {
  const { configuration, database, writes, admin, owed, say } = surroundings;
  const topic = configuration.topics.riskTable;
  const rows = new PostgresRiskRows(database.dataSource, writes, topic);
  owed.add(async () => {
    const ranges = await admin.ranges(topic);
    if (ranges.some(({ start, end }) => start !== end)) return;
    const published = await rows.publishAll();
    if (published > 0) say('info', `topic ${topic} was empty: ${published} rows of the risk table are published again`);
  });
  return rows;
}
