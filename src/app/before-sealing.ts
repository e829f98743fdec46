/**
 * Owns what must hold before a generation is ended: that nobody runs it, and that the place of the next one's state log
 * is free. Neighbours: `rescale.ts` and `from-savepoint.ts` ask before `new-generation.ts` seals.
 */
import type { Seed } from '../stream/epoch/delta.js';
import { firstRecord } from '../stream/epoch/log-ends.js';
import { CorruptDataError, StreamError } from '../stream/errors.js';
import type { EpochLog } from '../stream/ports.js';
import { type Generation, type LogParts, overTasks } from './generation.js';
import { groupOf } from './group-claim.js';
import { counted } from './new-generation.js';

/** Errors: 'pipeline-live' where processes are in the pipeline's groups; `consent` says how it is done all the same. */
export async function expectNobody(
  { admin, configuration }: LogParts,
  current: Generation,
  consent: string,
): Promise<void> {
  const { pipeline, kafka, keying } = configuration;
  const groups = [groupOf(pipeline.name, current.number)];
  // What the first stage still passes on would come to a topic that nobody reads any more.
  if (keying.mode === 'repartition') groups.push(`${pipeline.name}.repartition`);
  for (const group of groups) {
    const members = await admin.groupMembers(group);
    if (members.length === 0) continue;
    throw new StreamError(
      'pipeline-live',
      `The pipeline runs: ${counted(members.length, 'process')} in group ${group} (${members.join('; ')}). Stop it first; ` +
        `one that was killed counts until its session times out (${kafka.sessionTimeoutMs} ms). ${consent}`,
    );
  }
}

/**
 * Errors: 'generation-leftover' where the state log of `next` holds anything that `isOwn` does not know, such as the
 * seeds of an attempt that was taken back while it still ran: tasks would begin with the state of then.
 */
export async function expectUnused(
  parts: LogParts,
  next: Generation,
  isOwn: (seed: Seed) => boolean = () => false,
): Promise<void> {
  const partitions = await parts.admin.partitionCount(next.stateLog);
  if (partitions === null) return;
  const found = await overTasks(parts, { ...next, partitions }, (log) => contents(log, isOwn));
  const used = found.flatMap((what, partition) => (what === null ? [] : [`partition ${partition} ${what}`]));
  if (partitions !== next.partitions) used.push(`it has ${partitions} partitions, not ${next.partitions}`);
  if (used.length === 0) return;
  throw new StreamError(
    'generation-leftover',
    `${next.stateLog} would be the state log of generation ${next.number} and is in use, or left over from an attempt that was taken back: ${used.join('; ')}. ` +
      'Nothing was touched. Make sure that no other pipeline has a state log of that name and that no fraud rescale or start still runs, delete that topic, then run this again',
  );
}

/** What a state log holds; null: nothing that matters. */
async function contents(log: EpochLog, isOwn: (seed: Seed) => boolean): Promise<string | null> {
  if ((await log.stateLogRange()).start > 0) return 'was in use for long (it is truncated)';
  try {
    const first = await firstRecord(log);
    if (first === null) return null;
    if (first.kind !== 'seed') return 'holds epochs';
    return isOwn(first.seed) ? null : `began with savepoint ${first.seed.savepoint}`;
  } catch (error) {
    if (!(error instanceof CorruptDataError)) throw error;
    return `holds what is no state: ${error.message}`;
  }
}
