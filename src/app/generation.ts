/**
 * Owns which generation of the pipeline runs: where its state log is, which topic it reads, and how a start finds it; the
 * first one has the configured names (fraud.state, then fraud.state-g2, …). While one is half made (N1) a start is
 * refused, and the command that was making it is run again, or undone.
 * Neighbours: `stream/checkpoint/generations.ts` follows the seals (N1, N2), `new-generation.ts` makes the next one,
 * `run.ts` and the commands go by what is found here.
 *
 * N3 State logs of later generations without the first one's mean that the way to them is lost, and not a new pipeline.
 */
import {
  type FoundGeneration,
  followSeals,
  type Generation,
  type PendingGeneration,
} from '../stream/checkpoint/generations.js';
import { StreamError } from '../stream/errors.js';
import { ownerIdOf, taskIdOf } from '../stream/pipeline/pipeline.js';
import type { EpochLog, LogBackend, TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';

export type { Generation, PendingGeneration } from '../stream/checkpoint/generations.js';

export interface LogParts {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
}

/** Epoch logs that are open at a time: on Kafka each has connections of its own. */
const LOGS_AT_ONCE = 8;
/** Topics' names are no longer. */
const LONGEST_TOPIC_NAME = 249;

/** The state log of generation `number` of a pipeline whose first one is `configured`. Errors: 'topic-name-too-long'. */
export function stateLogOf(configured: string, number: number): string {
  const name = number === 1 ? configured : `${configured}-g${number}`;
  if (name.length <= LONGEST_TOPIC_NAME) return name;
  throw new StreamError(
    'topic-name-too-long',
    `The state log of generation ${number} would be called ${name}, which is over ${LONGEST_TOPIC_NAME} characters; name a shorter topics.stateLog before the first start`,
  );
}

/** Whether a topic is the state log of some generation of that pipeline. */
export function isStateLogOf(configured: string, topic: string): boolean {
  return (
    topic === configured || (topic.startsWith(`${configured}-g`) && /^\d+$/.test(topic.slice(configured.length + 2)))
  );
}

/** The configuration with the topics of a generation in the place of the configured ones. */
export function withGeneration(configuration: Configuration, generation: Generation): Configuration {
  const { source, stateLog } = generation;
  return { ...configuration, topics: { ...configuration.topics, payments: source, stateLog } };
}

/**
 * Follows the seals from the configured state log to the newest generation. Errors: 'generations-torn'; 'generations-missing'
 * (N3).
 */
export async function findGeneration(parts: LogParts): Promise<FoundGeneration> {
  const isMade = async ({ stateLog }: Generation) => (await parts.admin.partitionCount(stateLog)) !== null;
  const first = await firstGeneration(parts);
  const found = (await isMade(first))
    ? await followSeals(first, { isMade, over: (generation, look) => overTasks(parts, generation, look) })
    : { lineage: [first], current: first, pending: null };
  if (found.current.number === 1 && found.pending === null) await expectFirst(parts, first);
  return found;
}

/** The one that runs. Errors: 'generation-unready' while another is being made (N1). */
export async function currentGeneration(parts: LogParts): Promise<Generation> {
  const { current, pending } = await findGeneration(parts);
  if (pending === null) return current;
  throw unready(current, pending);
}

export function unready(current: Generation, { next, sealed, seeded }: PendingGeneration): StreamError {
  return new StreamError(
    'generation-unready',
    `Generation ${next.number} of the pipeline (${next.partitions} tasks on ${next.source}, from savepoint ${next.seededFrom}) is not made whole yet: ` +
      `${sealed.length} of ${current.partitions} tasks are sealed and ${seeded.length} of ${next.partitions} seeded. ` +
      'Run the command again that was making it (fraud rescale, or fraud start --from-savepoint): it goes on where it ended. ' +
      'Or take it back: fraud rescale --undo',
  );
}

async function firstGeneration({ admin, configuration }: LogParts): Promise<Generation> {
  const { payments, stateLog, partitions } = configuration.topics;
  const made = (await admin.partitionCount(stateLog)) ?? (await admin.partitionCount(payments)) ?? partitions;
  return { number: 1, stateLog, source: payments, partitions: made, seededFrom: null };
}

/** N3 */
async function expectFirst(parts: LogParts, first: Generation): Promise<void> {
  const names = await parts.admin.names();
  const later = names.filter((name) => name !== first.stateLog && isStateLogOf(first.stateLog, name));
  if (later.length === 0) return;
  if (names.includes(first.stateLog)) {
    const isUsed = await overTasks(parts, first, async (log) => (await log.stateLogRange()).end > 0);
    if (isUsed.includes(true)) return;
  }
  throw new StreamError(
    'generations-missing',
    `${first.stateLog} is ${names.includes(first.stateLog) ? 'empty' : 'missing'}, and ${later.join(', ')} ${later.length === 1 ? 'is' : 'are'} there: ` +
      "the way to the pipeline's newest generation leads over the seals in the first one's state log, which must never be deleted. " +
      'Nothing was begun anew. Bring that topic back; or, if nothing is to be kept, delete the others (--fresh does); ' +
      'or begin under another topics.stateLog from a savepoint (fraud savepoint list)',
  );
}

/** Opens the epoch log of each task, a few at a time, without taking it over; the results are by partition. */
export async function overTasks<T>(
  { backend, configuration }: Pick<LogParts, 'backend' | 'configuration'>,
  generation: Generation,
  look: (log: EpochLog, partition: number) => Promise<T>,
): Promise<readonly T[]> {
  const results: T[] = [];
  let next = 0;
  const lane = async () => {
    for (let partition = next++; partition < generation.partitions; partition = next++) {
      const log = await openTaskLog(backend, configuration.pipeline.name, generation, partition);
      try {
        results[partition] = await look(log, partition);
      } finally {
        await log.close();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(LOGS_AT_ONCE, generation.partitions) }, lane));
  return results;
}

/** The epoch log of one task of a generation. It reads until `fence()` is called on it. */
export function openTaskLog(
  backend: Pick<LogBackend, 'openEpochLog'>,
  pipelineName: string,
  { number, stateLog }: Pick<Generation, 'number' | 'stateLog'>,
  partition: number,
): Promise<EpochLog> {
  return backend.openEpochLog({
    taskId: taskIdOf(pipelineName, partition),
    ownerId: ownerIdOf(pipelineName, number, partition),
    stateLog: { topic: stateLog, partition },
  });
}
