/** Owns the way from the configuration to what tasks need of it, and the memory that it adds up to. */
import { rocksDbMemoryBytes } from '../adapters/rocksdb/rocksdb-state-store.js';
import { cardState } from '../fraud/cards/state.js';
import type { TaskOptions } from '../stream/runtime/task.js';
import { layoutBytes, MAX_KEY_BYTES } from '../stream/state/size.js';
import type { Configuration } from './configuration/index.js';

/** Timers pending in a task at most: each is a copied key in memory. */
const MAX_TIMERS = 1_000_000;
const WRITE_BEHIND = { ageMs: 2_000, slotsAtOnce: 2_048 } as const;
export const ROCKSDB_OPTIONS = { writeBufferBytes: 16 * 1024 * 1024 } as const;

export function taskOptions(configuration: Configuration, stateDirectory: string): TaskOptions {
  const { epoch, batch, pipeline, memory, checkpoint, watermark, topics } = configuration;
  return {
    startFrom: pipeline.startFrom,
    epoch: {
      promptMs: epoch.alertMs,
      maxMs: epoch.maxMs,
      idleMs: epoch.idleMs,
      maxRecords: epoch.maxPayments,
      maxBytes: epoch.maxBytes,
    },
    batchRecords: batch.maxRecords,
    readBufferBytes: batch.readAheadBytes,
    hotKeys: memory.hotKeys,
    maxTimers: MAX_TIMERS,
    writeBehind: WRITE_BEHIND,
    checkpoint: {
      intervalMs: checkpoint.intervalMs,
      minPauseMs: checkpoint.minPauseMs,
      timeoutMs: checkpoint.timeoutMs,
      retained: checkpoint.retained,
      truncateLog: configuration.backend === 'embedded' || checkpoint.directory !== undefined,
    },
    idleTimeoutMs: watermark.idleTimeoutMs,
    stateLogTopic: topics.stateLog,
    stateDirectory,
  };
}

export interface MemoryPart {
  readonly name: string;
  readonly bytes: number;
}

/** What the settings may take, part by part, for `tasks` tasks in this process. */
export function memoryParts(configuration: Configuration, tasks: number): readonly MemoryPart[] {
  const { memory, batch, merchantRisk } = configuration;
  const slot = layoutBytes(cardState) + MAX_KEY_BYTES + 60;
  return [
    { name: 'hot cards', bytes: tasks * memory.hotKeys * slot },
    { name: 'state stores', bytes: tasks * rocksDbMemoryBytes(ROCKSDB_OPTIONS) },
    { name: 'read ahead', bytes: tasks * batch.readAheadBytes * 2 },
    { name: 'merchant-risk caches', bytes: tasks * merchantRisk.cacheSize * 120 },
  ];
}
