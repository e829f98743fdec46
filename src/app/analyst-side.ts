/**
 * Owns the analysts' side of a process: the database (embedded where none is configured), the projector that brings
 * alerts into it, and the API. Neighbours: `run.ts` starts it; the detector is only looked at, for its status.
 */
import { join } from 'node:path';
import { PostgresAlertFeed } from '../adapters/postgres/alert-feed.js';
import { PostgresAlertProjection } from '../adapters/postgres/alert-projection.js';
import { PostgresAlertRepository } from '../adapters/postgres/alert-repository.js';
import { PostgresAlertStatistics } from '../adapters/postgres/alert-statistics.js';
import { PostgresAlertWork } from '../adapters/postgres/alert-work.js';
import { type Database, openDatabase } from '../adapters/postgres/database.js';
import { startEmbeddedPostgres } from '../adapters/postgres/embedded-postgres.js';
import { PostgresWrites } from '../adapters/postgres/writes.js';
import { createApi } from '../api/api.js';
import type { AlertParts, ApiParts } from '../api/parts.js';
import { Projector } from '../fraud/cases/projector.js';
import { PIPELINE_VERSION } from '../fraud/pipeline.js';
import type { StreamError } from '../stream/errors.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { startAccess } from './access.js';
import type { Closers } from './closers.js';
import type { Configuration } from './configuration/index.js';
import type { Detector } from './detector.js';
import { RecentAlerts } from './recent-alerts.js';
import { startRelay } from './relay.js';
import { openRiskRows } from './risk-rows.js';
import { startRuleAdmin } from './rule-admin.js';
import type { StatusFeed, Terminal } from './terminal/index.js';
import { VERSION } from './version.js';

export interface AnalystSideParts {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly terminal: Terminal;
  readonly closers: Closers;
  say(level: 'info' | 'warn', message: string): void;
  /** Null until, or where, this process detects nothing. */
  detector(): Detector | null;
  onFatal(error: StreamError): void;
}

export interface AnalystSide {
  readonly feed: StatusFeed;
  readonly addresses: { readonly api: string; readonly docs: string };
}

/** Starts what the process's roles ask for; everything started is in `closers`. */
export async function startAnalystSide(parts: AnalystSideParts): Promise<AnalystSide> {
  const { roles } = parts.configuration;
  const recent = new RecentAlerts();
  const needsDatabase = roles.includes('projector') || roles.includes('api');
  const database = needsDatabase ? await startDatabase(parts) : null;
  const projector = database !== null && roles.includes('projector') ? startProjector(parts, database, recent) : null;
  // Every process answers for its health and figures; alerts are served where the role asks for it.
  const api = await startApi(parts, database, projector);
  return {
    addresses: { api, docs: `${api}/docs` },
    feed: {
      status: () => parts.detector()?.status() ?? notDetecting(parts),
      recentAlerts: () => recent.list(),
      projector: () => {
        if (projector === null) return null;
        const { lag, error } = projector.status();
        return { lag, trouble: error?.message ?? null };
      },
    },
  };
}

async function startDatabase(parts: AnalystSideParts): Promise<Database> {
  const { configuration, closers, terminal, say } = parts;
  const { url, poolSize } = configuration.postgres;
  const step = terminal.progress(url === undefined ? 'embedded Postgres' : 'Postgres');
  let address = url;
  if (address === undefined) {
    const server = await startEmbeddedPostgres({
      directory: join(configuration.dataDir, 'postgres'),
      log: (message) => step.update(message),
      onUnexpectedEnd: parts.onFatal,
    });
    closers.add('embedded Postgres', () => server.stop());
    address = server.url;
  }
  let closing = false;
  const database = await openDatabase({
    url: address,
    poolSize,
    // A pool lets go of its connections before they have ended: a server stopped then cuts them, and that is no trouble.
    onTrouble: (error) => {
      if (!closing) say('warn', `Postgres: ${error.message}`);
    },
  });
  closers.add('database', () => {
    closing = true;
    return database.close();
  });
  step.done();
  return database;
}

function startProjector(parts: AnalystSideParts, database: Database, recent: RecentAlerts): Projector {
  const { configuration, backend, admin, say, closers } = parts;
  const projector = new Projector({
    topic: configuration.topics.alerts,
    backend,
    partitionCount: (topic) => admin.partitionCount(topic),
    projection: recent.watching(new PostgresAlertProjection(database.dataSource)),
    clock: systemClock,
    onTrouble: (partition, error, retryInMs) =>
      say(
        'warn',
        `projecting alerts of partition ${partition}: ${error.message}${retryInMs === null ? '; stopped' : `; trying again in ${retryInMs} ms`}`,
      ),
  });
  projector.start();
  closers.add('projector', () => projector.stop());
  return projector;
}

async function startApi(
  parts: AnalystSideParts,
  database: Database | null,
  projector: Projector | null,
): Promise<string> {
  const { configuration, closers, terminal, say } = parts;
  const { roles, http } = configuration;
  const step = terminal.progress('API');
  const access = await startAccess({ configuration, database, say, note: (line) => terminal.note(line) });
  const serving = roles.includes('api') ? database : null;
  const api = await createApi({
    version: VERSION,
    topics: configuration.topics,
    alerts: serving === null ? null : alertParts(parts, serving),
    ...(serving === null ? { riskRows: null, relay: null, rules: null } : await changingParts(parts, serving)),
    database,
    pipeline: roles.includes('detector') ? { status: () => parts.detector()?.status() ?? null } : null,
    projector,
    ...access,
    clock: systemClock,
    onUnexpected: (error, { method, path, id, leftOut = 0 }) =>
      say(
        'warn',
        `${method} ${path} (${id}) failed${leftOut === 0 ? '' : `, and ${leftOut} before it for the same reason`}: ` +
          `${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      ),
  });
  closers.add('API', () => api.close());
  const address = await api.listen(http.host, http.port);
  step.done(address);
  return address;
}

function alertParts({ configuration }: AnalystSideParts, { dataSource }: Database): AlertParts {
  return {
    reader: new PostgresAlertRepository(dataSource),
    work: new PostgresAlertWork(new PostgresWrites(dataSource, systemClock), configuration.topics.labels),
    feed: new PostgresAlertFeed(dataSource, systemClock),
    statistics: new PostgresAlertStatistics(dataSource),
  };
}

/** What publishes changes made through the API, and what is changed so. */
async function changingParts(
  parts: AnalystSideParts,
  database: Database,
): Promise<Pick<ApiParts, 'rules' | 'riskRows' | 'relay'>> {
  const { dataSource } = database;
  const writes = new PostgresWrites(dataSource, systemClock);
  return {
    riskRows: await openRiskRows({ ...parts, database, writes }),
    relay: startRelay(parts, database),
    rules: await startRuleAdmin({ ...parts, database, writes }),
  };
}

function notDetecting({ configuration, backend }: AnalystSideParts) {
  return {
    name: configuration.pipeline.name,
    version: PIPELINE_VERSION,
    backend: backend.kind,
    startedAt: 0,
    sourcePartitions: 0,
    tasks: [],
    workers: [],
  };
}
