/**
 * Owns which generation of the pipeline runs: where its state log is, which topic it reads, and how a start finds it.
 * A generation's tasks end with a seal in their state log, which names the generation that goes on; the first one has the
 * configured names. Nothing else is kept anywhere: whoever reaches the log finds the way.
 * Neighbours: `new-generation.ts` makes the next one, `run.ts` and the commands follow the seals with what is here.
 *
 *   g1 fraud.state ──sealed──► g2 fraud.state-g2 ──sealed──► g3 … ──not sealed: this one runs
 *
 * N1 A generation runs only once all of its tasks are seeded; until then the start is refused, and the command that was
 *    making it is run again, or undone.
 * N2 A task is seeded only by the seed of the savepoint that the seals name: others are leftovers of earlier attempts.
 * N3 State logs of later generations without the first one's mean that the way to them is lost, and not a new pipeline.
 */
import { readSeal } from '../stream/checkpoint/seal.js';
import type { Seal } from '../stream/epoch/delta.js';
import { firstRecord } from '../stream/epoch/log-ends.js';
import { StreamError } from '../stream/errors.js';
import { ownerIdOf, taskIdOf } from '../stream/pipeline/pipeline.js';
import type { EpochLog, LogBackend, TopicAdmin } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';

export interface Generation {
  /** 1, 2, … */
  readonly number: number;
  readonly stateLog: string;
  /** The topic that its tasks read. */
  readonly source: string;
  /** Its tasks, and the partitions of its state log. */
  readonly partitions: number;
  /** Name of the savepoint that it began with; null for the first one. */
  readonly seededFrom: string | null;
}

/** A generation that is being made: some tasks of the one before are sealed, or some of its own are not seeded yet. */
export interface PendingGeneration {
  readonly next: Generation;
  /** Partitions of the current generation that are sealed. */
  readonly sealed: readonly number[];
  /** Partitions of the next one that are seeded. */
  readonly seeded: readonly number[];
}

export interface FoundGeneration {
  /** From the first one to `current`. */
  readonly lineage: readonly Generation[];
  /** The newest one that is whole. */
  readonly current: Generation;
  readonly pending: PendingGeneration | null;
}

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
  const lineage: Generation[] = [];
  let current = await firstGeneration(parts);
  for (;;) {
    lineage.push(current);
    const seals = await sealsOf(parts, current);
    const next = nextOf(current, seals);
    if (next === null) {
      if (current.number === 1) await expectFirst(parts, current);
      return { lineage, current, pending: null };
    }
    const sealed = seals.flatMap((seal, partition) => (seal === null ? [] : [partition]));
    const seeded = await seededPartitions(parts, next);
    const isReady = sealed.length === current.partitions && seeded.length === next.partitions;
    if (!isReady) return { lineage, current, pending: { next, sealed, seeded } };
    current = next;
  }
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

/** By partition, the seal at the end of the task's log; null for a task that goes on, or whose log is not made yet. */
async function sealsOf(parts: LogParts, generation: Generation): Promise<readonly (Seal | null)[]> {
  if ((await parts.admin.partitionCount(generation.stateLog)) === null) return Array(generation.partitions).fill(null);
  return overTasks(parts, generation, (log) => readSeal(log));
}

function nextOf(current: Generation, seals: readonly (Seal | null)[]): Generation | null {
  const named = seals.filter((seal) => seal !== null);
  if (named.length === 0) return null;
  const [first] = named;
  const { generation: number, stateLog, source, partitions, savepoint: seededFrom } = first;
  const agree = named.every((seal) => JSON.stringify(seal) === JSON.stringify(first));
  if (agree && number === current.number + 1) return { number, stateLog, source, partitions, seededFrom };
  throw new StreamError(
    'generations-torn',
    `The seals in ${current.stateLog} do not agree on what follows generation ${current.number}: ${JSON.stringify(named)}. ` +
      "Something else than this program wrote there; look at that topic with the log's own tools",
  );
}

/** Partitions of the generation whose tasks are seeded. */
async function seededPartitions(parts: LogParts, generation: Generation): Promise<readonly number[]> {
  if ((await parts.admin.partitionCount(generation.stateLog)) === null) return [];
  const seeded = await overTasks(parts, generation, (log) => isSeeded(log, generation));
  return seeded.flatMap((is, partition) => (is ? [partition] : []));
}

/**
 * Whether the task began with the savepoint that its generation begins with (N2): the seed is the first record. Tasks
 * truncate behind later checkpoints alone, so what was truncated was seeded.
 */
export async function isSeeded(log: EpochLog, { number, seededFrom }: Generation): Promise<boolean> {
  const { start } = await log.stateLogRange();
  if (start > 0) return true;
  const first = await firstRecord(log);
  return first?.kind === 'seed' && first.seed.generation === number && first.seed.savepoint === seededFrom;
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
