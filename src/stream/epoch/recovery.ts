/**
 * Owns the way back to the truth (I4): fence → store or newest snapshot → state log to its end, read-committed → the
 * deltas after what each stored value reflects (I5). What it returns is where the task goes on.
 * Neighbours: `runtime/task.ts` calls it at start and after every commit in doubt; `replay.ts` applies the deltas.
 */

import { generationOver } from '../checkpoint/seal.js';
import type { TaskStore } from '../checkpoint/task-store.js';
import { CorruptDataError, StreamError } from '../errors.js';
import type { Clock, EpochLog } from '../ports.js';
import { FRESH_START, type ResumePoint, stateVersionError, storedVersion, TIMER_PREFIX } from '../state/stored-form.js';
import type { CheckpointPointer } from './delta.js';
import { type OpenedState, Replay } from './replay.js';

/**
 * The owner before may have completed a checkpoint just before it was fenced (or fenced us and we do not know it yet):
 * its truncation and its removal of older snapshots can fall into a recovery, which then looks for what is gone.
 */
const CODES_OF_A_SHORTENED_LOG: ReadonlySet<string> = new Set(['offset-out-of-range', 'corrupt-data', 'state-lost']);
const MAX_TRIES = 5;
/**
 * Longest that a commit may be acknowledged and not visible to who has not fenced: its coordinator may have to move
 * meanwhile. Who only follows waits so long for what a store or checkpoint is ahead of the log.
 */
export const LAST_COMMIT_VISIBLE_MS = 30_000;

/** How a checkpoint is lost: it is kept and cannot be read whole, or the log speaks of it and it is not kept. */
export type LostCheckpoint = 'unusable' | 'missing';

export interface RecoveryParts {
  readonly taskId: string;
  readonly epochLog: EpochLog;
  readonly storage: TaskStore;
  readonly clock: Clock;
  /** Makes the state over the opened store: called once the store is the right one. */
  openState(start: ResumePoint): OpenedState;
  onProgress(message: string): void;
  /**
   * A checkpoint that ought to have served cannot: the recovery goes on without it, by an older one or the log alone.
   * Left out: it is progress like other things.
   */
  onLostCheckpoint?(kind: LostCheckpoint, message: string): void;
  /** Asked between epochs of a replay. */
  shouldStop(): boolean;
}

export interface Recovered {
  /** The newest durable epoch and everything known after it. */
  readonly at: ResumePoint;
  readonly deltas: number;
  readonly changes: number;
  /** Changes passed over because the store had them already. */
  readonly skipped: number;
}

export interface CaughtUp {
  readonly replay: Replay;
  /** Position of the state log behind everything read. */
  readonly end: number;
}

type LogRange = Awaited<ReturnType<EpochLog['stateLogRange']>>;

/** What an attempt at recovering has made so far. */
interface Attempt {
  opened: OpenedState | null;
  /** The newest checkpoint that was listed; undefined where none was looked for. */
  newest?: string | null;
}

/**
 * Takes the task over. Errors: state-lost, state-log-behind-store, state-log-foreign, state-version, generation-over,
 * {@link CorruptDataError}: each needs a person and says what to do.
 */
export async function recover(parts: RecoveryParts): Promise<Recovered> {
  await parts.epochLog.fence();
  const { replay, end } = await catchUp(parts);
  if (replay.seal !== null) throw generationOver(parts.taskId, replay.seal);
  return { at: { ...replay.at, stateLogOffset: end }, ...replay.totals };
}

/**
 * The same without taking the task over: its owner goes on, and `replay` can follow. `end` is where to read on. Errors
 * as {@link recover}, but for generation-over.
 */
export async function catchUp(parts: RecoveryParts): Promise<CaughtUp> {
  const { epochLog, taskId } = parts;
  for (let tries = 1; ; tries++) {
    const range = await epochLog.stateLogRange();
    const attempt: Attempt = { opened: null };
    try {
      return await catchUpWithin(range, parts, attempt);
    } catch (error) {
      // A write of this attempt must not reach the store after those of the next (I5).
      await attempt.opened?.writeBehind.idle().catch(() => {}); // why the attempt ended is known: `error`
      const mayBeForThat = error instanceof StreamError && CODES_OF_A_SHORTENED_LOG.has(error.code);
      if (!mayBeForThat || tries === MAX_TRIES) throw error;
      // An end that moved behind our fence is a later owner's work: what was told before is old by now.
      const { start, end } = await epochLog.stateLogRange();
      const hasMoved = start > range.start || end > range.end;
      if (!hasMoved && !(await hasNewer(parts, attempt))) throw error;
      parts.onProgress(`${taskId}: the state log moved on while it was read; reading it anew`);
    }
  }
}

/** The checkpoint that was to be restored was removed behind a newer one, which the list did not show yet. */
async function hasNewer({ storage, taskId }: RecoveryParts, { newest }: Attempt): Promise<boolean> {
  if (newest === undefined) return false;
  const now = (await storage.snapshots.list(taskId)).at(-1) ?? null;
  return now !== null && (newest === null || now > newest);
}

async function catchUpWithin(range: LogRange, parts: RecoveryParts, attempt: Attempt): Promise<CaughtUp> {
  const { storage, taskId } = parts;
  let start = (await storage.resumePoint()) ?? FRESH_START;
  let isRestored = false;
  if (start.stateLogOffset !== null && start.stateLogOffset > range.end) {
    throw new StreamError(
      'state-log-behind-store',
      `${taskId}: the local state was written at state-log offset ${start.stateLogOffset}, but the log ends at ${range.end}. ` +
        'The state-log topic was deleted or lost records. To give up the state and read the source anew, start with --fresh',
    );
  }
  if (start.stateLogOffset === null || start.stateLogOffset < range.start) {
    start = (await restoreSnapshot(parts, range, attempt)) ?? FRESH_START;
    isRestored = true;
  }
  const opened = parts.openState(start);
  attempt.opened = opened;
  const version = await storedVersion(storage.store);
  if (version !== null && version !== opened.state.layout.version) {
    throw stateVersionError(`${taskId}: the local state`, opened.state.layout, version);
  }
  for await (const { key, value } of storage.store.scan(TIMER_PREFIX)) {
    const due = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    for (let at = 0; at + 8 <= due.length; at += 8) opened.onTimer(key.subarray(1), due.readDoubleLE(at));
  }
  const replay = new Replay({ ...parts, opened, start });
  const end = await replay.readOn(parts.epochLog, start.stateLogOffset ?? range.start, parts.shouldStop);
  if (replay.at.epoch < 0 && range.start > 0) {
    throw new StreamError(
      'state-lost',
      `${taskId}: the state log begins at offset ${range.start} and holds no whole epoch, there is no local state and no usable checkpoint. ` +
        'Starting over would process the source twice. To do that all the same, start with --fresh',
    );
  }
  if (isRestored && replay.pointer !== null) await expectKept(replay.pointer, parts);
  return { replay, end };
}

/** A checkpoint is kept before the log speaks of it, and the newest is never removed: ids order as epochs do. */
async function expectKept({ snapshotId, resume }: CheckpointPointer, parts: RecoveryParts): Promise<void> {
  const kept = await parts.storage.snapshots.list(parts.taskId);
  if (kept.some((id) => id >= snapshotId)) return;
  lost(
    parts,
    'missing',
    `${parts.taskId}: the state log names checkpoint ${snapshotId} (epoch ${resume.epoch}), which is not among those kept (the newest is ${kept.at(-1) ?? 'none'}): ` +
      'it was removed by somebody else, or it lies where this process does not look. Nothing is lost while the log reaches back far enough',
  );
}

function lost(parts: RecoveryParts, kind: LostCheckpoint, message: string): void {
  if (parts.onLostCheckpoint === undefined) parts.onProgress(message);
  else parts.onLostCheckpoint(kind, message);
}

/**
 * Takes the newest snapshot that is whole, and whose resume point the log still reaches, into the store. A snapshot
 * holds committed epochs alone, so any complete one will do. Null: there is none, the log must tell all.
 */
async function restoreSnapshot(parts: RecoveryParts, range: LogRange, attempt: Attempt): Promise<ResumePoint | null> {
  const { storage, taskId, onProgress } = parts;
  const ids = await storage.snapshots.list(taskId);
  attempt.newest = ids.at(-1) ?? null;
  for (const id of [...ids].reverse()) {
    try {
      await storage.restore(id);
      const resume = await storage.resumePoint();
      const at = resume?.stateLogOffset ?? -1;
      if (resume === null || at < range.start || at > range.end) {
        onProgress(
          `${taskId}: checkpoint ${id} goes on at state-log offset ${at}, the log has ${range.start} to ${range.end}`,
        );
        continue;
      }
      onProgress(`${taskId}: state restored from checkpoint ${id} (epoch ${resume.epoch})`);
      return resume;
    } catch (error) {
      if (!(error instanceof CorruptDataError)) throw error;
      lost(parts, 'unusable', `${taskId}: checkpoint ${id} is unusable, trying the one before: ${error.message}`);
    }
  }
  await storage.wipe();
  return null;
}
