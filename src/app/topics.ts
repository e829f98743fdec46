/**
 * Owns which topics the service needs and how they must fit together: as many state-log partitions as the source has,
 * since a task is a source partition with its own state log. Neighbours: `run.ts` at start, `fraud topics`.
 */
import { StreamError } from '../stream/errors.js';
import type { TopicAdmin } from '../stream/ports.js';
import { pipelineTopics } from './backend.js';
import type { Configuration } from './configuration/index.js';

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
  const made = await admin.ensure(pipelineTopics(configuration, sourcePartitions));
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

/** For `--fresh` on Kafka: removes what the pipeline itself writes. The payments stay. */
export async function forgetTopics(admin: TopicAdmin, { topics }: Configuration): Promise<void> {
  const own = [topics.alerts, topics.deadLetters, topics.stateLog];
  const existing: string[] = [];
  for (const topic of own) if ((await admin.partitionCount(topic)) !== null) existing.push(topic);
  if (existing.length > 0) await admin.delete(existing);
}
