/**
 * Owns the name that this process keeps in its consumer group over restarts: made at the first start, kept in the data
 * directory, whose lock sees to it that no two processes have it at a time. Neighbour: `src/adapters/kafka/group`.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Configuration } from './configuration/index.js';
import { keptOrMade } from './kept-file.js';

const FILE = 'state/group-instance-id';

/** The configuration with `kafka.groupInstanceId`: the configured one, else that of the data directory, else a new one. */
export async function withGroupInstanceId(configuration: Configuration): Promise<Configuration> {
  const { kafka, dataDir } = configuration;
  if (configuration.backend !== 'kafka' || kafka.groupInstanceId !== undefined) return configuration;
  const make = () => `${kafka.clientId}-${randomUUID()}`.replace(/[^A-Za-z0-9._-]/g, '-');
  const { text: groupInstanceId } = await keptOrMade(join(dataDir, FILE), make);
  return { ...configuration, kafka: { ...kafka, groupInstanceId } };
}
