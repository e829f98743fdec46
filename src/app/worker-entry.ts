/**
 * Owns a worker thread's start: it opens its own backend, model and lookup from the configuration handed over, and
 * serves the supervisor. One of these runs in each thread; it touches payments, the main thread never does.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { directorySnapshotStore } from '../adapters/object-storage/directory-snapshot-store.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import { Task } from '../stream/runtime/task.js';
import { type FromWorker, serveWorker } from '../stream/runtime/worker.js';
import { openBackend } from './backend.js';
import type { Configuration } from './configuration/index.js';
import { openFraudPipeline } from './fraud-parts.js';
import { ROCKSDB_OPTIONS, taskOptions } from './task-options.js';

/** What the main thread hands to each worker. */
export interface WorkerSettings {
  readonly configuration: Configuration;
  readonly stateDirectory: string;
  readonly snapshotDirectory: string;
}

const { worker, data } = workerData as { readonly worker: number; readonly data: WorkerSettings };
if (parentPort === null) throw new Error('this module is the entry of a worker thread');

const port = parentPort;
const warn = (message: string): void => port.postMessage({ type: 'say', level: 'warn', message } satisfies FromWorker);

const backend = await openBackend(data.configuration, warn);
const fraud = await openFraudPipeline(data.configuration, warn);
const openStore = rocksDbStateStore(ROCKSDB_OPTIONS);
const snapshots = directorySnapshotStore({ directory: data.snapshotDirectory });
const options = taskOptions(data.configuration, data.stateDirectory);

await serveWorker({
  port,
  clock: systemClock,
  makeTask: (partition, say, trustsStore) =>
    new Task({
      partition,
      worker,
      definition: fraud.pipeline,
      backend,
      openStore,
      snapshots,
      disk: systemDisk,
      clock: systemClock,
      options,
      say,
      trustsStore,
    }),
  close: async () => {
    await fraud.close();
    await backend.close();
  },
});
