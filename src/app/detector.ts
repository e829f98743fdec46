/**
 * Owns the detector role of a process: worker threads under a supervisor, and the progress published for lag displays.
 * Neighbours: `run.ts` starts it, the API and the terminal read its status.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { PIPELINE_VERSION } from '../fraud/pipeline.js';
import type { StreamError } from '../stream/errors.js';
import type { LogBackend, TopicAdmin } from '../stream/ports.js';
import type { PipelineStatus } from '../stream/runtime/status.js';
import { Supervisor } from '../stream/runtime/supervisor.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import type { Configuration } from './configuration/index.js';
import type { WorkerSettings } from './worker-entry.js';

export interface DetectorParts {
  readonly configuration: Configuration;
  readonly backend: LogBackend;
  readonly admin: TopicAdmin;
  readonly sourcePartitions: number;
  readonly workers: number;
  onFatal(error: StreamError): void;
  say(level: 'info' | 'warn', message: string): void;
}

export interface Detector {
  status(): PipelineStatus;
  stop(): Promise<void>;
}

const PROGRESS_EVERY_MS = 5_000;

export async function startDetector(parts: DetectorParts): Promise<Detector> {
  const { configuration, backend, admin, say } = parts;
  const { topics, kafka, pipeline } = configuration;
  // Local state belongs to one very state log: another cluster or a topic made anew gets directories of its own.
  const identity = createHash('sha256')
    .update(await admin.identity(topics.stateLog))
    .digest('hex')
    .slice(0, 16);
  const workerData: WorkerSettings = {
    configuration,
    stateDirectory: join(configuration.dataDir, 'state', identity),
    snapshotDirectory: join(configuration.checkpoint.directory ?? join(configuration.dataDir, 'checkpoints'), identity),
  };
  if (backend.kind === 'kafka' && configuration.checkpoint.directory === undefined) {
    say(
      'warn',
      'checkpoints are kept on this machine alone, so the state log is never truncated and grows without end; ' +
        'give --checkpoint-directory a directory that every process of this pipeline reaches',
    );
  }
  const supervisor = new Supervisor({
    entry: new URL('./worker-entry.js', import.meta.url),
    workerData,
    workers: parts.workers,
    assignment: await backend.openAssignment({ group: kafka.group, topic: topics.payments }),
    clock: systemClock,
    onFatal: parts.onFatal,
    say,
  });
  const startedAt = Date.now();
  const status = (): PipelineStatus => ({
    name: pipeline.name,
    version: PIPELINE_VERSION,
    backend: backend.kind,
    startedAt,
    sourcePartitions: parts.sourcePartitions,
    tasks: supervisor.tasks,
    workers: supervisor.workers,
  });
  try {
    await supervisor.start();
  } catch (error) {
    await supervisor.stop(); // the workers that did come up
    throw error;
  }
  const publish = async () => {
    const offsets = new Map(
      supervisor.tasks.filter(({ epoch }) => epoch >= 0).map((task) => [task.partition, task.committedOffset]),
    );
    if (offsets.size === 0) return;
    // For displays alone (I1): a failure is told and changes nothing.
    await admin
      .publishProgress(kafka.group, topics.payments, offsets)
      .catch((error: unknown) =>
        say('warn', `publishing progress failed: ${error instanceof Error ? error.message : String(error)}`),
      );
  };
  const ticker = setInterval(() => void publish(), PROGRESS_EVERY_MS);
  return {
    status,
    stop: async () => {
      clearInterval(ticker);
      await supervisor.stop();
      await publish();
    },
  };
}
