/**
 * Owns bringing the pipeline to another number of partitions: state and offsets of every card move to the task that its
 * key belongs to from then on. Neighbours: `new-generation.ts` makes it so, `cli/rescale.ts` is the command.
 *
 * R1 What was written under the present layout is processed under it: a rescale is refused while records wait whose card
 *    would be elsewhere. It is looked at before anything is touched, when the tasks are sealed, and when the source has
 *    grown.
 * R2 Keys of the state must be keys of the records, or a card's state would go where its payments do not.
 * R3 Run again after it was cut short, it goes on; only once every task is seeded it cannot be taken back.
 */

import { committedOffset } from '../stream/checkpoint/committed-offset.js';
import type { StoredManifest } from '../stream/checkpoint/savepoint-manifest.js';
import { Savepoints } from '../stream/checkpoint/savepoints.js';
import { StreamError } from '../stream/errors.js';
import type { ObjectStore } from '../stream/ports.js';
import { expectNobody, expectUnused } from './before-sealing.js';
import { fenceFirstStage } from './first-stage-end.js';
import {
  findGeneration,
  type Generation,
  type LogParts,
  overTasks,
  type PendingGeneration,
  unready,
} from './generation.js';
import {
  expectSharedCheckpoints,
  type MakingGeneration,
  pendingOf,
  planned,
  sealAll,
  seedAll,
  takeBack,
} from './new-generation.js';
import { openObjects } from './objects.js';
import { expectRecordKeys } from './record-keys.js';
import { savepointName, savepointPlace, takeSavepoint, type Work } from './savepoints.js';
import { committedIn, expectDrained, type Moving, offsetsAfter } from './source-offsets.js';

export interface RescaleRequest {
  readonly partitions: number;
  /** Another topic to read from then on; null keeps the present one. */
  readonly source: string | null;
  /** Goes on although somebody seems to run the pipeline. */
  readonly force: boolean;
}

export interface Rescaled {
  readonly before: Generation;
  readonly after: Generation;
  /** Null: nothing was to do. */
  readonly savepoint: string | null;
}

const FORCED = 'With --force it is done at once, and whoever still runs it ends with generation-over';
/** Marks a savepoint that a rescale took of its sealed tasks. */
const PURPOSE = 'rescale';

/** Errors: those of each step; after any of them the same request goes on, or `undoRescale` takes it back. */
export async function rescale(parts: LogParts & Work, request: RescaleRequest): Promise<Rescaled> {
  expectSharedCheckpoints(parts);
  const { current, pending } = await findGeneration(parts);
  if (!request.force) await expectNobody(parts, current, FORCED);
  const next = pending === null ? await plan(parts, current, request) : resumed(current, pending, request);
  if (next === null) return { before: current, after: current, savepoint: null };
  const making = { ...parts, current, next };
  await sealAll(making);
  await fenceFirstStage(making, current);
  const objects = await openObjects(savepointPlace(parts.configuration), parts.configuration);
  const savepoints = new Savepoints(objects);
  const hasSeeds = (pending?.seeded.length ?? 0) > 0;
  const look = async () => {
    const taken = await sealedSavepoint(making, savepoints, objects);
    if (!hasSeeds) await expectDrained(moving(making, committedIn(taken.manifest)));
    return taken;
  };
  // Some of the new tasks are seeded: there is a way on, and only that.
  const stored = await (hasSeeds ? look() : orTakenBack(making, savepoints, look));
  await readySource(making);
  // R1: producers that were not stopped may have written between that look and the growing.
  const lookAgain = () => expectDrained(moving(making, committedIn(stored.manifest)));
  if (!hasSeeds) await orTakenBack(making, savepoints, lookAgain);
  const offsets = await offsetsAfter(moving(making, committedIn(stored.manifest)));
  await seedAll(making, savepoints, stored, offsets);
  return { before: current, after: next, savepoint: stored.manifest.name };
}

async function readySource({ admin, next }: MakingGeneration): Promise<void> {
  await admin.ensure([{ name: next.source, partitions: next.partitions, cleanup: 'delete' }]);
  await admin.grow(next.source, next.partitions);
}

/** Takes back what is not whole; null where there is nothing to take back. */
export async function undoRescale(parts: LogParts & Work): Promise<Generation | null> {
  const { current, pending } = await findGeneration(parts);
  if (pending === null) return null;
  await takeBack(parts, current, pending);
  return current;
}

/** What was asked for, as the next generation; null where it is so already. R1 */
async function plan(parts: LogParts & Work, current: Generation, request: RescaleRequest): Promise<Generation | null> {
  const { configuration, clock } = parts;
  const { partitions } = request;
  const source = request.source ?? current.source;
  if (source === current.source && partitions === current.partitions) return null;
  await expectSource(parts, current, source, partitions);
  const savepoint = savepointName(configuration.pipeline.name, current.number, clock.now(), PURPOSE);
  const next = planned(configuration.topics.stateLog, current, { source, partitions, savepoint });
  const committed = await overTasks(parts, current, committedOffset);
  await expectDrained(moving({ ...parts, current, next }, committed));
  await expectUnused(parts, next);
  return next;
}

async function expectSource(
  { admin, configuration }: LogParts,
  current: Generation,
  source: string,
  partitions: number,
): Promise<void> {
  const present = await admin.partitionCount(source);
  if (source !== current.source) {
    // The first stage's topic is ours to make, and those of the embedded log nobody else can make.
    const isOurs = configuration.keying.mode === 'repartition' || configuration.backend === 'embedded';
    const isMadeHere = present === null && isOurs;
    if (present === partitions || isMadeHere) return;
    throw new StreamError(
      'rescale-source',
      present === null
        ? `There is no topic ${source}: make it with ${partitions} partitions, and let producers write there from now on`
        : `${source} has ${present} partitions, not ${partitions}: say --partitions ${present}, or name another topic`,
    );
  }
  if (present === null)
    throw new StreamError('rescale-source', `There is no topic ${source}, which the pipeline reads`);
  if (partitions >= present && partitions > current.partitions) return;
  throw new StreamError(
    'rescale-source',
    `${source} has ${present} partitions, and a topic cannot lose any: ` +
      (present > current.partitions
        ? `say --partitions ${present} or more`
        : `make another topic with ${partitions}, let producers write there from now on, and say --source TOPIC`),
  );
}

/** A rescale that was cut short. Errors: 'generation-unready' where it was another one. */
function resumed(current: Generation, pending: PendingGeneration, { partitions, source }: RescaleRequest): Generation {
  const { next } = pending;
  const isSame = partitions === next.partitions && (source === null || source === next.source);
  if (!isSame) throw unready(current, pending);
  return next;
}

const moving = ({ current, next, ...parts }: MakingGeneration, committed: Moving['from']['committed']): Moving => ({
  ...parts,
  from: { source: current.source, committed },
  to: next,
});

/** What shows only once the tasks are sealed must not leave the pipeline standing. */
async function orTakenBack<T>(making: MakingGeneration, savepoints: Savepoints, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (!isOneOf(error, ['not-drained', 'keys-foreign', 'source-offsets'])) throw error;
    const { current, next } = making;
    const pending = await pendingOf(making);
    if (pending === null) throw error; // another command went on meanwhile
    await takeBack(making, current, pending);
    if (isTakenByRescale(making)) await deleteIfThere(savepoints, next.seededFrom ?? '');
    throw error;
  }
}

/** Nobody else's savepoint is ever removed, or taken for the sealed tasks'. */
function isTakenByRescale({ current, next, configuration }: MakingGeneration): boolean {
  return (next.seededFrom ?? '').startsWith(`${configuration.pipeline.name}-g${current.number}-${PURPOSE}-`);
}

async function deleteIfThere(savepoints: Savepoints, name: string): Promise<void> {
  try {
    await savepoints.delete(name);
  } catch (error) {
    if (!isOneOf(error, ['savepoint-missing'])) throw error;
  }
}

const isOneOf = (error: unknown, codes: readonly string[]): boolean =>
  error instanceof StreamError && codes.includes(error.code);

/** The savepoint of the sealed tasks: made before this was cut short, or made now. */
async function sealedSavepoint(
  making: MakingGeneration,
  savepoints: Savepoints,
  objects: ObjectStore,
): Promise<StoredManifest> {
  const { current, next } = making;
  const name = next.seededFrom ?? '';
  const present = await readOrNull(savepoints, name);
  if (present === null && !isTakenByRescale(making)) throw begunElsewhere(next);
  if (present === null) {
    await takeSavepoint({
      ...making,
      generation: current,
      name,
      objects,
      replaceUnfinished: true,
      look: (image, partition) => expectRecordKeys(making, current, partition, image), // R2
    });
  }
  const stored = present ?? (await savepoints.read(name));
  const sealedAt = await overTasks(making, current, committedOffset);
  const isOfTheSealed = sealedAt.every((offset, partition) => offset === committedIn(stored.manifest)[partition]);
  if (!isOfTheSealed) throw begunElsewhere(next);
  return stored;
}

async function readOrNull(savepoints: Savepoints, name: string): Promise<StoredManifest | null> {
  try {
    return await savepoints.read(name);
  } catch (error) {
    if (isOneOf(error, ['savepoint-missing', 'savepoint-unfinished'])) return null;
    throw error;
  }
}

function begunElsewhere({ number, seededFrom }: Generation): StreamError {
  return new StreamError(
    'generation-unready',
    `Generation ${number} is being made from savepoint ${seededFrom}, which is not one that a rescale took: ` +
      'complete it with fraud start --from-savepoint, or take it back with fraud rescale --undo',
  );
}
