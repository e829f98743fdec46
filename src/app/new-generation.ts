/**
 * Owns making the next generation of a pipeline, for `fraud rescale` and for a start from a savepoint: ends the present
 * one with seals, seeds the next one's tasks, and takes all of that back. Every step finds out from the log what was done
 * before, so that a command that was killed goes on when it is run again.
 * Neighbours: `rescale.ts` and `from-savepoint.ts` are the two ways to it, `generation.ts` finds what is there.
 *
 *   seal every task ──► (savepoint of what is sealed) ──► topics ──► seed every task ──► whole: the next start follows
 *         └── until it is whole: take back (new state log deleted, then tasks opened again)
 *
 * M1 Task 0 is sealed first and opened again last: its seal says which plan holds, should two commands race.
 */

import { objectSnapshotStore } from '../adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { cardState } from '../fraud/cards/state.js';
import type { StoredManifest } from '../stream/checkpoint/savepoint-manifest.js';
import type { Savepoints } from '../stream/checkpoint/savepoints.js';
import { sealTask } from '../stream/checkpoint/seal.js';
import { readBeginning, seedTasks } from '../stream/checkpoint/seed.js';
import type { Seal } from '../stream/epoch/delta.js';
import { FencedError, StreamError } from '../stream/errors.js';
import { taskIdOf } from '../stream/pipeline/pipeline.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import { stopped } from './drain.js';
import {
  type Generation,
  type LogParts,
  openTaskLog,
  overTasks,
  type PendingGeneration,
  stateLogOf,
} from './generation.js';
import { openObjects } from './objects.js';
import type { Work } from './savepoints.js';
import { ROCKSDB_OPTIONS } from './task-options.js';
import { taskPlaces } from './task-places.js';
import { stateLogSpec } from './topics.js';
import { inWorkDirectory } from './work-directory.js';

export interface MakingGeneration extends LogParts, Work {
  readonly current: Generation;
  readonly next: Generation;
}

const TOPIC_GONE_MS = 30_000;
const LOOK_AGAIN_MS = 100;
/** Times that a task is taken over in a row. */
const MAX_TRIES = 10;

/** What follows `current`, where nothing is being made yet. */
export function planned(
  configured: string,
  current: Generation,
  plan: Pick<Generation, 'source' | 'partitions'> & { readonly savepoint: string },
): Generation {
  const number = current.number + 1;
  const { source, partitions, savepoint } = plan;
  return { number, stateLog: stateLogOf(configured, number), source, partitions, seededFrom: savepoint };
}

/**
 * On Kafka the seeds' checkpoints are all that there is of the state before the seed: a process elsewhere that did not
 * reach them would stop with 'state-lost'. So their place must be named.
 */
export function expectSharedCheckpoints({ configuration, backend }: Pick<LogParts, 'configuration' | 'backend'>): void {
  if (backend.kind !== 'kafka' || configuration.checkpoint.directory !== undefined) return;
  throw new StreamError(
    'checkpoint-directory-needed',
    'A generation that begins with a savepoint builds on its first checkpoints, which every process of the pipeline must reach: ' +
      'give --checkpoint-directory a shared directory or s3://bucket/prefix (of one machine alone: any directory of it), here and to the service',
  );
}

/** Ends every task of `current`; those that are sealed for `next` already are fine. Errors: 'sealed-already' for another plan. */
export async function sealAll(parts: MakingGeneration): Promise<void> {
  const { current, next, onProgress } = parts;
  const { number: generation, stateLog, source, partitions, seededFrom } = next;
  const seal = { generation, stateLog, source, partitions, savepoint: seededFrom ?? '' };
  for (let partition = 0; partition < current.partitions; partition++) await sealOne(parts, partition, seal); // M1
  onProgress(`generation ${current.number} is sealed: ${counted(current.partitions, 'task')}`);
}

/**
 * Takes an unfinished generation back: the present one goes on as if nothing had been. Errors: 'generation-whole' where it
 * is whole after all, and may run already.
 */
export async function takeBack(parts: LogParts & Work, current: Generation, pending: PendingGeneration): Promise<void> {
  const { admin, clock, onProgress } = parts;
  const { next, sealed } = pending;
  if (await isWhole(parts, next)) {
    throw new StreamError(
      'generation-whole',
      `Generation ${next.number} is whole and cannot be taken back: start the service, it follows. ` +
        'The way back is a savepoint of the generation before (fraud savepoint list)',
    );
  }
  // Before the tasks are opened again: half of the seeds must not be there when the next generation is made anew.
  if ((await admin.partitionCount(next.stateLog)) !== null) {
    await admin.delete([next.stateLog]);
    const deadline = clock.monotonic() + TOPIC_GONE_MS;
    while ((await admin.partitionCount(next.stateLog)) !== null) {
      if (clock.monotonic() > deadline)
        throw new StreamError(
          'topic-stays',
          `${next.stateLog} was deleted and is still there; run this again in a while`,
        );
      await new Promise<void>((resolve) => clock.schedule(LOOK_AGAIN_MS, resolve));
    }
    onProgress(`${next.stateLog} deleted`);
  }
  for (const partition of [...sealed].reverse()) await sealOne({ ...parts, current }, partition, null); // M1
  onProgress(`generation ${current.number} is open again: ${counted(sealed.length, 'task')}`);
}

/**
 * Makes the state log of `next` and seeds its tasks; those that are seeded are left alone. `offsets` says, by partition,
 * where each goes on in the source, which is there.
 */
export async function seedAll(
  parts: MakingGeneration,
  savepoints: Savepoints,
  savepoint: StoredManifest,
  offsets: readonly number[],
): Promise<void> {
  const { configuration, backend, admin, next, clock, signal, onProgress } = parts;
  if (offsets.length !== next.partitions) throw new Error(`${offsets.length} offsets for ${next.partitions} tasks`);
  await admin.ensure([stateLogSpec(next.stateLog, next.partitions)]);
  const { name } = configuration.pipeline;
  const { snapshotPlace } = await taskPlaces(configuration, admin, next.stateLog);
  const snapshots = objectSnapshotStore(await openObjects(snapshotPlace, configuration));
  const identity = await admin.identity(next.source);
  const outcomes = await inWorkDirectory(configuration.dataDir, (directory) =>
    seedTasks({
      savepoint,
      savepoints,
      generation: next.number,
      source: { topic: next.source, identity },
      targets: offsets.map((sourceOffset, partition) => ({ taskId: taskIdOf(name, partition), sourceOffset })),
      layout: cardState,
      openEpochLog: (partition) => openTaskLog(backend, name, next, partition),
      snapshots,
      openStore: rocksDbStateStore(ROCKSDB_OPTIONS),
      disk: systemDisk,
      directory,
      clock,
      onProgress,
      shouldStop: () => signal.aborted,
    }),
  );
  const keys = outcomes.reduce((sum, outcome) => sum + (outcome.keys ?? 0), 0);
  const before = outcomes.filter((outcome) => outcome.keys === null).length;
  const more = before === 0 ? '' : ` and ${counted(before, 'task')} seeded before`;
  onProgress(
    `generation ${next.number} is whole: ${counted(outcomes.length - before, 'task')} with ${counted(keys, 'key')}${more}`,
  );
}

/**
 * Whether every task is seeded, for certain: a seed can be committed and not be readable yet, and after `fence` it is, or
 * never will be.
 */
async function isWhole(parts: LogParts, next: Generation): Promise<boolean> {
  if ((await parts.admin.partitionCount(next.stateLog)) !== next.partitions) return false;
  const beginnings = await overTasks(parts, next, async (log) => {
    await log.fence();
    return readBeginning(log);
  });
  return beginnings.every((beginning) => beginning !== 'empty');
}

export const counted = (count: number, noun: string): string =>
  `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

/** A live owner in doubt about a commit takes its task back once, and finds the seal the next time. */
async function sealOne(
  { backend, configuration, current, clock, signal }: Omit<MakingGeneration, 'next'>,
  partition: number,
  seal: Seal | null,
): Promise<void> {
  const log = await openTaskLog(backend, configuration.pipeline.name, current, partition);
  try {
    for (let tries = 1; ; tries++) {
      if (signal.aborted) throw stopped();
      try {
        return await sealTask(log, seal);
      } catch (error) {
        if (!(error instanceof FencedError) || tries === MAX_TRIES) throw error;
        await new Promise<void>((resolve) => clock.schedule(LOOK_AGAIN_MS, resolve));
      }
    }
  } finally {
    await log.close();
  }
}
