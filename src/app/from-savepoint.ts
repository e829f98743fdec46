/**
 * Owns the start from a savepoint: the present generation is sealed, and the next one begins with what the savepoint
 * holds. Neighbours: `run.ts` asks at the start, `new-generation.ts` makes it so.
 *
 * F1 A savepoint is begun from once: where any generation so far began with this very one, the newest one goes on. So the
 *    setting may stay in a unit file, also after the pipeline was rescaled.
 */
import { basename, dirname, resolve } from 'node:path';
import { cardState } from '../fraud/cards/state.js';
import type { SavepointManifest, StoredManifest } from '../stream/checkpoint/savepoint-manifest.js';
import { Savepoints } from '../stream/checkpoint/savepoints.js';
import { readBeginning } from '../stream/checkpoint/seed.js';
import { CorruptDataError, FencedError, StreamError } from '../stream/errors.js';
import { StoredValueReader } from '../stream/state/migration.js';
import { expectNobody, expectUnused } from './before-sealing.js';
import type { Configuration } from './configuration/index.js';
import { fenceFirstStage } from './first-stage-end.js';
import {
  findGeneration,
  type Generation,
  type LogParts,
  openTaskLog,
  type PendingGeneration,
  unready,
} from './generation.js';
import { expectSharedCheckpoints, type MakingGeneration, planned, sealAll, seedAll } from './new-generation.js';
import { openObjects } from './objects.js';
import { expectPlacedKeys } from './record-keys.js';
import { savepointPlace, type Work } from './savepoints.js';
import { committedIn, expectDrained, offsetsAfter } from './source-offsets.js';
import { stateLogSpec } from './topics.js';

export interface SavepointAddress {
  /** A directory, or `s3://bucket/prefix`. */
  readonly place: string;
  readonly name: string;
}

/** Where a savepoint is that was named by its name alone, or with its place before it. */
export function savepointAddress(given: string, configuration: Configuration, cwd = process.cwd()): SavepointAddress {
  const path = given.replace(/\/+$/, '');
  if (!path.includes('/')) return { place: savepointPlace(configuration), name: path };
  const slash = path.lastIndexOf('/');
  if (path.includes('://')) return { place: path.slice(0, slash), name: path.slice(slash + 1) };
  const whole = resolve(cwd, path);
  return { place: dirname(whole), name: basename(whole) };
}

const NO_CONSENT = 'A savepoint is begun from only while nobody runs the pipeline';

/** The generation that runs with `pipeline.fromSavepoint`: found, or made. Errors: those of each step, all final. */
export async function generationFromSavepoint(parts: LogParts & Work, given: string): Promise<Generation> {
  const address = savepointAddress(given, parts.configuration);
  const savepoints = new Savepoints(await openObjects(address.place, parts.configuration));
  const { lineage, current, pending } = await findGeneration(parts);
  const stored = await readUnlessUsed(savepoints, address.name, lineage);
  if (pending === null) {
    const before = await begunWith(parts, lineage, address.name, stored);
    if (before !== null) {
      parts.onProgress(
        `savepoint ${address.name} is what generation ${before.number} began with: going on with generation ${current.number}`,
      );
      return current;
    }
  }
  if (stored === null) throw pending === null ? missing(address) : unready(current, pending);
  expectOurs(stored.manifest, parts.configuration);
  expectSharedCheckpoints(parts);
  const next =
    pending === null ? await plan(parts, current, savepoints, stored) : resumed(current, pending, address.name);
  const making = { ...parts, current, next };
  try {
    await make(making, savepoints, stored);
  } catch (error) {
    if (error instanceof FencedError) throw raced(next, error);
    throw error;
  }
  return next;
}

/** A savepoint that was begun from may be gone since. */
async function readUnlessUsed(
  savepoints: Savepoints,
  name: string,
  lineage: readonly Generation[],
): Promise<StoredManifest | null> {
  try {
    return await savepoints.read(name);
  } catch (error) {
    const isGone = error instanceof StreamError && error.code === 'savepoint-missing';
    if (isGone && lineage.some(({ seededFrom }) => seededFrom === name)) return null;
    throw error;
  }
}

/** F1: the newest generation that began with this savepoint, and not with another one of that name. */
async function begunWith(
  { backend, configuration }: LogParts,
  lineage: readonly Generation[],
  name: string,
  stored: StoredManifest | null,
): Promise<Generation | null> {
  for (const generation of [...lineage].reverse()) {
    if (generation.seededFrom !== name) continue;
    if (stored === null) return generation;
    const log = await openTaskLog(backend, configuration.pipeline.name, generation, 0);
    try {
      const beginning = await readBeginning(log);
      // One that was truncated does not tell any more: its name must do.
      if (beginning === 'other' || beginning === 'empty' || beginning.savepointId === stored.id) return generation;
    } finally {
      await log.close();
    }
  }
  return null;
}

function expectOurs(manifest: SavepointManifest, { pipeline }: Configuration): void {
  if (manifest.pipeline === pipeline.name || pipeline.allowOtherPipeline) return;
  throw new StreamError(
    'savepoint-foreign',
    `Savepoint ${manifest.name} is of pipeline ${manifest.pipeline}, this one is ${pipeline.name}: with --allow-other-pipeline it is taken all the same. ` +
      'Its alerts have other outputs and ids of their own only if its topics are others, too',
  );
}

async function plan(
  parts: LogParts & Work,
  current: Generation,
  savepoints: Savepoints,
  { id, manifest }: StoredManifest,
): Promise<Generation> {
  const { admin, configuration } = parts;
  const { source } = current;
  await expectNobody(parts, current, NO_CONSENT);
  const { name: savepoint, layout, createdAtMs, generation } = manifest;
  await admin.ensure([{ name: source, partitions: configuration.topics.partitions, cleanup: 'delete' }]);
  const partitions = (await admin.partitionCount(source)) ?? configuration.topics.partitions;
  const next = planned(configuration.topics.stateLog, current, { source, partitions, savepoint });

  parts.onProgress(
    `generation ${next.number} begins with savepoint ${savepoint}: generation ${generation} as of ${new Date(createdAtMs).toISOString()}, ` +
      `state ${layout.name} version ${layout.version}`,
  );
  // Everything that can be refused is, before anything is sealed.
  new StoredValueReader(manifest.layout, cardState);
  await expectWhole(savepoints, savepoint);
  // Another process that starts with the same setting may be seeding already.
  await expectUnused(parts, next, (seed) => seed.savepointId === id && seed.generation === next.number);
  if (partitions !== manifest.source.partitions) await expectPlacedKeys(savepoints, manifest);
  await offsetsFor({ ...parts, current, next }, manifest);
  return next;
}

/** All of it is read before the pipeline is ended for it. Errors: {@link CorruptDataError}, naming the files. */
async function expectWhole(savepoints: Savepoints, name: string): Promise<void> {
  const { isWhole, parts } = await savepoints.verify(name);
  if (isWhole) return;
  const problems = parts.flatMap(({ problem }) => problem ?? []);
  throw new CorruptDataError(
    `Savepoint ${name} is not whole, and nothing was begun from it: ${problems.join('; ')}. Take another one (fraud savepoint list, fraud savepoint verify NAME)`,
  );
}

function resumed(current: Generation, pending: PendingGeneration, name: string): Generation {
  if (pending.next.seededFrom === name) return pending.next;
  throw unready(current, pending);
}

async function make(making: MakingGeneration, savepoints: Savepoints, stored: StoredManifest): Promise<void> {
  const { admin, current } = making;
  const offsets = await offsetsFor(making, stored.manifest);
  // The way to the new generation leads over the first one's state log, which may not be made yet.
  await admin.ensure([stateLogSpec(current.stateLog, current.partitions)]);
  await sealAll(making);
  await fenceFirstStage(making, current);
  await seedAll(making, savepoints, stored, offsets);
}

/** Where each task goes on. Errors: 'savepoint-source', 'source-offsets', 'not-drained'. */
async function offsetsFor(making: MakingGeneration, manifest: SavepointManifest): Promise<readonly number[]> {
  const { admin, configuration, next } = making;
  const committed = committedIn(manifest);
  if (configuration.pipeline.savepointOffsets === 'start') {
    return offsetsAfter({ ...making, from: { source: '', committed }, to: next });
  }
  const isSame =
    manifest.source.topic === next.source && manifest.source.identity === (await admin.identity(next.source));
  if (!isSame) {
    throw new StreamError(
      'savepoint-source',
      `Savepoint ${manifest.name} goes on in topic ${manifest.source.topic}, and the pipeline reads ${next.source}${manifest.source.topic === next.source ? ', which was made anew since, or is on another cluster' : ''}: ` +
        'offsets of the one mean nothing in the other. To take the state and read the topic from its start: --savepoint-offsets start',
    );
  }
  const moving = { ...making, from: { source: next.source, committed }, to: next };
  await expectDrained(moving);
  return offsetsAfter(moving);
}

function missing({ place, name }: SavepointAddress): StreamError {
  return new StreamError('savepoint-missing', `there is no savepoint ${name} in ${place}`);
}

function raced({ number }: Generation, cause: FencedError): StreamError {
  return new StreamError(
    'generation-raced',
    `Another process makes generation ${number} at the same time, and was faster: start this one again, it follows`,
    { cause },
  );
}
