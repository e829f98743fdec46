/**
 * Owns the analysts' side of a process: the database (embedded where none is configured), the projector that brings
 * alerts into it, and the API. Neighbours: `run.ts` starts it; the detector is only looked at, for its status.
 */
import 'reflect-metadata';
import { join } from 'node:path';
import { PostgresAlertFeed } from '../adapters/postgres/alert-feed.js';
import { PostgresAlertProjection } from '../adapters/postgres/alert-projection.js';
import { PostgresAlertRepository } from '../adapters/postgres/alert-repository.js';
import { PostgresAlertStatistics } from '../adapters/postgres/alert-statistics.js';
import { PostgresAlertWork } from '../adapters/postgres/alert-work.js';
import { type Database, type DatabaseToCome, openDatabaseToCome } from '../adapters/postgres/database.js';
import { startEmbeddedPostgres } from '../adapters/postgres/embedded-postgres.js';
import { PostgresWrites } from '../adapters/postgres/writes.js';
import { createApi } from '../api/api.js';
import type { AlertParts, ApiParts } from '../api/parts.js';
import { Projector } from '../fraud/cases/projector.js';
import { PIPELINE_VERSION } from '../fraud/pipeline-version.js';
import { StreamError } from '../stream/errors.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { startAccess } from './access.js';
import type { Closers } from './closers.js';
import type { Configuration } from './configuration/index.js';
import type { Detector } from './detector.js';
import type { Generation } from './generation.js';
import { OwedWork } from './owed-work.js';
import { RecentAlerts } from './recent-alerts.js';
import { makeRelay } from './relay.js';
import { openRiskRows } from './risk-rows.js';
import { startRuleAdmin } from './rule-admin.js';
import type { StatusFeed, Terminal } from './terminal/index.js';
import { VERSION } from './version.js';

/** A database that is slow to say anything is waited for so long before the API comes up without it. */
const FIRST_WAIT_MS = 5_000;
const WITHOUT_DATABASE = 'Detection goes on without it, the API answers 503 where it needs it';

export interface AnalystSideParts {
  /** With the topics of the generation. */
  readonly configuration: Configuration;
  readonly generation: Generation;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly terminal: Terminal;
  readonly closers: Closers;
  say(level: 'info' | 'warn', message: string): void;
  /** Null where this process detects nothing. */
  readonly detector: Detector | null;
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
  const owed = new OwedWork(systemClock);
  const database = needsDatabase ? await startDatabase(parts) : null;
  const projector =
    database !== null && roles.includes('projector') ? makeProjector(parts, database, recent, owed) : null;
  // Every process answers for its health and figures; alerts are served where the role asks for it.
  const api = await startApi(parts, database, projector, owed);
  return {
    addresses: { api, docs: `${api}/docs` },
    feed: {
      status: () => parts.detector?.status() ?? notDetecting(parts),
      recentAlerts: () => recent.list(),
      projector: () => {
        if (projector === null) return null;
        const { lag, error } = projector.status();
        return { lag, trouble: error?.message ?? null };
      },
    },
  };
}

/**
 * Resolves with the database open, or as soon as it is known to be away: payments do not wait for it, and the API answers
 * 503 until it is there. An embedded one that cannot start ends the process: nobody else will mend it.
 */
async function startDatabase(parts: AnalystSideParts): Promise<DatabaseToCome> {
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
  let away: () => void = () => {};
  const isAway = new Promise<'away'>((resolve) => {
    away = () => resolve('away');
  });
  systemClock.schedule(FIRST_WAIT_MS, () => away());
  const database = openDatabaseToCome({
    url: address,
    poolSize,
    // A pool lets go of its connections before they have ended: a server stopped then cuts them, and that is no trouble.
    onTrouble: (error) => {
      if (!closing) say('warn', `Postgres: ${error.message}`);
    },
    onAbsent: (error, retryInMs) => {
      away();
      say('warn', `${error.message} ${WITHOUT_DATABASE}; trying again in ${retryInMs} ms`);
    },
  });
  closers.add('database', () => {
    closing = true;
    return database.close();
  });
  if ((await Promise.race([database.opened, isAway])) === 'away') step.failed(WITHOUT_DATABASE);
  else step.done();
  return database;
}

function makeProjector(parts: AnalystSideParts, database: Database, recent: RecentAlerts, owed: OwedWork): Projector {
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
  owed.add(async () => projector.start());
  closers.add('projector', () => projector.stop());
  return projector;
}

async function startApi(
  parts: AnalystSideParts,
  database: DatabaseToCome | null,
  projector: Projector | null,
  owed: OwedWork,
): Promise<string> {
  const { configuration, closers, terminal, say } = parts;
  const { roles, http } = configuration;
  const step = terminal.progress('API');
  const access = await startAccess({ configuration, database, owed, say, note: (line) => terminal.note(line) });
  const serving = roles.includes('api') ? database : null;
  const api = await createApi({
    version: VERSION,
    topics: configuration.topics,
    alerts: serving === null ? null : alertParts(parts, serving),
    ...(serving === null ? { riskRows: null, relay: null, rules: null } : changingParts(parts, serving, owed)),
    database,
    pipeline: roles.includes('detector') ? { status: () => parts.detector?.status() ?? null } : null,
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
  if (database !== null) await doOwed(parts, database, owed);
  const address = await api.listen(http.host, http.port);
  step.done(address);
  return address;
}

/** Waits for it only where the database is there. */
async function doOwed({ closers, say, onFatal }: AnalystSideParts, database: DatabaseToCome, owed: OwedWork) {
  closers.add('work for the database', async () => owed.stop());
  if (database.isOpen) return owed.run();
  const later = async () => {
    await database.opened;
    await owed.run();
    say('info', 'Postgres is there: alerts are projected, the API answers in full');
  };
  later().catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    onFatal(error instanceof StreamError ? error : new StreamError('database-start', reason, { cause: error }));
  });
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
function changingParts(
  parts: AnalystSideParts,
  database: Database,
  owed: OwedWork,
): Pick<ApiParts, 'rules' | 'riskRows' | 'relay'> {
  const { dataSource } = database;
  const writes = new PostgresWrites(dataSource, systemClock);
  return {
    riskRows: openRiskRows({ ...parts, database, writes, owed }),
    relay: makeRelay({ ...parts, owed }, database),
    rules: startRuleAdmin({ ...parts, database, writes, owed }),
  };
}

function notDetecting({ configuration, backend, generation }: AnalystSideParts) {
  return {
    name: configuration.pipeline.name,
    version: PIPELINE_VERSION,
    backend: backend.kind,
    startedAt: 0,
    generation: generation.number,
    seededFrom: generation.seededFrom,
    sourcePartitions: 0,
    tasks: [],
    standbys: [],
    workers: [],
  };
}
