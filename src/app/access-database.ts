/**
 * Owns how a command comes to the service's database: the configured one; the embedded one of a service that runs; the
 * embedded one of a service that does not, started for the while under the data directory's lock. Neighbour:
 * `src/cli/audit.ts`.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findRunningPostgres, startEmbeddedPostgres } from '../adapters/postgres/embedded-postgres.js';
import { StreamError } from '../stream/errors.js';
import type { Configuration } from './configuration/index.js';
import { openDataDirectory } from './data-directory.js';

/**
 * Calls `use` with the database's address. Errors: `database-missing` where nothing was ever kept; those of the data
 * directory and of the embedded Postgres.
 */
export async function withServiceDatabase<T>(
  configuration: Configuration,
  say: (line: string) => void,
  use: (url: string) => Promise<T>,
): Promise<T> {
  const { url } = configuration.postgres;
  if (url !== undefined) return use(url);
  const directory = join(configuration.dataDir, 'postgres');
  if (!existsSync(join(directory, 'cluster'))) {
    throw new StreamError(
      'database-missing',
      `There is no embedded Postgres in ${configuration.dataDir}. Name the service’s data directory with --data-dir, or its database with --postgres-url.`,
    );
  }
  const running = await findRunningPostgres(directory);
  if (running !== null) return use(running);
  const dataDirectory = await openDataDirectory(configuration.dataDir);
  try {
    const server = await startEmbeddedPostgres({ directory, log: say });
    try {
      return await use(server.url);
    } finally {
      await server.stop();
    }
  } finally {
    await dataDirectory.close();
  }
}
