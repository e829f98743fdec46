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
 * M2 A seed is committed only while the last task, the one opened again first, is still sealed for it, after its own log
 *    was taken over: who takes back fences that log, or leaves seals that are gone.
 */

import { isDeepStrictEqual } from 'node:util';
import { objectSnapshotStore } from '../adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../adapters/rocksdb/rocksdb-state-store.js';
import { cardState } from '../fraud/cards/state.js';
import { isSeeded } from '../stream/checkpoint/generations.js';
import type { StoredManifest } from '../stream/checkpoint/savepoint-manifest.js';
import type { Savepoints } from '../stream/checkpoint/savepoints.js';
import { readSeal, sealTask } from '../stream/checkpoint/seal.js';
import { readBeginning, seedTasks } from '../stream/checkpoint/seed.js';
import type { Seal } from '../stream/epoch/delta.js';
import { FencedError, StreamError, whileDoing } from '../stream/errors.js';
import { taskIdOf } from '../stream/pipeline/pipeline.js';
import { systemDisk } from '../stream/runtime/system-disk.js';
import { stopped } from './drain.js';
import {
  findGeneration,
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
/** What running the same again does not mend. */
const HOPELESS: readonly string[] = ['corrupt-data', 'state-migration'];
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
  const seal = sealFor(next);
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

/** How far `next` is; null where it is whole, or was taken back, perhaps for another one: then it is nobody's here. */
export async function pendingOf(parts: MakingGeneration): Promise<PendingGeneration | null> {
  const { pending } = await findGeneration(parts);
  return pending !== null && isDeepStrictEqual(pending.next, parts.next) ? pending : null;
}

/**
 * Makes the state log of `next` and seeds its tasks; those that are seeded are left alone. `offsets` says, by partition,
 * where each goes on in the source, which is there. Where that cannot be, with this savepoint, and no task is seeded, the
 * generation is taken back. Errors: 'generation-reopened' where it was taken back by somebody else; those of `seedTasks`.
 */
export async function seedAll(
  parts: MakingGeneration,
  savepoints: Savepoints,
  savepoint: StoredManifest,
  offsets: readonly number[],
): Promise<void> {
  try {
    await seedMissing(parts, savepoints, savepoint, offsets);
  } catch (error) {
    if (!(error instanceof StreamError) || !HOPELESS.includes(error.code)) throw error;
    const pending = await pendingOf(parts);
    if (pending === null) throw error;
    if (pending.seeded.length > 0) throw whileDoing(error, error.code, stillSealed(parts));
    await takeBack(parts, parts.current, pending);
    throw whileDoing(error, error.code, `Generation ${parts.current.number} goes on as it was, the next cannot begin`);
  }
}

async function seedMissing(
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
      expectMeant: () => expectSealed(parts), // M2
      onProgress,
      shouldStop: () => signal.aborted,
    }),
  );
  await expectSealed(parts);
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
  const seeded = await overTasks(parts, next, async (log) => {
    await log.fence();
    const is = await isSeeded(log, next);
    if (!is && (await readBeginning(log)) === 'other') throw notOurs(next);
    return is;
  });
  return seeded.every((is) => is);
}

/** What is not a seed is nobody's attempt at this generation: it is not ours to delete. */
function notOurs({ number, stateLog }: Generation): StreamError {
  return new StreamError(
    'generation-leftover',
    `${stateLog}, the state log of generation ${number}, holds epochs that no savepoint began: something else wrote there, so it is not deleted. ` +
      'Find out whose it is; delete it if it is nobody’s, then run this again',
  );
}

function sealFor({ number: generation, stateLog, source, partitions, seededFrom }: Generation): Seal {
  return { generation, stateLog, source, partitions, savepoint: seededFrom ?? '' };
}

/** M2. Errors: 'generation-reopened'. */
async function expectSealed({ backend, configuration, current, next }: MakingGeneration): Promise<void> {
  const log = await openTaskLog(backend, configuration.pipeline.name, current, current.partitions - 1);
  try {
    if (isDeepStrictEqual(await readSeal(log), sealFor(next))) return;
  } finally {
    await log.close();
  }
  throw new StreamError(
    'generation-reopened',
    `Generation ${next.number} was taken back by another command while this one was making it: generation ${current.number} goes on. ` +
      `Run one command at a time; what may be left in ${next.stateLog} is named by the next one`,
  );
}

const stillSealed = ({ current, next }: MakingGeneration): string =>
  `Generation ${current.number} is sealed and ${next.number} is not whole, so the pipeline stands: ` +
  `bring savepoint ${next.seededFrom} back and run the same command again, or take it back with fraud rescale --undo. The cause`;

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
