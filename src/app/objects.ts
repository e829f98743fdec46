/**
 * Owns the way from a configured place to the object store behind it: a directory, or `s3://bucket/prefix`.
 * Neighbours: checkpoints and savepoints are kept in what it opens; `configuration/s3-settings.ts` has the settings.
 */
import { join } from 'node:path';
import { directoryObjects } from '../adapters/object-storage/directory-objects.js';
import { StreamError } from '../stream/errors.js';
import type { ObjectStore } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { type Configuration, parseS3Place } from './configuration/index.js';

/** What S3 may take in a thread: its client (31 MiB, measured), and the parts under way. */
export const S3_MEMORY_BYTES = 52 * 1024 * 1024;

/** A place within a place: `s3://bucket/fraud` and `a1b2` → `s3://bucket/fraud/a1b2`. */
export function placeWithin(place: string, name: string): string {
  return parseS3Place(place) === null ? join(place, name) : `${place.replace(/\/+$/, '')}/${name}`;
}

/**
 * Opens `place`, without a connection yet. The S3 client is loaded only for `s3://…`.
 * Errors: those of the port, from the first use on.
 */
export async function openObjects(place: string, configuration: Pick<Configuration, 's3'>): Promise<ObjectStore> {
  const address = parseS3Place(place);
  if (address === null) return directoryObjects({ directory: place });
  const { s3Objects } = await import('../adapters/object-storage/s3-objects.js');
  const { endpoint, region, pathStyle, accessKeyId, secretAccessKey, requestTimeoutMs, deadlineMs } = configuration.s3;
  return s3Objects({
    ...address,
    endpoint,
    region,
    pathStyle: pathStyle ?? endpoint !== undefined,
    credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined,
    requestTimeoutMs,
    deadlineMs,
    clock: systemClock,
    random: Math.random,
  });
}

/**
 * Asks once whether the place can be used, so that a wrong bucket or key is told at the start and not by the first
 * checkpoint. One that does not answer is no reason not to run: `warn` is told, and the checkpoints try again.
 */
export async function checkObjects(objects: ObjectStore, warn: (message: string) => void): Promise<void> {
  try {
    await objects.get('probe');
  } catch (error) {
    if (!(error instanceof StreamError) || error.code !== 'object-store-unreachable') throw error;
    warn(error.message);
  }
}
