/**
 * Owns which topics the service needs and how they must fit together: as many state-log partitions as the source has,
 * since a task is a source partition with its own state log. Neighbours: `run.ts` at start, `fraud topics`.
 */
import { StreamError } from '../stream/errors.js';
import type { TopicAdmin, TopicSpec } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';
import { type Generation, isStateLogOf } from './generation.js';
import { repartitionLogsOf } from './repartition-task.js';

const DAY_MS = 86_400_000;
/** A dead letter is as large as the largest record that the source takes (1 MB by default), and its headers. */
const MAX_OUTPUT_BYTES = 2 * 1_048_576;

/** One partition a task; what no checkpoint needs any more is truncated by the task itself, never by age. */
export function stateLogSpec(name: string, partitions: number): TopicSpec {
  return { name, partitions, cleanup: 'delete', retentionMs: -1 };
}

/** The topics with the partition counts they get where they are missing. */
export function topicSpecs({ topics }: Pick<Configuration, 'topics'>, sourcePartitions: number): readonly TopicSpec[] {
  const partitions = sourcePartitions;
  const output = { partitions, cleanup: 'delete', retentionMs: 90 * DAY_MS, maxRecordBytes: MAX_OUTPUT_BYTES } as const;
  return [
    { name: topics.payments, partitions, cleanup: 'delete' },
    { name: topics.alerts, ...output },
    { name: topics.deadLetters, ...output },
    stateLogSpec(topics.stateLog, partitions),
    { name: topics.riskTable, partitions: 1, cleanup: 'compact' },
    // A rule set is one record, so that no task can ever hold half of one.
    { name: topics.rules, partitions: 1, cleanup: 'compact', maxRecordBytes: MAX_OUTPUT_BYTES },
    { name: topics.rollouts, partitions: 1, cleanup: 'compact' },
    { name: topics.labels, partitions, cleanup: 'delete', retentionMs: -1 },
    { name: topics.outboxLog, partitions: 1, cleanup: 'delete', retentionMs: -1 },
  ];
}

/**
 * Makes what is missing and checks what is there; returns how many tasks the generation has. `configuration` has the
 * topics of that generation. A source that has grown is read on as it was: `keying.ts` says when that ends.
 * Errors: 'topics-mismatch' when the source has fewer partitions than the state log.
 */
export async function prepareTopics(
  admin: TopicAdmin,
  configuration: Configuration,
  { number, partitions }: Pick<Generation, 'number' | 'partitions'>,
  say: (message: string) => void,
): Promise<number> {
  const { topics } = configuration;
  const made = await admin.ensure(topicSpecs(configuration, partitions));
  if (made.length > 0) say(`made topics ${made.join(', ')}`);
  const source = await admin.partitionCount(topics.payments);
  const stateLog = await admin.partitionCount(topics.stateLog);
  if (source !== null && stateLog !== null && source >= stateLog) return stateLog;
  throw new StreamError(
    'topics-mismatch',
    `${topics.payments} has ${source} partitions, ${topics.stateLog}, the state log of generation ${number}, has ${stateLog}: a task of each has nothing to read. ` +
      'To go on with fewer partitions, put that topic back and bring the tasks over: fraud rescale --partitions N --source TOPIC. ' +
      'If the topic was made anew: fraud start --from-savepoint NAME --savepoint-offsets start, or start over with --fresh',
  );
}

/**
 * For `--fresh` on Kafka, of the topics `names` that there are: what this process's roles begin anew. A detector's are
 * its outputs and its state, of all generations; where the API's database is the embedded one, which is emptied as well,
 * so are the topics that it fills. Payments stay, and labels, which are people's work; so do the rules, the risk table
 * and the relay's position of a Postgres that is kept.
 */
export function topicsToForget(
  { topics, roles, postgres, keying }: Configuration,
  names: readonly string[],
): readonly string[] {
  const stateLogs = names.filter((name) => isStateLogOf(topics.stateLog, name));
  const firstStage = names.filter((name) => name.startsWith(repartitionLogsOf(topics.stateLog)));
  const keyed = keying.mode === 'repartition' ? [topics.byCard, ...firstStage] : [];
  const detectors = [topics.alerts, topics.deadLetters, ...stateLogs, topics.rollouts, ...keyed];
  const databases = [topics.rules, topics.riskTable, topics.outboxLog];
  return [
    ...(roles.includes('detector') ? detectors : []),
    ...(roles.includes('api') && postgres.url === undefined ? databases : []),
  ].filter((name) => names.includes(name));
}

/** Deletes {@link topicsToForget}. */
export async function forgetTopics(admin: TopicAdmin, configuration: Configuration): Promise<void> {
  const existing = topicsToForget(configuration, await admin.names());
  if (existing.length > 0) await admin.delete(existing);
}
