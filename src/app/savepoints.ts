/**
 * Owns savepoints as operators meet them: where they are kept, what they are called, and taking one of a generation, be
 * the service running beside it or not. Neighbours: `stream/checkpoint/savepoint.ts` makes them, `cli/savepoint.ts` is
 * the command, `new-generation.ts` begins tasks from them.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { objectSnapshotStore } from '../adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { cardState } from '../fraud/cards/state.js';
import { PIPELINE_VERSION } from '../fraud/pipeline-version.js';
import { writeSavepoint } from '../stream/checkpoint/savepoint.js';
import type { SavepointManifest } from '../stream/checkpoint/savepoint-manifest.js';
import { openTaskImage, type TaskImage } from '../stream/checkpoint/task-image.js';
import { taskIdOf } from '../stream/pipeline/pipeline.js';
import type { Clock, ObjectStore } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import type { Configuration } from './configuration/index.js';
import { type Generation, type LogParts, openTaskLog } from './generation.js';
import { openObjects } from './objects.js';
import { ROCKSDB_OPTIONS } from './task-options.js';
import { taskPlaces } from './task-places.js';
import { inWorkDirectory } from './work-directory.js';

/** Keys that an image holds in columns at a time; images are built one after the other. */
const MOST_HOT_KEYS = 65_536;

/** How a piece of work tells of itself, and is asked to end. */
export interface Work {
  readonly clock: Clock;
  /** Ends it at the next safe place. */
  readonly signal: AbortSignal;
  onProgress(message: string): void;
}

/** Where savepoints are kept: a directory, or `s3://bucket/prefix`. */
export function savepointPlace({ savepoints, dataDir }: Pick<Configuration, 'savepoints' | 'dataDir'>): string {
  return savepoints.directory ?? join(dataDir, 'savepoints');
}

/** To the millisecond: several instances stop within one second. `why` is one word more, such as `stop`. */
export function savepointName(pipeline: string, generation: number, nowMs: number, why = ''): string {
  const time = new Date(nowMs).toISOString().replace(/[-:.]/g, '');
  return `${pipeline}-g${generation}-${why === '' ? '' : `${why}-`}${time}`;
}

export interface TakingSavepoint extends LogParts, Work {
  readonly generation: Generation;
  readonly name: string;
  /** Holds savepoints and nothing else. */
  readonly objects: ObjectStore;
  readonly replaceUnfinished?: boolean;
  /** Told of each task's image while it is open. */
  look?(image: TaskImage, partition: number): Promise<void>;
}

/**
 * Takes a savepoint of a generation from its state logs and checkpoints, without disturbing whoever runs it. Errors:
 * those of `writeSavepoint`; StoppedError once the signal is aborted.
 */
export async function takeSavepoint(parts: TakingSavepoint): Promise<SavepointManifest> {
  const { configuration, backend, admin, generation, name, objects, clock, signal, onProgress } = parts;
  const { snapshotPlace } = await taskPlaces(configuration, admin, generation.stateLog);
  const snapshots = objectSnapshotStore(await openObjects(snapshotPlace, configuration));
  const identity = await admin.identity(generation.source);
  const shouldStop = () => signal.aborted;
  return inWorkDirectory(configuration.dataDir, (directory) =>
    writeSavepoint({
      name,
      objects,
      pipeline: configuration.pipeline.name,
      pipelineVersion: PIPELINE_VERSION,
      generation: generation.number,
      source: { topic: generation.source, identity, partitions: generation.partitions },
      layout: cardState,
      clock,
      onProgress,
      shouldStop,
      replaceUnfinished: parts.replaceUnfinished ?? false,
      attempt: randomUUID().slice(0, 8),
      openImage: async (partition) => {
        const epochLog = await openTaskLog(backend, configuration.pipeline.name, generation, partition);
        try {
          const image = await openTaskImage({
            taskId: taskIdOf(configuration.pipeline.name, partition),
            epochLog,
            snapshots,
            openStore: rocksDbStateStore(ROCKSDB_OPTIONS),
            disk: systemDisk,
            directory,
            layout: cardState,
            hotKeys: Math.min(MOST_HOT_KEYS, configuration.memory.hotKeys),
            clock,
            onProgress,
            shouldStop,
          });
          await lookAt(image, partition, parts);
          return image;
        } finally {
          await epochLog.close();
        }
      },
    }),
  );
}

async function lookAt(image: TaskImage, partition: number, { look }: TakingSavepoint): Promise<void> {
  try {
    await look?.(image, partition);
  } catch (error) {
    await image.close();
    throw error;
  }
}

/** What a stopped process leaves under a name: of all tasks of the pipeline, whoever ran them. */
export async function savepointOnStop(
  parts: LogParts & {
    readonly generation: Generation;
    say(level: 'info' | 'warn', message: string): void;
  },
): Promise<void> {
  const { configuration, generation, say } = parts;
  const objects = await openObjects(savepointPlace(configuration), configuration);
  const name = savepointName(configuration.pipeline.name, generation.number, systemClock.now(), 'stop');
  const { tasks } = await takeSavepoint({
    ...parts,
    name,
    objects,
    clock: systemClock,
    signal: new AbortController().signal,
    onProgress: (message) => say('info', message),
  });
  const keys = tasks.reduce((sum, task) => sum + task.keys, 0);
  say('info', `savepoint ${name} in ${objects.place}: ${keys} keys`);
}
