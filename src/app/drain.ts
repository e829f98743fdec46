/**
 * Owns the check that nothing is left behind when the number of partitions changes: records that were written under the
 * old layout and not processed yet would come to a task that does not have their card. Neighbour: `rescale.ts` refuses.
 */
import { StreamError } from '../stream/errors.js';
import { partitionOfKey } from '../stream/partitioning.js';
import type { LogBackend } from '../stream/ports.js';
import { RecordBatch } from '../stream/records.js';

/** Records of one partition that are to be processed before the layout changes. */
export interface LeftBehind {
  readonly topic: string;
  readonly partition: number;
  /** Offset of the first one. */
  readonly offset: number;
  readonly records: number;
}

/** What a record's key says: null for a record without one. */
export type Belongs = (key: Buffer | null, partition: number) => boolean;

const BATCH_RECORDS = 4_096;
const QUIET_MS = 200;

/** Records that stay with their partition under `partitions` of them. One without a key could belong anywhere. */
export const belongsUnder =
  (partitions: number): Belongs =>
  (key, partition) =>
    key !== null && partitionOfKey(key, partitions) === partition;

/** For another topic: nothing may be left in this one. */
export const belongsNowhere: Belongs = () => false;

/**
 * Looks at every record from `from` to the partition's present end. Errors: OffsetOutOfRangeError where the log does not
 * reach back to `from`; 'stopped' once `signal` is aborted.
 */
export async function leftBehind(
  backend: LogBackend,
  place: { readonly topic: string; readonly partition: number; readonly from: number },
  belongs: Belongs,
  signal: AbortSignal,
): Promise<LeftBehind | null> {
  const { topic, partition, from } = place;
  const reader = await backend.openReader({ topic, partition, from });
  try {
    const end = await reader.endOffset();
    const batch = new RecordBatch(BATCH_RECORDS);
    let first: number | null = null;
    let records = 0;
    while (reader.position < end) {
      if (signal.aborted) throw stopped();
      const before = reader.position;
      const count = reader.read(batch);
      for (let i = 0; i < count && batch.offset[i] < end; i++) {
        if (belongs(batch.key(i), partition)) continue;
        first ??= batch.offset[i];
        records++;
      }
      if (reader.position === before) await reader.whenReadable(QUIET_MS);
    }
    return first === null ? null : { topic, partition, offset: first, records };
  } finally {
    await reader.close();
  }
}

/** A command was asked to end; what it did so far stands, and the same command goes on. */
export function stopped(): StreamError {
  return new StreamError('stopped', 'Ended before it was done, as asked; the same command goes on where it ended');
}

export function notDrained(left: readonly LeftBehind[]): StreamError {
  const places = left.map(
    ({ topic, partition, offset, records }) =>
      `${topic}/${partition}: ${records} ${records === 1 ? 'record' : 'records'} from offset ${offset} on`,
  );
  return new StreamError(
    'not-drained',
    `Records wait that the present layout must process first, or their cards' state would be elsewhere:\n  ${places.join('\n  ')}\n` +
      'Start the service again and let it process them (with producers stopped: the lag must come to 0), then stop it and run this again',
  );
}
