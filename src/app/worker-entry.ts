/**
 * Owns a worker thread's start: it loads its code and opens its own model and lookup at once, its own backend when the
 * main thread has found which generation runs and where its state is, and serves the supervisor. One of these runs in
 * each thread; it touches payments, the main thread never does.
 */
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { objectSnapshotStore } from '../adapters/object-storage/snapshot-store.js';
import { loadRocksDb } from '../adapters/rocksdb/binding.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { lateSettings } from '../stream/runtime/late-settings.js';
import { StandbyTask } from '../stream/runtime/standby-task.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import { Task } from '../stream/runtime/task.js';
import { type FromWorker, serveWorker } from '../stream/runtime/worker.js';
import { loadBackend, openBackend } from './backend.js';
import { keepCompiledCode } from './code-cache.js';
import type { Configuration } from './configuration/index.js';
import { openFraudParts } from './fraud-parts.js';
import { sourceKeysOf } from './keying.js';
import { openObjects } from './objects.js';
import { ROCKSDB_OPTIONS, standbyOptions, taskOptions } from './task-options.js';

/** What each worker is started with. */
export interface EarlySettings {
  /** As configured: which topics the generation has is not known yet. */
  readonly configuration: Configuration;
  /** Where compiled code is kept between starts. */
  readonly codeDirectory: string;
}

/** What the main thread hands to each worker once the log is open. */
export interface WorkerSettings {
  readonly configuration: Configuration;
  /** Of the pipeline; its topics are in the configuration. */
  readonly generation: number;
  /** Partitions of the source that the generation counts. */
  readonly sourcePartitions: number;
  readonly stateDirectory: string;
  /** A directory, or `s3://bucket/prefix`. */
  readonly snapshotPlace: string;
}

const { worker, data, door } = workerData as {
  readonly worker: number;
  readonly data: EarlySettings;
  readonly door: MessagePort;
};
if (parentPort === null) throw new Error('this module is the entry of a worker thread');

const port = parentPort;
const warn = (message: string): void => port.postMessage({ type: 'say', level: 'warn', message } satisfies FromWorker);

const fraud = await openFraudParts(data.configuration, warn);
await loadBackend(data.configuration);
loadRocksDb();
keepCompiledCode(); // while it waits anyway
const settings = await lateSettings<WorkerSettings>(door);
// Null: the process stops before it knew where its state is.
await (settings === null ? fraud.close() : serve(settings));

async function serve(settings: WorkerSettings): Promise<void> {
  const { configuration, generation, sourcePartitions, stateDirectory, snapshotPlace } = settings;
  const [backend, objects] = await Promise.all([
    openBackend(configuration, warn),
    openObjects(snapshotPlace, configuration),
  ]);
  const definition = fraud.pipelineOn(configuration.topics);
  const openStore = rocksDbStateStore(ROCKSDB_OPTIONS);
  const snapshots = objectSnapshotStore(objects);
  const options = taskOptions(configuration, stateDirectory, generation);
  const sourceKeys = sourceKeysOf(configuration, sourcePartitions, () => backend.openAdmin());
  await serveWorker({
    port,
    clock: systemClock,
    makeTask: ({ partition }, say, trustsStore) =>
      new Task({
        partition,
        worker,
        definition,
        backend,
        openStore,
        snapshots,
        disk: systemDisk,
        clock: systemClock,
        options,
        say,
        trustsStore,
        sourceKeys,
      }),
    makeStandby: ({ partition }, say, trustsStore) =>
      new StandbyTask({
        partition,
        worker,
        pipelineName: definition.name,
        layout: definition.layout,
        backend,
        openStore,
        snapshots,
        disk: systemDisk,
        clock: systemClock,
        options: standbyOptions(configuration, options),
        trustsStore,
        say,
      }),
    close: async () => {
      await fraud.close();
      await backend.close();
    },
  });
}
