/**
 * Owns a task's past for tests of recovery: epochs in a state log, a store on a disk, checkpoints, and the truth of
 * what the cards hold. Made with the core's own parts, without a task around them.
 */
import { TaskStore } from '../../../src/stream/checkpoint/task-store.js';
import { encodeDelta, encodePointer } from '../../../src/stream/epoch/delta.js';
import { type Recovered, recover } from '../../../src/stream/epoch/recovery.js';
import type { EpochLog } from '../../../src/stream/ports.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { ByteWriter } from '../../../src/stream/state/byte-writer.js';
import { KeyedState } from '../../../src/stream/state/keyed-state.js';
import { WriteBehind } from '../../../src/stream/state/write-behind.js';
import { makeMemoryLog } from '../../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../../src/stream/testing/memory-store.js';
import { type CardState, card, cardLayout, cardSlot, erased, pay } from '../state/card-layout.js';

export const TASK = 'cards-0';
const LOG = 'log';

export class History {
  readonly log = makeMemoryLog({ maxRecordBytes: 120 });
  readonly disk = new MemoryDisk();
  readonly snapshots = memorySnapshotStore(this.disk);
  readonly truth = new Map<string, ReturnType<typeof card>>();
  readonly said: string[] = [];
  /** Checkpoints that recovery missed, and how. */
  readonly lost: string[] = [];
  /** Goes with the next epoch, as the pointer to a checkpoint does. */
  pointTo: string | null = null;
  readonly timers: string[] = [];
  stopAfterRecords = Number.POSITIVE_INFINITY;
  epochLog!: EpochLog;
  storage!: TaskStore;
  state!: CardState;
  writes!: WriteBehind;
  recovered!: Recovered;

  static async begin(): Promise<History> {
    const history = new History();
    await (await history.log.open().openAdmin()).ensure([{ name: LOG, partitions: 1, cleanup: 'delete' }]);
    return history.restart();
  }

  /** A new process on this disk, or on an empty one. Rejects with what recovery rejects with. */
  async restart(options: { disk?: 'kept' | 'lost'; capacity?: number; version?: number } = {}): Promise<this> {
    this.disk.crash();
    if (options.disk === 'lost') this.disk.remove(`state/${TASK}`);
    this.said.length = 0;
    this.lost.length = 0;
    this.timers.length = 0;
    this.epochLog = await this.log.open().openEpochLog({ taskId: TASK, stateLog: { topic: LOG, partition: 0 } });
    const say = (message: string) => {
      this.said.push(message);
    };
    this.storage = await TaskStore.open({
      root: 'state',
      taskId: TASK,
      openStore: memoryStateStore({ disk: this.disk }),
      snapshots: this.snapshots,
      trusted: true,
      disk: this.disk.local,
      onDamaged: say,
    });
    let records = 0;
    this.recovered = await recover({
      taskId: TASK,
      epochLog: this.epochLog,
      storage: this.storage,
      clock: systemClock,
      openState: (start) => {
        const onTimer = (key: Uint8Array, dueMs: number) => {
          this.timers.push(`${Buffer.from(key)}@${dueMs}`);
        };
        const { store } = this.storage;
        const layout = { ...cardLayout, version: options.version ?? 1 };
        this.state = new KeyedState(layout, options.capacity ?? 64, store, onTimer);
        this.writes = new WriteBehind(erased(this.state), store, { ageMs: 1e9, slotsAtOnce: 1 }, start);
        return { state: erased(this.state), writeBehind: this.writes, onTimer };
      },
      onLostCheckpoint: (kind, message) => {
        this.lost.push(`${kind}: ${message}`);
        say(message);
      },
      onProgress: say,
      shouldStop: () => ++records > this.stopAfterRecords,
    });
    return this;
  }

  /** Commits one epoch in which these cards pay. */
  async epoch(cards: readonly string[]): Promise<void> {
    const { state, epochLog } = this;
    const { epoch: last } = this.recovered.at;
    const epoch = last + 1;
    const changed: number[] = [];
    for (const name of cards) {
      const slot = await cardSlot(state, name);
      pay(state, slot, epoch, epoch + cards.length);
      changed.push(slot);
    }
    const from = epoch * 10;
    const head = { taskId: TASK, epoch, from, to: from + 10, maxEventTimeMs: epoch, cursors: { rules: epoch } };
    const stateLog = encodeDelta(new ByteWriter(), head, erased(state), epochLog.maxRecordBytes);
    if (this.pointTo !== null) {
      const pointer = { snapshotId: this.pointTo, completedAtMs: 1, resume: this.writes.stored };
      stateLog.push(...encodePointer(epoch, pointer, epochLog.maxRecordBytes));
      this.pointTo = null;
    }
    state.forgetChanged();
    const { nextStateLogOffset } = await epochLog.commit({ outputs: [], stateLog });
    for (const [i, name] of cards.entries()) this.truth.set(name, card(state, changed[i]));
    const at = {
      epoch,
      sourceOffset: head.to,
      stateLogOffset: nextStateLogOffset,
      maxEventTimeMs: epoch,
      cursors: head.cursors,
    };
    this.recovered = { ...this.recovered, at };
    this.writes.committed(at, 0);
  }

  /** Brings everything to the store. */
  async store(): Promise<void> {
    const { epoch } = this.recovered.at;
    this.writes.sweepAll(epoch, epoch, 1000);
    await this.writes.idle();
  }

  /** Takes a checkpoint of the store as it is; returns its id and where the log goes on behind it. */
  async checkpoint(): Promise<{ id: string; stateLogOffset: number }> {
    const id = `chk-${String(this.writes.stored.epoch).padStart(12, '0')}-1`;
    this.disk.remove('scratch');
    await this.storage.store.snapshot('scratch');
    await this.snapshots.put(TASK, id, 'scratch');
    return { id, stateLogOffset: this.writes.stored.stateLogOffset ?? 0 };
  }

  /** Retention takes the log before `offset`. */
  forgetLogBefore(offset: number): void {
    this.log.faults.truncate(LOG, 0, offset);
  }

  /** What the cards hold now, as the state and its store have it. */
  async cards(): Promise<Map<string, ReturnType<typeof card>>> {
    const found = new Map<string, ReturnType<typeof card>>();
    for (const name of this.truth.keys()) {
      let slot = await cardSlot(this.state, name);
      if (slot < 0) {
        await this.store();
        slot = await cardSlot(this.state, name);
      }
      found.set(name, card(this.state, slot));
    }
    return found;
  }

  /** Where the state log ends. */
  async logEnd(): Promise<number> {
    return (await this.epochLog.stateLogRange()).end;
  }
}
