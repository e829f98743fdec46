/**
 * Owns the connection to Postgres: opening it with patience, the pool's bounds, and the migrations.
 * Neighbours: `entities.ts`, `alert-projection.ts`, `alert-repository.ts` work on what is opened here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { migrations } from '../../../migrations/index.js';
import { ADVISORY_LOCKS } from './advisory-locks.js';
import { DatabaseUnavailableError, databaseError } from './database-errors.js';
import { AlertEntity, OffsetEntity, RejectEntity } from './entities.js';

export interface DatabaseOptions {
  /** As `postgres://user:password@host:5432/database`. Never logged. */
  readonly url: string;
  /** Connections at most; 8 where left out. Two are needed at least. */
  readonly poolSize?: number;
  /** How long to wait for the database at start; 30 s where left out. */
  readonly waitMs?: number;
  /** Trouble of idle connections (a restarted database), to be logged. */
  onTrouble?(error: Error): void;
}

export interface Database {
  readonly dataSource: DataSource;
  /** Resolves if the database answers. Errors: {@link DatabaseUnavailableError}. */
  check(): Promise<void>;
  close(): Promise<void>;
}

const CONNECT_TIMEOUT_MS = 5_000;
/** A query that takes longer is given up by the server. */
const STATEMENT_TIMEOUT_MS = 15_000;
/** Waiting for another process's migrations, and running them. */
const MIGRATION_TIMEOUT_MS = 120_000;
const RETRY_MS = 250;

/**
 * Connects, waiting for a database that is still starting, and brings the schema up to date.
 * Errors: {@link DatabaseUnavailableError} once `waitMs` has passed.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const dataSource = new DataSource({
    type: 'postgres',
    url: options.url,
    entities: [AlertEntity, OffsetEntity, RejectEntity],
    migrations,
    migrationsTableName: 'schema_migrations',
    migrationsTransactionMode: 'each',
    installExtensions: false,
    logging: false,
    applicationName: 'fraud-detector',
    connectTimeoutMS: CONNECT_TIMEOUT_MS,
    poolSize: Math.max(2, options.poolSize ?? 8),
    poolErrorHandler: (error: Error) => options.onTrouble?.(error),
    extra: { statement_timeout: STATEMENT_TIMEOUT_MS, query_timeout: STATEMENT_TIMEOUT_MS + 5_000, keepAlive: true },
  });
  await connect(dataSource, options);
  try {
    await migrate(dataSource);
  } catch (error) {
    await dataSource.destroy();
    throw databaseError(error, 'bringing its tables up to date');
  }
  return {
    dataSource,
    check: async () => {
      try {
        await dataSource.query('SELECT 1');
      } catch (error) {
        throw databaseError(error, 'a health check');
      }
    },
    close: () => dataSource.destroy(),
  };
}

async function connect(dataSource: DataSource, options: DatabaseOptions): Promise<void> {
  const deadline = performance.now() + (options.waitMs ?? 30_000);
  for (;;) {
    try {
      await dataSource.initialize();
      return;
    } catch (cause) {
      const error = databaseError(cause, 'connecting');
      if (!(error instanceof DatabaseUnavailableError) || performance.now() + RETRY_MS > deadline) {
        throw new DatabaseUnavailableError(
          `${error.message}. Tried ${addressOf(options.url)}; see that Postgres runs there and takes this user.`,
          { cause },
        );
      }
      await sleep(RETRY_MS);
    }
  }
}

/** One process at a time: others wait on the lock, then find nothing to do. */
async function migrate(dataSource: DataSource): Promise<void> {
  const session = dataSource.createQueryRunner();
  try {
    await session.query(`SET statement_timeout = ${MIGRATION_TIMEOUT_MS}`);
    await session.query('SELECT pg_advisory_lock($1)', [ADVISORY_LOCKS.migration]);
    try {
      await dataSource.runMigrations();
    } finally {
      await session.query('SELECT pg_advisory_unlock($1)', [ADVISORY_LOCKS.migration]);
      await session.query(`SET statement_timeout = ${STATEMENT_TIMEOUT_MS}`);
    }
  } finally {
    await session.release();
  }
}

/** Host, port and database of a URL, without user and password. */
function addressOf(url: string): string {
  if (!URL.canParse(url)) return 'the configured address';
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}
