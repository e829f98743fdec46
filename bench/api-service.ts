/**
 * Owns the API's process under measurement: the analyst API as it ships over a database that is there already, for one
 * analyst whose token is known. Says its address on standard output; ends with standard input.
 */
import { PostgresAlertFeed } from '../src/adapters/postgres/alert-feed.js';
import { PostgresAlertRepository } from '../src/adapters/postgres/alert-repository.js';
import { PostgresAlertStatistics } from '../src/adapters/postgres/alert-statistics.js';
import { PostgresAlertWork } from '../src/adapters/postgres/alert-work.js';
import { openDatabase } from '../src/adapters/postgres/database.js';
import { PostgresWrites } from '../src/adapters/postgres/writes.js';
import { createApi } from '../src/api/api.js';
import { DEFAULT_TOPICS } from '../src/api/docs/asyncapi.js';
import type { Actor } from '../src/fraud/access/actor.js';
import { permissionsOf } from '../src/fraud/access/permissions.js';
import { systemClock } from '../src/stream/runtime/system-clock.js';

const [, , url] = process.argv;
const database = await openDatabase({ url });
const { dataSource } = database;
const analyst: Actor = {
  id: 'analyst-7',
  principal: 'analyst-7',
  name: 'analyst-7',
  kind: 'user',
  roles: ['analyst'],
  permissions: permissionsOf(['analyst']),
};
const api = await createApi({
  version: 'bench',
  topics: DEFAULT_TOPICS,
  alerts: {
    reader: new PostgresAlertRepository(dataSource),
    work: new PostgresAlertWork(new PostgresWrites(dataSource, systemClock), 'fraud.labels'),
    feed: new PostgresAlertFeed(dataSource, systemClock),
    statistics: new PostgresAlertStatistics(dataSource),
  },
  database,
  pipeline: null,
  projector: null,
  rules: null,
  riskRows: null,
  relay: null,
  access: null,
  rateLimit: null,
  trustedProxies: [],
  clock: systemClock,
  authenticator: { authenticate: async () => analyst },
  onUnexpected: (error) => process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`),
});
process.stdout.write(`${await api.listen('127.0.0.1', 0)}\n`);
process.stdin.resume();
process.stdin.on('end', () => {
  void api
    .close()
    .then(() => database.close())
    .finally(() => process.exit(0));
});
