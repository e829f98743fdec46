/**
 * Owns the start of the first stage's worker thread: opens the log and the payments' decoder and serves the supervisor.
 * Neighbours: `repartition.ts` starts it, `repartition-task.ts` is what it runs, `worker-entry.ts` is the second stage's.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { objectSnapshotStore } from '../adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { tokeniseCard } from '../fraud/payments/card-token.js';
import { cardRepartition } from '../fraud/repartition.js';
import { taskIdOf } from '../stream/pipeline/pipeline.js';
import type { SourcePartition } from '../stream/ports.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import { Task, type TaskOptions } from '../stream/runtime/task.js';
import { type FromWorker, serveWorker } from '../stream/runtime/worker.js';
import { unitName } from '../stream/source-partition.js';
import { openBackend } from './backend.js';
import type { Configuration } from './configuration/index.js';
import { boundToGeneration } from './first-stage-end.js';
import type { Generation } from './generation.js';
import { openedOnce } from './keying.js';
import { openObjects } from './objects.js';
import { RepartitionTask } from './repartition-task.js';
import { openPaymentDecoder } from './schema-registry.js';
import { taskOptions } from './task-options.js';
import { taskPlacesOf } from './task-places.js';

/** What the main thread hands to the thread. */
export interface RepartitionSettings {
  /** As it was given: its payments topic is one that payments come in by. */
  readonly configuration: Configuration;
  /** That reads what is written here. */
  readonly generation: Generation;
  /** Units that begin at their end, where they have not begun yet; all others begin at their start. */
  readonly fromLatest: readonly string[];
}

const { worker, data } = workerData as { readonly worker: number; readonly data: RepartitionSettings };
if (parentPort === null) throw new Error('this module is the entry of a worker thread');

const { configuration } = data;
const { pipeline, topics, deadLetters, cardToken } = configuration;
const port = parentPort;
const warn = (message: string): void => port.postMessage({ type: 'say', level: 'warn', message } satisfies FromWorker);

const backend = await openBackend(configuration, warn);
const tokenise = cardToken.secret === undefined ? undefined : tokeniseCard(cardToken.secret);
const format = await openPaymentDecoder(configuration, tokenise, warn);
/** A position and nothing else is kept in it. */
const openStore = rocksDbStateStore({ writeBufferBytes: 1_048_576 });
const fromLatest = new Set(data.fromLatest);
const bound = boundToGeneration(backend, pipeline.name, data.generation);
const openAdmin = openedOnce(() => backend.openAdmin());

function optionsFor(unit: SourcePartition, stateLogTopic: string, stateDirectory: string): TaskOptions {
  const base = taskOptions(configuration, stateDirectory, 1);
  return {
    ...base,
    startFrom: fromLatest.has(unitName(unit)) ? 'latest' : 'earliest',
    hotKeys: 1_024,
    maxTimers: 1,
    idleTimeoutMs: 0,
    stateLogTopic,
  };
}

await serveWorker({
  port,
  clock: systemClock,
  makeTask: (unit, say, trustsStore) => {
    const definition = cardRepartition({
      pipeline: pipeline.name,
      topic: unit.topic,
      byCardTopic: topics.byCard,
      decoder: format.decoder,
      deadLettersTopic: topics.deadLetters,
      deadLetterLimits: deadLetters,
    });
    return new RepartitionTask({
      taskId: taskIdOf(definition.name, unit.partition),
      unit,
      worker,
      stateLog: topics.stateLog,
      openAdmin,
      makeTask: async (stateLog, identity) => {
        const { stateDirectory, snapshotPlace } = taskPlacesOf(configuration, identity);
        return new Task({
          partition: unit.partition,
          worker,
          definition,
          backend: bound,
          openStore,
          snapshots: objectSnapshotStore(await openObjects(snapshotPlace, configuration)),
          disk: systemDisk,
          clock: systemClock,
          options: optionsFor(unit, stateLog, stateDirectory),
          say,
          trustsStore,
        });
      },
      say,
    });
  },
  close: async () => {
    await format.close();
    await backend.close();
  },
});
