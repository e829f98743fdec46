/**
 * Owns how commands come to the log while the service may be running beside them: Kafka as it is; the embedded log
 * without the data directory's lock, which the service holds, since the log itself is made to be shared. Only a log that
 * is not there yet is made under the lock, so that the directory is marked as ours.
 */
import { existsSync } from 'node:fs';
import { backendOptions, openBackendWith } from '../app/backend.js';
import type { Configuration } from '../app/configuration/index.js';
import { openDataDirectory } from '../app/data-directory.js';
import { StreamError } from '../stream/errors.js';
import type { LogBackend } from '../stream/ports.js';

/** Errors: those of the adapter; `log-missing` where there is none and none may be made; those of the data directory. */
export async function openCommandBackend(configuration: Configuration, makeMissing: boolean): Promise<LogBackend> {
  const backend = backendOptions(configuration);
  if (backend.kind === 'embedded' && !existsSync(backend.options.directory)) {
    if (!makeMissing) {
      throw new StreamError(
        'log-missing',
        `There is no embedded log in ${configuration.dataDir}. Name the service’s data directory with --data-dir, or its Kafka with --kafka.`,
      );
    }
    const directory = await openDataDirectory(configuration.dataDir);
    try {
      await directory.subdirectory('log');
    } finally {
      await directory.close();
    }
  }
  return openBackendWith(backend);
}
