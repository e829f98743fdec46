/**
 * Owns the first stage of a process with `keying.mode` repartition: one worker thread with a task for each partition of
 * each payments topic, found as they come, and the topic that it writes. Neighbours: `run.ts` starts it beside the
 * detector, which reads that topic; `keying.ts` says which topics are which.
 */
import type { StreamError } from '../stream/errors.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import type { TaskStatus } from '../stream/runtime/status.js';
import { Supervisor } from '../stream/runtime/supervisor.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { matchingTopics, unitName, unitsOf } from '../stream/source-partition.js';
import type { Configuration } from './configuration/index.js';
import type { Generation } from './generation.js';
import { paymentTopics } from './keying.js';
import type { RepartitionSettings } from './repartition-entry.js';
import { repartitionLogsOf } from './repartition-task.js';
import { FIRST_STAGE_HEAP_MIB } from './task-options.js';

export interface RepartitionParts {
  /** As it was given, not that of detection. */
  readonly configuration: Configuration;
  /** That reads what is written here. */
  readonly generation: Generation;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  onFatal(error: StreamError): void;
  say(level: 'info' | 'warn', message: string): void;
}

/** The first stage, running. */
export interface Repartition {
  tasks(): readonly TaskStatus[];
  stop(): Promise<void>;
}

export async function startRepartition(parts: RepartitionParts): Promise<Repartition> {
  const { configuration, generation, backend, admin, onFatal, say } = parts;
  const { pipeline, keying, topics } = configuration;
  const source = paymentTopics(configuration);
  if ('topics' in source && source.topics.includes(topics.payments)) {
    await admin.ensure([{ name: topics.payments, partitions: topics.partitions, cleanup: 'delete' }]);
  }
  const workerData: RepartitionSettings = { configuration, generation, fromLatest: await fromLatest(parts) };
  const supervisor = new Supervisor({
    entry: new URL('./repartition-entry.js', import.meta.url),
    workerData,
    workers: 1,
    heapMiB: FIRST_STAGE_HEAP_MIB,
    assignment: await backend.openAssignment({
      group: `${pipeline.name}.repartition`,
      source,
      discoveryMs: keying.discoveryMs,
      claim: `the first stage of ${pipeline.name}, which writes ${topics.byCard}`,
    }),
    clock: systemClock,
    onFatal,
    say,
  });
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.stop(); // the worker, if it did come up
    throw error;
  }
  // What it passes on is no alert.
  const tasks = () => supervisor.tasks.map((task) => ({ ...task, alerts: 0 }));
  return { tasks, stop: () => supervisor.stop() };
}

/**
 * With `pipeline.startFrom` latest, at the pipeline's very first start: the units there are now. Any that comes later
 * begins at its start, or what was written before it was found would be lost.
 */
async function fromLatest({ configuration, admin }: RepartitionParts): Promise<readonly string[]> {
  if (configuration.pipeline.startFrom === 'earliest') return [];
  const names = await admin.names();
  const logs = repartitionLogsOf(configuration.topics.stateLog);
  if (names.some((name) => name.startsWith(logs))) return [];
  const source = paymentTopics(configuration);
  const topics = 'topics' in source ? source.topics : matchingTopics(source.pattern, names);
  const units = topics.map(async (topic) => unitsOf(topic, (await admin.partitionCount(topic)) ?? 0));
  return (await Promise.all(units)).flat().map(unitName);
}
