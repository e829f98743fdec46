/**
 * Owns the check that the keys of the state are the keys of the source's records. Where producers key by the card's
 * number in clear, or by anything else that stands for the card, payments go where that hashes to, and a card's state,
 * which is kept under its token, would be moved elsewhere. Neighbours: `rescale.ts`, `from-savepoint.ts`.
 */
import type { SavepointManifest } from '../stream/checkpoint/savepoint-manifest.js';
import type { Savepoints } from '../stream/checkpoint/savepoints.js';
import type { TaskImage } from '../stream/checkpoint/task-image.js';
import { StreamError } from '../stream/errors.js';
import { partitionOfKey } from '../stream/partitioning.js';
import { RecordBatch } from '../stream/records.js';
import { stateKey } from '../stream/state/stored-form.js';
import type { Generation, LogParts } from './generation.js';

/** Records looked at before the place where the task stands. */
const SAMPLE = 2_000;
/** Fewer tell nothing. */
const LEAST_SAMPLE = 8;
/** Some are dead letters, or of cards that another state forgot; a foreign key is found nowhere. */
const LEAST_SHARE = 0.5;
const QUIET_MS = 200;

/** Errors: 'keys-foreign' when the newest processed records of a partition have keys that the task's state has not. */
export async function expectRecordKeys(
  { backend, admin }: LogParts,
  { source, partitions }: Generation,
  partition: number,
  image: TaskImage,
): Promise<void> {
  const end = image.resume.sourceOffset;
  const { start } = (await admin.ranges(source))[partition];
  if (end === null || end <= start) return;
  const recent = await keysBetween(backend, { topic: source, partition, from: Math.max(start, end - SAMPLE), end });
  // Records of an earlier layout may be among them, whose cards have moved on since.
  const keys = recent.filter((key) => partitionOfKey(key, partitions) === partition);
  if (keys.length < LEAST_SAMPLE) return;
  const found = (await image.store.getMany(keys.map(stateKey))).filter((value) => value !== null).length;
  if (found >= keys.length * LEAST_SHARE) return;
  throw new StreamError(
    'keys-foreign',
    `Of ${keys.length} keys of the last records that ${image.taskId} processed from ${source}/${partition}, only ${found} are cards of its state: ` +
      'producers key by something else than the card’s token (its number in clear, for example), so state cannot follow the partitions. ' +
      'Key by the token, or let the pipeline key payments itself (keying.mode: repartition)',
  );
}

/**
 * The same for a savepoint, of which there is no source to look at: its keys must lie in the tasks that they hash to.
 * Errors: 'keys-foreign' where too few do. One task alone tells nothing.
 */
export async function expectPlacedKeys(savepoints: Savepoints, manifest: SavepointManifest): Promise<void> {
  const { partitions } = manifest.source;
  for (const task of partitions === 1 ? [] : manifest.tasks) {
    for await (const entries of savepoints.entries(task)) {
      const placed = entries.filter(({ key }) => partitionOfKey(key, partitions) === task.partition).length;
      if (placed < entries.length * LEAST_SHARE) throw foreignKeys(manifest.name, task.taskId, entries.length, placed);
      break;
    }
  }
}

function foreignKeys(savepoint: string, taskId: string, keys: number, placed: number): StreamError {
  return new StreamError(
    'keys-foreign',
    `Of the first ${keys} keys of ${taskId} in savepoint ${savepoint}, only ${placed} belong to its partition: payments were keyed by something else than the card’s token, ` +
      'so state cannot follow to another number of partitions. Start it with as many as it was made with',
  );
}

/** The keys of the records in a range, each once; those without a key are left out. */
async function keysBetween(
  backend: LogParts['backend'],
  place: { readonly topic: string; readonly partition: number; readonly from: number; readonly end: number },
): Promise<readonly Buffer[]> {
  const { topic, partition, from, end } = place;
  const reader = await backend.openReader({ topic, partition, from });
  try {
    const keys = new Map<string, Buffer>();
    const batch = new RecordBatch(SAMPLE);
    while (reader.position < end) {
      const before = reader.position;
      const count = reader.read(batch);
      for (let i = 0; i < count && batch.offset[i] < end; i++) {
        const key = batch.key(i);
        if (key !== null) keys.set(key.toString('latin1'), Buffer.from(key));
      }
      if (reader.position === before) await reader.whenReadable(QUIET_MS);
    }
    return [...keys.values()];
  } finally {
    await reader.close();
  }
}
