/**
 * Owns the tests of the way to the store. The property: whatever the order of payments, closes, commits, acknowledged
 * writes and crashes, what the store and the state log hold together is the truth (I5).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TaskStore } from '../../../src/stream/checkpoint/task-store.js';
import { encodeDelta } from '../../../src/stream/epoch/delta.js';
import { recover } from '../../../src/stream/epoch/recovery.js';
import type { CommitReceipt } from '../../../src/stream/ports.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { ByteReader, ByteWriter } from '../../../src/stream/state/byte-writer.js';
import { decodeResumePoint, FRESH_START, RESUME_KEY, type ResumePoint } from '../../../src/stream/state/stored-form.js';
import { WriteBehind } from '../../../src/stream/state/write-behind.js';
import { makeMemoryLog } from '../../../src/stream/testing/memory-log.js';
import { memorySnapshotStore } from '../../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../../src/stream/testing/memory-store.js';
import { type CardState, card, cardSlot, erased, openCards, openMemoryStore, pay } from './card-layout.js';

const TASK = 'cards-0';
const turn = () => new Promise((resolve) => setImmediate(resolve));

type Step =
  | { readonly do: 'pay'; readonly card: number; readonly value: number }
  | { readonly do: 'close' | 'commit' | 'acknowledge' | 'write' | 'write all' | 'crash' };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('pay' as const), card: fc.nat(7), value: fc.nat(30) }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'close' as const,
        'close' as const,
        'commit' as const,
        'commit' as const,
        'acknowledge' as const,
        'acknowledge' as const,
        'write' as const,
        'write' as const,
        'write all' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'crash' as const }) },
);

/** One task's life with a log and a disk that outlive its crashes. */
class World {
  private readonly log = makeMemoryLog({ maxRecordBytes: 90 });
  private readonly disk = new MemoryDisk();
  private gate: (() => void) | null = null;
  private readonly open = memoryStateStore({
    disk: this.disk,
    fault: (operation) =>
      operation === 'writeBatch'
        ? new Promise<void>((resolve) => {
            this.gate = resolve;
          })
        : undefined,
  });
  private state!: CardState;
  private writes!: WriteBehind;
  private epoch = 0;
  private inFlight: { epoch: number; chunks: Buffer[]; changed: string[]; truth: Truth } | null = null;
  private receipt: { epoch: number; receipt: CommitReceipt } | null = null;
  /** Cards as of the last epoch in the log, and which cards each epoch changed. */
  private committed: Truth = new Map();
  private readonly changedIn = new Map<number, readonly string[]>();
  private epochLog!: Awaited<ReturnType<ReturnType<typeof this.log.open>['openEpochLog']>>;

  constructor(
    private readonly capacity: number,
    private readonly options: { readonly ageMs: number; readonly slotsAtOnce: number },
  ) {}

  async begin(): Promise<void> {
    await (await this.log.open().openAdmin()).ensure([{ name: 'log', partitions: 1, cleanup: 'delete' }]);
    await this.recover();
  }

  /** What a new process does; afterwards memory holds exactly what was committed. */
  async recover(): Promise<void> {
    this.disk.crash();
    this.inFlight = null;
    this.receipt = null;
    this.epochLog = await this.log.open().openEpochLog({ taskId: TASK, stateLog: { topic: 'log', partition: 0 } });
    const storage = await TaskStore.open({
      root: 'state',
      taskId: TASK,
      openStore: this.open,
      snapshots: memorySnapshotStore(this.disk),
      trusted: true,
      disk: this.disk.local,
      onDamaged: (message) => {
        throw new Error(message);
      },
    });
    const recovering = recover({
      taskId: TASK,
      epochLog: this.epochLog,
      storage,
      clock: systemClock,
      openState: (start) => {
        this.state = openCards(storage.store, this.capacity);
        this.writes = new WriteBehind(erased(this.state), storage.store, this.options, start);
        return { state: erased(this.state), writeBehind: this.writes, onTimer: () => {} };
      },
      onProgress: () => {},
      shouldStop: () => false,
    });
    let done = false;
    const settled = recovering.finally(() => {
      done = true;
    });
    settled.catch(() => {});
    // Recovery may write to make room: its writes go through at once.
    while (!done) {
      await turn();
      this.letWriteGo();
    }
    const { at } = await settled;
    expect(at.epoch).toBe(this.changedIn.size - 1);
    this.epoch = at.epoch + 1;
    await this.expectTruth();
  }

  async do(step: Step): Promise<void> {
    switch (step.do) {
      case 'pay': {
        const slot = await cardSlot(this.state, `card-${step.card}`);
        if (slot >= 0) pay(this.state, slot, this.epoch, step.value);
        break;
      }
      case 'close':
        if (this.inFlight === null && this.receipt === null) await this.close();
        break;
      case 'commit':
        await this.commit();
        break;
      case 'acknowledge':
        if (this.receipt !== null) {
          const { epoch, receipt } = this.receipt;
          this.receipt = null;
          this.writes.committed(this.point(epoch, receipt), 0);
        }
        break;
      case 'write':
        this.letWriteGo();
        break;
      case 'write all':
        // As the task does it: with nothing open and nothing in flight.
        if (this.inFlight === null && this.receipt === null && this.state.changedSlots.length === 0) {
          this.writes.sweepAll(this.epoch - 1, this.epoch - 1, 2);
        }
        break;
      case 'crash':
        await this.recover();
    }
    await turn();
    this.writes.check();
    this.expectStoreIsNeverAhead();
  }

  private point = (epoch: number, receipt: CommitReceipt): ResumePoint => ({
    epoch,
    sourceOffset: epoch * 10 + 10,
    stateLogOffset: receipt.nextStateLogOffset,
    maxEventTimeMs: null,
    cursors: {},
  });

  private async close(): Promise<void> {
    const { state, epoch } = this;
    const changed = [...state.changedSlots].map((slot) => state.index.key(slot).toString());
    const head = { taskId: 'cards-0', epoch, from: epoch * 10, to: epoch * 10 + 10, maxEventTimeMs: null, cursors: {} };
    const chunks = encodeDelta(new ByteWriter(), head, erased(state), this.epochLog.maxRecordBytes);
    const truth = new Map(this.committed);
    for (const slot of state.changedSlots) truth.set(state.index.key(slot).toString(), card(state, slot));
    state.forgetChanged();
    this.writes.sweep(epoch, 0);
    this.inFlight = { epoch, chunks, changed, truth };
    this.epoch++;
  }

  private async commit(): Promise<void> {
    const closed = this.inFlight;
    if (closed === null) return;
    this.inFlight = null;
    const receipt = await this.epochLog.commit({ outputs: [], stateLog: closed.chunks });
    this.committed = closed.truth;
    this.changedIn.set(closed.epoch, closed.changed);
    this.receipt = { epoch: closed.epoch, receipt };
  }

  private letWriteGo(): void {
    const go = this.gate;
    this.gate = null;
    go?.();
  }

  /** Every change up to the resume point is in the store, and nothing in the store is of an epoch not committed. */
  private expectStoreIsNeverAhead(): void {
    const entries = this.disk.directory(`state/${TASK}`).entries ?? new Map<string, Uint8Array>();
    const resume = decodeResumePoint(entries.get('\0resume') ?? null) ?? FRESH_START;
    const storedEpoch = (name: string) => {
      const value = entries.get(`\x01${name}`);
      return value === undefined ? -1 : new ByteReader(Buffer.from(value)).f64();
    };
    for (const [epoch, names] of this.changedIn) {
      if (epoch > resume.epoch) continue;
      for (const name of names) expect(storedEpoch(name)).toBeGreaterThanOrEqual(epoch);
    }
    expect(resume.epoch).toBeLessThan(this.changedIn.size);
    for (const [key, value] of entries) {
      if (!key.startsWith('\x01')) continue;
      expect(new ByteReader(Buffer.from(value)).f64()).toBeLessThan(this.changedIn.size);
    }
  }

  private async expectTruth(): Promise<void> {
    for (const [name, expected] of this.committed) {
      let slot = await cardSlot(this.state, name);
      while (slot < 0) {
        this.writes.sweepAll(this.epoch - 1, this.epoch - 1, 100);
        await turn();
        this.letWriteGo();
        await turn();
        slot = await cardSlot(this.state, name);
      }
      expect([name, card(this.state, slot)]).toEqual([name, expected]);
    }
  }
}
type Truth = Map<string, ReturnType<typeof card>>;

describe('the store and the state log', () => {
  it('hold the truth together, whatever is written, committed, acknowledged or lost when', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyStep, { maxLength: 80, size: 'max' }),
        fc.constantFrom(3, 5, 20),
        fc.constantFrom(1, 3),
        async (steps, capacity, slotsAtOnce) => {
          const world = new World(capacity, { ageMs: 0, slotsAtOnce });
          await world.begin();
          for (const step of steps) await world.do(step);
          await world.recover();
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('writing behind', () => {
  const at = (epoch: number): ResumePoint => ({ ...FRESH_START, epoch, sourceOffset: epoch, stateLogOffset: epoch });

  it('waits until a change is old enough, unless half of all slots are dirty', async () => {
    const { store } = await openMemoryStore();
    const state = openCards(store, 6);
    const writes = new WriteBehind(erased(state), store, { ageMs: 100, slotsAtOnce: 1 }, FRESH_START);
    const epochOf = async (epoch: number, names: string[], nowMs: number) => {
      for (const name of names) pay(state, await cardSlot(state, name), epoch, 1);
      state.forgetChanged();
      writes.sweep(epoch, nowMs);
      writes.committed(at(epoch), nowMs);
      await writes.idle();
      return state.dirtyKeys;
    };
    expect(await epochOf(0, ['a', 'b'], 1000)).toBe(2);
    expect(await epochOf(1, [], 1099)).toBe(2);
    expect(await epochOf(2, [], 1100)).toBe(1);
    expect(writes.stored.epoch).toBe(-1);
    expect(await epochOf(3, ['c', 'd', 'e'], 1101)).toBe(0);
    expect(writes.stored.epoch).toBe(3);
  });

  it('gives the store nothing before the epoch has committed, and one batch at a time', async () => {
    let batches = 0;
    let letGo = () => {};
    const { store } = await openMemoryStore((operation) => {
      if (operation !== 'writeBatch') return;
      batches++;
      return new Promise<void>((resolve) => {
        letGo = resolve;
      });
    });
    const state = openCards(store, 8);
    const writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 8 }, FRESH_START);
    pay(state, await cardSlot(state, 'a'), 0, 1);
    state.forgetChanged();
    // Half of all slots dirty would let it be written in its first epoch: the resume point decides.
    writes.sweepAll(0, 0, 8);
    await turn();
    expect(batches).toBe(0);
    writes.committed(at(0), 0);
    await turn();
    expect(batches).toBe(1);
    pay(state, await cardSlot(state, 'b'), 1, 1);
    state.forgetChanged();
    writes.sweepAll(1, 1, 8);
    writes.committed(at(1), 0);
    await turn();
    expect([batches, state.dirtyKeys, writes.settled]).toEqual([1, 1, false]);
    letGo();
    await writes.idle();
    expect(writes.stored.epoch).toBe(0);
  });

  it('moves the resume point on when epochs change nothing, and forgets the epochs behind it', async () => {
    let batches = 0;
    const { store } = await openMemoryStore((operation) => {
      if (operation === 'writeBatch') batches++;
    });
    const state = openCards(store, 4);
    const writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 1 }, FRESH_START);
    const remembered = (writes as unknown as { epochs: Map<number, unknown> }).epochs;
    for (let epoch = 0; epoch < 2000; epoch++) {
      writes.sweep(epoch, 0);
      writes.committed(at(epoch), 0);
      await writes.idle();
      expect(remembered.size).toBeLessThan(300);
    }
    expect(writes.stored.epoch).toBeGreaterThan(1700);
    expect(batches).toBeLessThan(20);
  });

  it('keeps the timers of a card in the store, all of them, exactly as long as they are pending', async () => {
    const { store, disk } = await openMemoryStore();
    const state = openCards(store, 4);
    const writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 4 }, FRESH_START);
    const slot = await cardSlot(state, 'a');
    let epoch = 0;
    const stored = async (quiet: number, expiry: number) => {
      state.touch(slot, epoch);
      state.columns.quiet.due[slot] = quiet;
      state.columns.expiry.due[slot] = expiry;
      state.forgetChanged();
      writes.sweepAll(epoch, epoch, 4);
      writes.committed(at(epoch), 0);
      await writes.idle();
      epoch++;
      const value = disk.directory('state').entries?.get('\x02a');
      if (value === undefined) return null;
      const bytes = Buffer.from(value);
      return Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(i * 8));
    };
    expect(await stored(0, 0)).toBeNull();
    expect(await stored(50, 0)).toEqual([50]);
    expect(await stored(50, 40)).toEqual([50, 40]);
    expect(await stored(0, 60)).toEqual([60]);
    expect(await stored(0, 0)).toBeNull();
  });

  it('says that a write failed, at the next look and to who waits', async () => {
    const { store } = await openMemoryStore((operation) => {
      if (operation === 'writeBatch') throw new Error('disk full');
    });
    const state = openCards(store, 4);
    const writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 1 }, FRESH_START);
    pay(state, await cardSlot(state, 'a'), 0, 1);
    state.forgetChanged();
    writes.sweepAll(0, 0, 4);
    writes.committed(at(0), 0);
    await expect(writes.idle()).rejects.toThrow('disk full');
    expect(() => writes.check()).toThrow('disk full');
    expect(state.beingWritten[0]).toBe(1);
  });

  it('writes nothing more once a write failed: a later resume point would pass over what is missing (I5)', async () => {
    let fails = true;
    const { store } = await openMemoryStore((operation) => {
      if (operation === 'writeBatch' && fails) throw new Error('bad block');
    });
    const state = openCards(store, 4);
    const writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 1 }, FRESH_START);
    const payIn = async (name: string, epoch: number) => {
      pay(state, await cardSlot(state, name), epoch, 1);
      state.forgetChanged();
      writes.sweepAll(epoch, epoch, 4);
      writes.committed(at(epoch), 0);
    };
    await payIn('a', 0);
    await expect(writes.idle()).rejects.toThrow('bad block');
    fails = false;
    await payIn('b', 1);
    await expect(writes.idle()).rejects.toThrow('bad block');
    expect(await store.getMany([RESUME_KEY])).toEqual([null]);
  });
});
