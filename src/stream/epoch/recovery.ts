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
import { type OpenedState, Replay } from './replay.js';

/**
 * The owner before may have completed a checkpoint just before it was fenced (or fenced us and we do not know it yet):
 * its truncation and its removal of older snapshots can fall into a recovery, which then looks for what is gone.
 */
const CODES_OF_A_SHORTENED_LOG: ReadonlySet<string> = new Set(['offset-out-of-range', 'corrupt-data', 'state-lost']);
const MAX_TRIES = 5;

export interface RecoveryParts {
  readonly taskId: string;
  readonly epochLog: EpochLog;
  readonly storage: TaskStore;
  readonly clock: Clock;
  /** Makes the state over the opened store: called once the store is the right one. */
  openState(start: ResumePoint): OpenedState;
  onProgress(message: string): void;
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
      if ((await epochLog.stateLogRange()).start <= range.start) throw error;
      parts.onProgress(`${taskId}: the state log was shortened while it was read; reading it anew`);
    }
  }
}

async function catchUpWithin(range: LogRange, parts: RecoveryParts, attempt: Attempt): Promise<CaughtUp> {
  const { storage, taskId } = parts;
  let start = (await storage.resumePoint()) ?? FRESH_START;
  if (start.stateLogOffset !== null && start.stateLogOffset > range.end) {
    throw new StreamError(
      'state-log-behind-store',
      `${taskId}: the local state was written at state-log offset ${start.stateLogOffset}, but the log ends at ${range.end}. ` +
        'The state-log topic was deleted or lost records. To give up the state and read the source anew, start with --fresh',
    );
  }
  if (start.stateLogOffset === null || start.stateLogOffset < range.start) {
    start = (await restoreSnapshot(parts, range)) ?? FRESH_START;
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
  return { replay, end };
}

/**
 * Takes the newest snapshot that is whole, and whose resume point the log still reaches, into the store. A snapshot
 * holds committed epochs alone, so any complete one will do. Null: there is none, the log must tell all.
 */
async function restoreSnapshot(
  { storage, taskId, onProgress }: RecoveryParts,
  range: LogRange,
): Promise<ResumePoint | null> {
  const ids = await storage.snapshots.list(taskId);
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
      onProgress(`${taskId}: checkpoint ${id} is unusable, trying the one before: ${error.message}`);
    }
  }
  await storage.wipe();
  return null;
}
