/** Owns a worker thread of the reference service: the same core and stores as the product, another pipeline. */
import { parentPort, workerData } from 'node:worker_threads';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import { directoryObjects } from '../../src/adapters/object-storage/directory-objects.js';
import { objectSnapshotStore } from '../../src/adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../../src/adapters/rocksdb/rocksdb-state-store.js';
import { ROCKSDB_OPTIONS } from '../../src/app/task-options.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { systemDisk } from '../../src/stream/runtime/system-disk.js';
import { Task } from '../../src/stream/runtime/task.js';
import { serveWorker } from '../../src/stream/runtime/worker.js';
import { referencePipeline } from './reference-pipeline.js';
import type { ReferenceSettings } from './topics.js';

const { worker, data } = workerData as { readonly worker: number; readonly data: ReferenceSettings };
if (parentPort === null) throw new Error('this module is the entry of a worker thread');

const backend = await openKafkaBackend({
  brokers: data.brokers,
  clientId: 'bench-reference',
  transactionalIdPrefix: data.run,
  transactions: 'auto',
});
const definition = await referencePipeline(data.topics, data.model, data.threshold);

await serveWorker({
  port: parentPort,
  clock: systemClock,
  makeTask: ({ partition }, say, trustsStore) =>
    new Task({
      partition,
      worker,
      definition,
      backend,
      openStore: rocksDbStateStore(ROCKSDB_OPTIONS),
      snapshots: objectSnapshotStore(directoryObjects({ directory: `${data.directory}/checkpoints` })),
      disk: systemDisk,
      clock: systemClock,
      say,
      trustsStore,
      options: {
        startFrom: 'earliest',
        epoch: { promptMs: 20, maxMs: 100, idleMs: 250, maxRecords: 20_000, maxBytes: 4 << 20 },
        batchRecords: 2_048,
        readBufferBytes: 2 << 20,
        hotKeys: 131_072,
        maxTimers: 1_000_000,
        writeBehind: { ageMs: 2_000, slotsAtOnce: 2_048 },
        checkpoint: { intervalMs: 30_000, minPauseMs: 5_000, timeoutMs: 60_000, retained: 2, truncateLog: true },
        idleTimeoutMs: 0,
        stateLogTopic: data.topics.stateLog,
        stateDirectory: `${data.directory}/state`,
      },
    }),
  close: () => backend.close(),
});
