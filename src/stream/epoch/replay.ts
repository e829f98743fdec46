/**
 * Owns the applying of state-log records to a task's state, one after the other from a resume point. It checks that
 * the epochs are contiguous (I2), passes over what a stored value reflects already (I5), tells where it is (`at`), and
 * can be given more records later: a recovery reads to the log's end once, a standby goes on for as long as it stands.
 *
 * Nothing is held between records beyond the parts of a record not yet whole: write-behind goes on while records come,
 * and slots are free to be evicted once they are stored. Neighbours: `recovery.ts`, `checkpoint/task-image.ts`, standbys.
 */
import { CorruptDataError, StreamError } from '../errors.js';
import type { Clock, EpochLog } from '../ports.js';
import type { KeyedState } from '../state/keyed-state.js';
import { type ResumePoint, stateVersionError } from '../state/stored-form.js';
import type { WriteBehind } from '../state/write-behind.js';
import {
  type CheckpointPointer,
  type DeltaRecord,
  SEED_EPOCH,
  type Seal,
  type Seed,
  StateLogDecoder,
} from './delta.js';

/** Changes of one delta that are loaded and applied at a time. */
const CHANGES_AT_ONCE = 4096;
/** A long replay says how far it is after this many epochs. */
const EPOCHS_BETWEEN_WORDS = 1000;

/** Whoever reads was asked to end before it was complete: nothing is lost, the next start begins it again. */
export class StoppedError extends Error {}

/** A task's state over its opened store. */
export interface OpenedState {
  readonly state: KeyedState;
  readonly writeBehind: WriteBehind;
  /** Told of the timers that replayed changes have pending. `key` is a view. */
  onTimer(key: Uint8Array, dueMs: number): void;
}

export interface ReplayParts {
  readonly taskId: string;
  readonly opened: OpenedState;
  /** What the store under `opened` reflects. */
  readonly start: ResumePoint;
  readonly clock: Clock;
  onProgress(message: string): void;
}

export interface ReplayTotals {
  deltas: number;
  changes: number;
  /** Changes passed over because the store had them already. */
  skipped: number;
}

export class Replay {
  /** The newest epoch applied and everything known after it. Its `stateLogOffset` is that behind the epoch's delta. */
  at: ResumePoint;
  /** The seal that the log ends with: the task's generation is over. Null: it goes on. */
  seal: Seal | null = null;
  /** The newest checkpoint that the records read so far speak of. Null: none of them does. */
  pointer: CheckpointPointer | null = null;
  readonly totals: ReplayTotals = { deltas: 0, changes: 0, skipped: 0 };
  private readonly decoder = new StateLogDecoder();
  private readonly startedAtMs: number;

  constructor(private readonly parts: ReplayParts) {
    this.at = parts.start;
    this.startedAtMs = parts.clock.monotonic();
  }

  /**
   * Applies everything that the log holds from `fromOffset` to its present end, and returns where reading goes on: pass
   * that the next time. `shouldStop` is asked before each record. After any error but {@link StoppedError} the state is
   * of no further use. Errors: {@link StoppedError}, state-lost, state-version, state-log-foreign,
   * {@link CorruptDataError}, those of the log.
   */
  async readOn(epochLog: EpochLog, fromOffset: number, shouldStop: () => boolean): Promise<number> {
    const end = await epochLog.readStateLog(fromOffset, async (value, offset, nextOffset) => {
      if (shouldStop()) throw new StoppedError();
      await this.apply(value, offset, nextOffset);
    });
    this.letGo();
    return end;
  }

  /** Applies the state log's next record. `nextOffset` is the log's position behind it. Errors as {@link readOn}. */
  async apply(value: Buffer, offset: number, nextOffset: number): Promise<void> {
    const record = this.decoder.push(value, offset);
    if (record === null) return;
    if (record.kind === 'pointer') this.pointer = record.pointer;
    else if (record.kind === 'seal') this.seal = record.seal;
    else if (record.kind === 'seed') this.expectSeeded(record.seed, offset);
    else await this.takeDelta(record, offset, nextOffset);
  }

  private async takeDelta(record: DeltaRecord, offset: number, nextOffset: number): Promise<void> {
    const { head } = record;
    this.expectOwn(head.taskId, offset);
    if (head.epoch <= this.at.epoch) return;
    this.expectNext(record, offset);
    await this.applyDelta(record);
    this.at = {
      epoch: head.epoch,
      sourceOffset: head.to,
      stateLogOffset: nextOffset,
      maxEventTimeMs: head.maxEventTimeMs,
      cursors: head.cursors,
    };
    const { opened, clock } = this.parts;
    opened.state.forgetChanged();
    opened.writeBehind.sweep(head.epoch, clock.monotonic());
    opened.writeBehind.committed(this.at, clock.monotonic());
    this.totals.deltas++;
    if (this.totals.deltas % EPOCHS_BETWEEN_WORDS === 0) {
      const seconds = Math.round((clock.monotonic() - this.startedAtMs) / 1000);
      this.parts.onProgress(`${this.parts.taskId}: ${this.totals.deltas} epochs replayed in ${seconds} s`);
    }
  }

  /** What was applied last is done with: else timers that are due at once could find every slot in use. */
  letGo(): void {
    this.parts.opened.state.releaseBatchesBefore(null);
  }

  /** For while no records come: hands those of the dirty slots to the store whose time has come. */
  writeSome(): void {
    this.parts.opened.writeBehind.check();
    this.parts.opened.writeBehind.sweep(this.at.epoch, this.parts.clock.monotonic());
  }

  /** Brings everything applied so far to the store. Rejects when a write failed. */
  async writeAll(): Promise<void> {
    await this.parts.opened.writeBehind.writeAll(this.at.epoch);
  }

  private expectOwn(taskId: string, offset: number): void {
    if (taskId === this.parts.taskId) return;
    throw new StreamError(
      'state-log-foreign',
      `the state log that ${this.parts.taskId} was given holds epochs of ${taskId} (offset ${offset}): each pipeline needs a state log of its own. ` +
        'Give this one another state-log topic, or the other one its name back',
    );
  }

  /** The state that a seed speaks of is in a checkpoint alone, which must be under this replay. */
  private expectSeeded(seed: Seed, offset: number): void {
    this.expectOwn(seed.taskId, offset);
    if (this.at.epoch >= SEED_EPOCH) return;
    throw new StreamError(
      'state-lost',
      `${seed.taskId}: generation ${seed.generation} began from savepoint ${seed.savepoint} with checkpoint ${seed.snapshotId}, which is not among the checkpoints kept. ` +
        'Bring it back, or run the command again that began the generation: it makes it anew',
    );
  }

  private expectNext({ head }: DeltaRecord, offset: number): void {
    const { taskId } = this.parts;
    const { at, seal } = this;
    if (seal !== null) {
      throw new CorruptDataError(
        `${taskId}: epoch ${head.epoch} (offset ${offset}) lies behind the seal for generation ${seal.generation}`,
      );
    }
    if (head.epoch !== at.epoch + 1) {
      throw new StreamError(
        'state-lost',
        `${taskId}: the state log goes on at epoch ${head.epoch} (offset ${offset}), but epoch ${at.epoch + 1} is due: ` +
          'the records between, and every checkpoint that covers them, are gone. To give up the state, start with --fresh',
      );
    }
    if (at.sourceOffset !== null && head.from !== at.sourceOffset) {
      throw new CorruptDataError(
        `${taskId}: epoch ${head.epoch} begins at source offset ${head.from}, the one before ended at ${at.sourceOffset} (I2)`,
      );
    }
  }

  private async applyDelta(record: DeltaRecord): Promise<void> {
    try {
      await this.applyChanges(record);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new CorruptDataError(`the changes of epoch ${record.head.epoch} in the state log end early`, { cause });
    }
  }

  private async applyChanges(record: DeltaRecord): Promise<void> {
    const { state, writeBehind, onTimer } = this.parts.opened;
    const { changes, head } = record;
    if (record.layoutVersion !== state.layout.version) {
      throw stateVersionError('the state log', state.layout, record.layoutVersion);
    }
    const slots = new Int32Array(Math.min(record.changeCount, CHANGES_AT_ONCE));
    for (let done = 0; done < record.changeCount; ) {
      const first = changes.position;
      const count = acquireSome(record, state, slots, record.changeCount - done);
      if (count === 0) {
        // Everything hot is dirty: epoch n is only half applied, so the resume point stays before it.
        writeBehind.sweepAll(head.epoch - 1, head.epoch - 1);
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
          this.totals.skipped++;
          continue;
        }
        state.touch(slot, head.epoch);
        state.codec.read(changes, slot);
        for (const { column } of state.codec.timers) {
          if (column.due[slot] > 0) onTimer(state.index.key(slot), column.due[slot]);
        }
      }
      this.totals.changes += count;
      done += count;
    }
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
