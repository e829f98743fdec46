/**
 * Owns which topics the service needs and how they must fit together: as many state-log partitions as the source has,
 * since a task is a source partition with its own state log. Neighbours: `run.ts` at start, `fraud topics`.
 */
import { StreamError } from '../stream/errors.js';
import type { TopicAdmin, TopicSpec } from '../stream/ports.js';
import type { Configuration } from './configuration/index.js';

const DAY_MS = 86_400_000;
/** A dead letter is as large as the largest record that the source takes (1 MB by default), and its headers. */
const MAX_OUTPUT_BYTES = 2 * 1_048_576;

/** The topics with the partition counts they get where they are missing. */
export function topicSpecs({ topics }: Pick<Configuration, 'topics'>, sourcePartitions: number): readonly TopicSpec[] {
  const partitions = sourcePartitions;
  const output = { partitions, cleanup: 'delete', retentionMs: 90 * DAY_MS, maxRecordBytes: MAX_OUTPUT_BYTES } as const;
  return [
    { name: topics.payments, partitions, cleanup: 'delete' },
    { name: topics.alerts, ...output },
    { name: topics.deadLetters, ...output },
    // One partition a task; what no checkpoint needs any more is truncated by the task itself, never by age.
    { name: topics.stateLog, partitions, cleanup: 'delete', retentionMs: -1 },
    { name: topics.riskTable, partitions: 1, cleanup: 'compact' },
    // A rule set is one record, so that no task can ever hold half of one.
    { name: topics.rules, partitions: 1, cleanup: 'compact', maxRecordBytes: MAX_OUTPUT_BYTES },
    { name: topics.rollouts, partitions: 1, cleanup: 'compact' },
    { name: topics.labels, partitions, cleanup: 'delete', retentionMs: -1 },
    { name: topics.outboxLog, partitions: 1, cleanup: 'delete', retentionMs: -1 },
  ];
}

/**
 * Makes what is missing and checks what is there; returns the source's partition count.
 * Errors: 'topics-mismatch' when the state log has another partition count than the source.
 */
export async function prepareTopics(
  admin: TopicAdmin,
  configuration: Configuration,
  say: (message: string) => void,
): Promise<number> {
  const { topics } = configuration;
  const existing = await admin.partitionCount(topics.payments);
  const sourcePartitions = existing ?? topics.partitions;
  const made = await admin.ensure(topicSpecs(configuration, sourcePartitions));
  if (made.length > 0) say(`made topics ${made.join(', ')}`);
  const stateLogPartitions = await admin.partitionCount(topics.stateLog);
  if (stateLogPartitions !== sourcePartitions) {
    throw new StreamError(
      'topics-mismatch',
      `${topics.payments} has ${sourcePartitions} partitions, the state log ${topics.stateLog} has ${stateLogPartitions}: ` +
        'they must be equal. Name another state log with --topics-state-log, or start over with --fresh',
    );
  }
  return sourcePartitions;
}

/**
 * For `--fresh` on Kafka: what this process's roles begin anew. A detector's are its outputs and its state; where the API's
 * database is the embedded one, which is emptied as well, so are the topics that it fills. Payments stay, and labels,
 * which are people's work; so do the rules, the risk table and the relay's position of a Postgres that is kept.
 */
export function topicsToForget({ topics, roles, postgres }: Configuration): readonly string[] {
  const detectors = [topics.alerts, topics.deadLetters, topics.stateLog, topics.rollouts];
  const databases = [topics.rules, topics.riskTable, topics.outboxLog];
  return [
    ...(roles.includes('detector') ? detectors : []),
    ...(roles.includes('api') && postgres.url === undefined ? databases : []),
  ];
}

/** Deletes {@link topicsToForget}. */
export async function forgetTopics(admin: TopicAdmin, configuration: Configuration): Promise<void> {
  const existing: string[] = [];
  for (const topic of topicsToForget(configuration)) {
    if ((await admin.partitionCount(topic)) !== null) existing.push(topic);
  }
  if (existing.length > 0) await admin.delete(existing);
}
