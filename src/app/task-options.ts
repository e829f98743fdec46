/** Owns the way from the configuration to what tasks need of it, and the memory that it adds up to. */
import { rocksDbMemoryBytes } from '../adapters/rocksdb/rocksdb-state-store.js';
import { cardState } from '../fraud/cards/state.js';
import type { StandbyOptions } from '../stream/runtime/standby-task.js';
import type { TaskOptions } from '../stream/runtime/task.js';
import { layoutBytes, MAX_KEY_BYTES } from '../stream/state/size.js';
import { type Configuration, parseS3Place } from './configuration/index.js';
import { S3_MEMORY_BYTES } from './objects.js';

/** Timers pending in a task at most: each is a copied key in memory. */
const MAX_TIMERS = 1_000_000;
const WRITE_BEHIND = { ageMs: 2_000, slotsAtOnce: 2_048 } as const;
/** How far a standby is behind at rest; each look costs the broker two small requests. */
const STANDBY_POLL_MS = 250;
export const ROCKSDB_OPTIONS = { writeBufferBytes: 16 * 1024 * 1024 } as const;

/** `configuration` has the topics of generation `generation`. */
export function taskOptions(configuration: Configuration, stateDirectory: string, generation: number): TaskOptions {
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
    generation,
    stateDirectory,
  };
}

/** A standby's keys in memory: an eighth of a task's, since only the state log asks for them. */
function standbyHotKeys({ memory }: Configuration): number {
  return Math.max(1_024, Math.floor(memory.hotKeys / 8));
}

/** What a standby needs to be ready for a task with `options`: little that is dirty, so that it stops quickly. */
export function standbyOptions(configuration: Configuration, options: TaskOptions): StandbyOptions {
  return {
    ...options,
    hotKeys: standbyHotKeys(configuration),
    writeBehind: { ageMs: 500, slotsAtOnce: 2_048 },
    pollMs: STANDBY_POLL_MS,
  };
}

/** Code, libraries and model, and the main thread's heap; measured: 110 MiB of files, 50 to 120 MiB of heap. */
const PROGRAM_MIB = 256;
/**
 * A worker's heap: measured to live on 40 to 60 MiB, and V8 spends some of what it may before it collects. Each task's
 * timers, at 200 B each, must reach their own limit first: its error says what to do.
 */
const HEAP_MIB = { base: 192, timersOfTask: 200, enough: 1_024 } as const;
/** The first stage's one thread: it keeps no timers. */
export const FIRST_STAGE_HEAP_MIB = 256;
const MIB = 1_048_576;

export interface MemoryPart {
  readonly name: string;
  readonly bytes: number;
}

/** What the settings may take, part by part, for `tasks` tasks in `workers` threads of this process. */
export function memoryParts(configuration: Configuration, tasks: number, workers: number): readonly MemoryPart[] {
  const heapBytes = workerHeapMiB(configuration, tasks, workers) * MIB;
  return [...fixedParts(configuration, tasks), { name: 'heaps of workers', bytes: workers * heapBytes }];
}

/** Most that V8's heap of one worker may take: an even share of what the budget leaves beside all else, within reason. */
export function workerHeapMiB(configuration: Configuration, tasks: number, workers: number): number {
  const taken = fixedParts(configuration, tasks).reduce((sum, { bytes }) => sum + bytes, 0);
  const left = configuration.memory.budgetMiB - taken / MIB;
  const least = HEAP_MIB.base + Math.ceil(tasks / workers) * HEAP_MIB.timersOfTask;
  return Math.max(least, Math.min(HEAP_MIB.enough, Math.floor(left / workers)));
}

function fixedParts(configuration: Configuration, tasks: number): readonly MemoryPart[] {
  const { memory, batch, merchantRisk, checkpoint, standbys } = configuration;
  const slot = layoutBytes(cardState) + MAX_KEY_BYTES + 60;
  return [
    { name: 'hot cards', bytes: tasks * memory.hotKeys * slot },
    // A unit is a task or a standby, but what a standby held may still be there when its task begins.
    ...(standbys === 0 ? [] : [{ name: 'standbys', bytes: tasks * standbyHotKeys(configuration) * slot }]),
    { name: 'state stores', bytes: tasks * rocksDbMemoryBytes(ROCKSDB_OPTIONS) },
    { name: 'read ahead', bytes: tasks * batch.readAheadBytes * 2 },
    { name: 'merchant-risk caches', bytes: tasks * merchantRisk.cacheSize * 120 },
    ...(parseS3Place(checkpoint.directory ?? '') === null ? [] : [{ name: 'S3', bytes: tasks * S3_MEMORY_BYTES }]),
    ...(configuration.keying.mode === 'repartition'
      ? [{ name: 'heap of the first stage', bytes: FIRST_STAGE_HEAP_MIB * MIB }]
      : []),
    { name: 'program and main thread', bytes: PROGRAM_MIB * MIB },
  ];
}
