/**
 * Owns the connection to Postgres: opening it with patience, the pool's bounds, and the migrations.
 * Neighbours: `entities.ts`, `alert-projection.ts`, `alert-repository.ts` work on what is opened here.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { migrations } from '../../../migrations/index.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
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
/** In the background: soon after a restart of the database, seldom where it stays away. */
const RETRIES = { firstMs: 250, longestMs: 10_000 } as const;

/** A database that may not be there yet: until `opened` everything asked of it is a {@link DatabaseUnavailableError}. */
export interface DatabaseToCome extends Database {
  /**
   * Resolves once it is connected and its tables are up to date. Errors: what the database refuses; trouble that passes
   * is waited out, however long. Never settles where it is closed before.
   */
  readonly opened: Promise<void>;
  readonly isOpen: boolean;
}

/**
 * Connects, waiting for a database that is still starting, and brings the schema up to date.
 * Errors: {@link DatabaseUnavailableError} once `waitMs` has passed.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const dataSource = dataSourceFor(options);
  await connect(dataSource, options);
  await prepareTables(dataSource);
  return databaseOn(dataSource);
}

/** Connects in the background, trying again without end. `onAbsent` is told why and when it is tried next. */
export function openDatabaseToCome(
  options: DatabaseOptions & { onAbsent(error: DatabaseUnavailableError, retryInMs: number): void },
): DatabaseToCome {
  const dataSource = dataSourceFor(options);
  const closing = new AbortController();
  const { signal } = closing;
  let isOpen = false;
  const open = async () => {
    for (let failures = 0; ; failures++) {
      try {
        // The tables first, through connections of their own: nobody is let in before they are as the code wants them.
        const tables = dataSourceFor({ ...options, poolSize: 2 });
        await connect(tables, { ...options, waitMs: 0 });
        await prepareTables(tables);
        await tables.destroy();
        await connect(dataSource, { ...options, waitMs: 0 });
        break;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof DatabaseUnavailableError)) throw error;
        const retryInMs = retryDelayMs(failures, RETRIES);
        options.onAbsent(error, retryInMs);
        await sleep(retryInMs, undefined, { signal }).catch(() => {}); // closed: looked at below
      }
      if (signal.aborted) return;
    }
    isOpen = true;
    if (signal.aborted) await dataSource.destroy();
  };
  const opening = open();
  const never = new Promise<void>(() => {});
  return {
    ...databaseOn(dataSource),
    get isOpen() {
      return isOpen;
    },
    opened: opening.then(() => (signal.aborted ? never : undefined)),
    close: async () => {
      closing.abort();
      // A connection that is being tried is let go of by `open`, whenever that is.
      if (isOpen) await dataSource.destroy();
    },
  };
}

function dataSourceFor(options: DatabaseOptions): DataSource {
  return new DataSource({
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
}

async function prepareTables(dataSource: DataSource): Promise<void> {
  try {
    await migrate(dataSource);
  } catch (error) {
    await dataSource.destroy();
    throw databaseError(error, 'bringing its tables up to date');
  }
}

function databaseOn(dataSource: DataSource): Database {
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
