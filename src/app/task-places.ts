/**
 * Owns where the tasks of a generation keep their state: stores on this machine's disk, checkpoints where they are
 * configured to be. Both lie under the identity of their state log: another cluster, a topic made anew and another
 * generation get places of their own, so that one's state can never be taken for another's.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';
import { placeWithin } from './objects.js';

export interface TaskPlaces {
  /** A directory that holds a store a task. */
  readonly stateDirectory: string;
  /** Holds the checkpoints, a folder a task: a directory, or `s3://bucket/prefix`. */
  readonly snapshotPlace: string;
}

/** The places of the tasks whose state log is `stateLog`, which must exist. */
export async function taskPlaces(
  configuration: Configuration,
  admin: TopicAdmin,
  stateLog: string,
): Promise<TaskPlaces> {
  return taskPlacesOf(configuration, await admin.identity(stateLog));
}

/** The same, where the state log's identity is known. */
export function taskPlacesOf({ dataDir, checkpoint }: Configuration, stateLogIdentity: string): TaskPlaces {
  const identity = createHash('sha256').update(stateLogIdentity).digest('hex').slice(0, 16);
  return {
    stateDirectory: join(dataDir, 'state', identity),
    snapshotPlace: placeWithin(checkpoint.directory ?? join(dataDir, 'checkpoints'), identity),
  };
}
