/**
 * Owns the way back to the truth (I4): fence → store or newest snapshot → state log to its end, read-committed → the
 * deltas after what each stored value reflects (I5). What it returns is where the task goes on.
 * Neighbours: `runtime/task.ts` calls it at start and after every commit in doubt; `delta.ts`, `write-behind.ts`.
 */

import type { TaskStore } from '../checkpoint/task-store.js';
import { CorruptDataError, StreamError } from '../errors.js';
import type { Clock, EpochLog } from '../ports.js';
import type { KeyedState } from '../state/keyed-state.js';
import { FRESH_START, type ResumePoint, TIMER_PREFIX } from '../state/stored-form.js';
import type { WriteBehind } from '../state/write-behind.js';
import { type DeltaRecord, StateLogDecoder } from './delta.js';

/** Changes of one delta that are loaded and applied at a time. */
const CHANGES_AT_ONCE = 4096;
/** Dirty slots written at a time when a replay runs out of room. */
const WRITES_AT_ONCE = 8192;
/**
 * The owner before may have completed a checkpoint just before it was fenced (or fenced us and we do not know it yet):
 * its truncation and its removal of older snapshots can fall into a recovery, which then looks for what is gone.
 */
const CODES_OF_A_SHORTENED_LOG: ReadonlySet<string> = new Set(['offset-out-of-range', 'corrupt-data', 'state-lost']);
const MAX_TRIES = 5;

/** Recovery was asked to end before it was complete: nothing is lost, the next start begins it again. */
export class StoppedError extends Error {}

export interface RecoveryParts {
  readonly taskId: string;
  readonly epochLog: EpochLog;
  readonly storage: TaskStore;
  readonly clock: Clock;
  /** Makes the state over the opened store: called once the store is the right one. */
  openState(start: ResumePoint): {
    state: KeyedState;
    writeBehind: WriteBehind;
    onTimer(key: Uint8Array, dueMs: number): void;
  };
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

type Opened = ReturnType<RecoveryParts['openState']>;
type LogRange = Awaited<ReturnType<EpochLog['stateLogRange']>>;

/** What an attempt at recovering has made so far. */
interface Attempt {
  opened: Opened | null;
}

/** Errors: state-lost, state-log-behind-store, {@link CorruptDataError}: each needs a person and says what to do. */
export async function recover(parts: RecoveryParts): Promise<Recovered> {
  const { epochLog, taskId } = parts;
  await epochLog.fence();
  for (let tries = 1; ; tries++) {
    const range = await epochLog.stateLogRange();
    const attempt: Attempt = { opened: null };
    try {
      return await recoverWithin(range, parts, attempt);
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

async function recoverWithin(range: LogRange, parts: RecoveryParts, attempt: Attempt): Promise<Recovered> {
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
  for await (const { key, value } of storage.store.scan(TIMER_PREFIX)) {
    const due = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    for (let at = 0; at + 8 <= due.length; at += 8) opened.onTimer(key.subarray(1), due.readDoubleLE(at));
  }
  const recovered = await replay(parts, opened, start, start.stateLogOffset ?? range.start);
  if (recovered.at.epoch < 0 && range.start > 0) {
    throw new StreamError(
      'state-lost',
      `${taskId}: the state log begins at offset ${range.start} and holds no whole epoch, there is no local state and no usable checkpoint. ` +
        'Starting over would process the source twice. To do that all the same, start with --fresh',
    );
  }
  return recovered;
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

async function replay(parts: RecoveryParts, opened: Opened, start: ResumePoint, from: number): Promise<Recovered> {
  const decoder = new StateLogDecoder();
  const totals = { deltas: 0, changes: 0, skipped: 0 };
  let at = start;
  const startedAt = parts.clock.monotonic();
  const end = await parts.epochLog.readStateLog(from, async (value, offset, nextOffset) => {
    if (parts.shouldStop()) throw new StoppedError();
    const record = decoder.push(value, offset);
    if (record === null || record.kind === 'pointer') return;
    const { head } = record;
    if (head.epoch <= at.epoch) return;
    if (head.epoch !== at.epoch + 1) {
      throw new StreamError(
        'state-lost',
        `${parts.taskId}: the state log goes on at epoch ${head.epoch} (offset ${offset}), but epoch ${at.epoch + 1} is due: ` +
          'the records between, and every checkpoint that covers them, are gone. To give up the state, start with --fresh',
      );
    }
    if (at.sourceOffset !== null && head.from !== at.sourceOffset) {
      throw new CorruptDataError(
        `${parts.taskId}: epoch ${head.epoch} begins at source offset ${head.from}, the one before ended at ${at.sourceOffset} (I2)`,
      );
    }
    await applyDelta(record, opened, totals);
    at = {
      epoch: head.epoch,
      sourceOffset: head.to,
      stateLogOffset: nextOffset,
      maxEventTimeMs: head.maxEventTimeMs,
      cursors: head.cursors,
    };
    opened.state.forgetChanged();
    opened.writeBehind.sweep(head.epoch, parts.clock.monotonic());
    opened.writeBehind.committed(at, parts.clock.monotonic());
    totals.deltas++;
    if (totals.deltas % 1000 === 0) {
      const seconds = Math.round((parts.clock.monotonic() - startedAt) / 1000);
      parts.onProgress(`${parts.taskId}: ${totals.deltas} epochs replayed in ${seconds} s`);
    }
  });
  // What was applied last is done with: else timers that are due at once could find every slot in use.
  opened.state.releaseBatchesBefore(null);
  return { at: { ...at, stateLogOffset: end }, ...totals };
}

type Totals = { changes: number; skipped: number };

async function applyDelta(record: DeltaRecord, opened: Opened, totals: Totals): Promise<void> {
  try {
    await applyChanges(record, opened, totals);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new CorruptDataError(`the changes of epoch ${record.head.epoch} in the state log end early`, { cause });
  }
}

async function applyChanges(
  record: DeltaRecord,
  { state, writeBehind, onTimer }: Opened,
  totals: Totals,
): Promise<void> {
  const { changes, head } = record;
  if (record.layoutVersion !== state.layout.version) {
    throw new StreamError(
      'state-version',
      `the state log holds ${state.layout.name} state of version ${record.layoutVersion}, this build reads version ${state.layout.version}`,
    );
  }
  const slots = new Int32Array(Math.min(record.changeCount, CHANGES_AT_ONCE));
  for (let done = 0; done < record.changeCount; ) {
    const first = changes.position;
    const count = acquireSome(record, state, slots, record.changeCount - done);
    if (count === 0) {
      // Everything hot is dirty: epoch n is only half applied, so the resume point stays before it.
      writeBehind.sweepAll(head.epoch - 1, head.epoch - 1, WRITES_AT_ONCE);
      await writeBehind.idle();
      continue;
    }
    await state.loadMissing();
    changes.position = first;
    for (let i = 0; i < count; i++) {
      const keyLength = changes.u8();
      changes.position += keyLength;
      const slot = slots[i];
      if (state.epochOf[slot] >= head.epoch) {
        state.codec.skip(changes); // I5: the stored value reflects this epoch already
        totals.skipped++;
        continue;
      }
      state.touch(slot, head.epoch);
      state.codec.read(changes, slot);
      for (const { column } of state.codec.timers) {
        if (column.due[slot] > 0) onTimer(state.index.key(slot), column.due[slot]);
      }
    }
    totals.changes += count;
    done += count;
  }
}

function acquireSome(record: DeltaRecord, state: KeyedState, slots: Int32Array, left: number): number {
  const { changes } = record;
  const most = Math.min(left, slots.length);
  let count = 0;
  // What is being applied must not be evicted for what is applied with it.
  const round = state.beginBatch();
  state.releaseBatchesBefore(round);
  while (count < most) {
    const start = changes.position;
    const length = changes.u8();
    const slot = state.acquire(changes.bytes, start + 1, length, round);
    if (slot < 0) {
      changes.position = start;
      break;
    }
    changes.position = start + 1 + length;
    state.codec.skip(changes);
    slots[count++] = slot;
  }
  return count;
}
