/**
 * Owns beginning a generation: each of its tasks gets the keys that are its own from a savepoint, as a first checkpoint,
 * and a seed as the first record of its state log, which says so. Neighbours: `seed-stores.ts` builds the states,
 * `savepoints.ts` reads the savepoint, `epoch/recovery.ts` starts the tasks, `seal.ts` ended the generation before.
 *
 * G1 A task is seeded once its seed is committed, and the checkpoint that the seed names was whole before.
 * G2 A seeded task is never seeded again, from whatever savepoint: it may have gone on.
 * G3 Epochs begin behind the seed's, so a log whose checkpoint is lost reads as lost and never as empty.
 * G4 Cut short anywhere, the same call again comes to the same end.
 */
import { encodeSeed, SEED_EPOCH, type Seed } from '../epoch/delta.js';
import { firstRecord, lastRecord } from '../epoch/log-ends.js';
import { CommitDoubtfulError, StreamError } from '../errors.js';
import type { EpochLog } from '../ports.js';
import type { ResumePoint } from '../state/stored-form.js';
import type { SavepointManifest } from './savepoint-manifest.js';
import type { SeedParts } from './seed-parts.js';
import { buildSeedStores, type SeedStore } from './seed-stores.js';

export type { Seed } from '../epoch/delta.js';

/** How a state log begins: not at all, with a seed (and perhaps epochs behind it), or with something else. */
export type Beginning = 'empty' | 'other' | Seed;

export interface SeedOutcome {
  readonly taskId: string;
  /** Keys that it was given; null where it was seeded before. */
  readonly keys: number | null;
}

/** Commits in doubt in a row. */
const MAX_TRIES = 5;

/**
 * Seeds every task that is not seeded yet. Errors: 'seed-refused' before anything is done, where a state log holds
 * something else; what `expectMeant` throws; 'state-migration'; {@link CorruptDataError} for a bad savepoint; StoppedError; those of the ports.
 */
export async function seedTasks(parts: SeedParts): Promise<readonly SeedOutcome[]> {
  const missing = new Map<number, Seed | null>();
  for (let partition = 0; partition < parts.targets.length; partition++) {
    const state = await withLog(parts, partition, (epochLog) => seedState(parts, partition, epochLog));
    if (state !== 'seeded') missing.set(partition, state === 'missing' ? null : state);
  }
  const outcomes: SeedOutcome[] = parts.targets.map(({ taskId }) => ({ taskId, keys: null }));
  if (missing.size === 0) return outcomes;
  const stores = await buildSeedStores(parts, new Set(missing.keys()));
  try {
    for (const [partition, present] of missing) {
      const store = stores.get(partition);
      if (store === undefined) throw new Error(`no state was built for partition ${partition}`);
      await withLog(parts, partition, (epochLog) => seedTask(parts, partition, epochLog, store, present));
      outcomes[partition] = { taskId: parts.targets[partition].taskId, keys: store.keys };
    }
    return outcomes;
  } finally {
    for (const store of stores.values()) await store.remove();
  }
}

/** How a task's state log begins. Takes nothing over. A log that was truncated already is 'other'. */
export async function readBeginning(epochLog: EpochLog): Promise<Beginning> {
  const { start } = await epochLog.stateLogRange();
  if (start > 0) return 'other';
  const first = await firstRecord(epochLog);
  if (first === null) return 'empty';
  return first.kind === 'seed' ? first.seed : 'other';
}

/** Where the task of a partition goes on if the partition count stays; null: it never began, or the count changed. */
export function carriedOffset(manifest: SavepointManifest, partition: number, partitions: number): number | null {
  if (partitions !== manifest.source.partitions) return null;
  return manifest.tasks[partition].resume.sourceOffset;
}

/** 'missing': to be seeded. A seed: it is seeded, but its checkpoint is gone before anything was done with it. */
async function seedState(
  parts: SeedParts,
  partition: number,
  epochLog: EpochLog,
): Promise<'seeded' | 'missing' | Seed> {
  const { savepoint, targets } = parts;
  const { taskId } = targets[partition];
  const beginning = await readBeginning(epochLog);
  if (beginning === 'empty') return 'missing';
  if (beginning === 'other') {
    throw new StreamError(
      'seed-refused',
      `${taskId}: its state log holds epochs already, so it cannot begin from savepoint ${savepoint.manifest.name}; give the new generation state logs of its own`,
    );
  }
  if (beginning.savepointId !== savepoint.id || beginning.taskId !== taskId) {
    throw new StreamError(
      'seed-refused',
      `${taskId}: its state log began as ${beginning.taskId} from savepoint ${beginning.savepoint} (${beginning.savepointId.slice(0, 12)}), not from ` +
        `${savepoint.manifest.name} (${savepoint.id.slice(0, 12)}); complete it with that one, or take the new generation back first`,
    );
  }
  const isUnused = (await lastRecord(epochLog))?.kind === 'seed';
  const isKept = (await parts.snapshots.list(taskId)).includes(beginning.snapshotId);
  return isUnused && !isKept ? beginning : 'seeded';
}

async function seedTask(
  parts: SeedParts,
  partition: number,
  epochLog: EpochLog,
  store: SeedStore,
  present: Seed | null,
): Promise<void> {
  const { snapshots, targets, savepoint, generation, onProgress } = parts;
  const { taskId } = targets[partition];
  if (present !== null) {
    await store.putSnapshot(present.snapshotId, present.resume);
    onProgress(`${taskId}: checkpoint ${present.snapshotId} of its seed was missing and was made again`);
    return;
  }
  let seed: Seed | null = null;
  for (let tries = 1; ; tries++) {
    await epochLog.fence();
    await parts.expectMeant?.();
    // Another process may have been faster, or our own commit in doubt may be there.
    if ((await seedState(parts, partition, epochLog)) !== 'missing') return;
    if (seed === null) {
      // What a seeding cut short before its commit left: perhaps from another savepoint.
      for (const id of await snapshots.list(taskId)) await snapshots.delete(taskId, id);
      const snapshotId = `chk-${String(SEED_EPOCH).padStart(12, '0')}-${parts.clock.now()}`;
      const resume = resumeOf(parts, partition, (await epochLog.stateLogRange()).end);
      await store.putSnapshot(snapshotId, resume);
      const { name } = savepoint.manifest;
      seed = { taskId, generation, savepoint: name, savepointId: savepoint.id, snapshotId, resume };
    }
    try {
      await epochLog.commit({ outputs: [], stateLog: encodeSeed(seed, epochLog.maxRecordBytes) }); // G1
      break;
    } catch (error) {
      if (!(error instanceof CommitDoubtfulError) || tries === MAX_TRIES) throw error;
    }
  }
  onProgress(
    `${taskId}: begins generation ${generation} with ${store.keys} keys at source offset ${seed.resume.sourceOffset}`,
  );
}

/**
 * Where a task goes on. With as many partitions as before each carries on where its predecessor was. Else no key may
 * become late by being moved: event time goes on from the task that was behind most. Of the broadcast positions the
 * furthest counts: no key may see older rules than its last epoch had.
 */
function resumeOf({ savepoint, targets }: SeedParts, partition: number, stateLogOffset: number): ResumePoint {
  const { tasks, source } = savepoint.manifest;
  const at = { epoch: SEED_EPOCH, sourceOffset: targets[partition].sourceOffset, stateLogOffset };
  if (targets.length === source.partitions) {
    const { maxEventTimeMs, cursors } = tasks[partition].resume;
    return { ...at, maxEventTimeMs, cursors };
  }
  const times = tasks.flatMap(({ resume }) => resume.maxEventTimeMs ?? []);
  const cursors: Record<string, number> = {};
  for (const { resume } of tasks) {
    for (const [id, position] of Object.entries(resume.cursors)) cursors[id] = Math.max(cursors[id] ?? 0, position);
  }
  return { ...at, maxEventTimeMs: times.length === 0 ? null : Math.min(...times), cursors };
}

async function withLog<T>(parts: SeedParts, partition: number, use: (log: EpochLog) => Promise<T>): Promise<T> {
  const epochLog = await parts.openEpochLog(partition);
  try {
    return await use(epochLog);
  } finally {
    await epochLog.close();
  }
}
