/**
 * Owns where the tasks of a new generation go on in their source, and that this is a place from which nothing is lost
 * and nothing read twice. Neighbours: `rescale.ts` and `from-savepoint.ts` ask, `drain.ts` looks at records.
 */
import type { SavepointManifest } from '../stream/checkpoint/savepoint-manifest.js';
import { StreamError } from '../stream/errors.js';
import type { PartitionRange } from '../stream/ports.js';
import { belongsNowhere, belongsUnder, type LeftBehind, leftBehind, notDrained } from './drain.js';
import type { Generation, LogParts } from './generation.js';
import type { Work } from './savepoints.js';

/** Where the tasks of a generation stand, by partition; null for one that never committed anything. */
export type Committed = readonly (number | null)[];

export interface Moving extends LogParts, Pick<Work, 'signal'> {
  readonly from: { readonly source: string; readonly committed: Committed };
  readonly to: Pick<Generation, 'source' | 'partitions'>;
}

export const committedIn = ({ tasks }: SavepointManifest): Committed => tasks.map(({ resume }) => resume.sourceOffset);

/**
 * Where the tasks of the new layout begin, by partition: where their predecessors stood, and at the start of partitions
 * that had no task. Errors: 'source-offsets' where the log does not hold what comes next.
 */
export async function offsetsAfter({ admin, configuration, from, to }: Moving): Promise<readonly number[]> {
  const ranges = await admin.ranges(to.source);
  const isSameTopic = from.source === to.source;
  return Array.from({ length: to.partitions }, (_, partition) => {
    const range = ranges[partition] ?? { partition, start: 0, end: 0, writtenEnd: 0 };
    if (!isSameTopic || partition >= from.committed.length) return range.start;
    const offset = from.committed[partition] ?? firstOffset(range, configuration.pipeline.startFrom);
    if (offset >= range.start && offset <= range.end) return offset;
    throw outside(to.source, offset, range);
  });
}

/**
 * Errors: 'not-drained' naming every partition that holds records which the new layout would give to another task, or
 * one over which a producer's Kafka transaction is still open.
 */
export async function expectDrained(moving: Moving): Promise<void> {
  const { backend, admin, configuration, from, to, signal } = moving;
  const isSameTopic = from.source === to.source;
  if (isSameTopic && from.committed.length === to.partitions) return;
  const belongs = isSameTopic ? belongsUnder(to.partitions) : belongsNowhere;
  const left: LeftBehind[] = [];
  for (const range of await admin.ranges(from.source)) {
    const { partition } = range;
    if (range.writtenEnd > range.end) throw undecided(from.source, range);
    const isNew = partition >= from.committed.length;
    const committed = isNew
      ? range.start
      : (from.committed[partition] ?? firstOffset(range, configuration.pipeline.startFrom));
    if (committed >= range.end) continue;
    if (committed < range.start) throw outside(from.source, committed, range);
    const found = await leftBehind(backend, { topic: from.source, partition, from: committed }, belongs, signal);
    if (found !== null) left.push(found);
  }
  if (left.length > 0) throw notDrained(left);
}

const firstOffset = ({ start, end }: PartitionRange, startFrom: 'earliest' | 'latest'): number =>
  startFrom === 'earliest' ? start : end;

/** What a producer's open Kafka transaction holds may become payments of the present layout after it was left. */
function undecided(topic: string, { partition, end, writtenEnd }: PartitionRange): StreamError {
  return new StreamError(
    'not-drained',
    `A producer's Kafka transaction is open on ${topic}/${partition}: offsets ${end} to ${writtenEnd} are not decided yet. ` +
      'End it (or wait for transaction.timeout.ms of that producer), let the service process what it committed, then run this again',
  );
}

function outside(topic: string, offset: number, { partition, start, end }: PartitionRange): StreamError {
  const why =
    offset > end
      ? 'it was never written there: the topic was made anew, or this is another cluster'
      : 'retention took it away: payments between would be missing';
  return new StreamError(
    'source-offsets',
    `${topic}/${partition} holds ${start} to ${end}, and the state goes on at ${offset}: ${why}. ` +
      'To take the state all the same and read the topic from its start: fraud start --from-savepoint NAME --savepoint-offsets start',
  );
}
