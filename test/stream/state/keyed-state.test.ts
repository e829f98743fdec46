/** Owns the tests of hot keys: what may be evicted and what never, and that nothing is lost on the way out and in again. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { StateStore } from '../../../src/stream/ports.js';
import { ByteWriter } from '../../../src/stream/state/byte-writer.js';
import { FRESH_START } from '../../../src/stream/state/stored-form.js';
import { WriteBehind } from '../../../src/stream/state/write-behind.js';
import {
  type CardState,
  card,
  cardLayout,
  cardSlot,
  emptyCard,
  erased,
  openCards,
  openMemoryStore,
  pay,
} from './card-layout.js';

let store: StateStore;
let state: CardState;
let writes: WriteBehind;
let reads: number;
let letReadsGo: (() => void) | null;

beforeEach(async () => {
  reads = 0;
  letReadsGo = null;
  let gate: Promise<void> | undefined;
  ({ store } = await openMemoryStore((operation) => {
    if (operation !== 'getMany') return;
    reads++;
    return gate;
  }));
  holdReads = () => {
    gate = new Promise((resolve) => {
      letReadsGo = resolve;
    });
  };
  state = openCards(store, 4);
  writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 1 }, FRESH_START);
});
let holdReads: () => void;

const key = (text: string) => Buffer.from(text);
const isHot = (text: string) => {
  const slot = state.acquire(key(text), 0, text.length, -1);
  return slot;
};

/** Ends epoch `epoch` and makes it durable; the store has all of it afterwards. */
async function commitAndStore(epoch: number): Promise<void> {
  state.forgetChanged();
  writes.committed({ ...FRESH_START, epoch, stateLogOffset: epoch + 1 }, 0);
  await writes.idle();
  while (state.dirtyKeys > 0) {
    writes.sweepAll(epoch, epoch, 100);
    await writes.idle();
  }
}

describe('a slot', () => {
  it('is not given away while its change is not in the store', async () => {
    for (const name of ['a', 'b', 'c', 'd']) pay(state, await cardSlot(state, name), 0, 1);
    expect(isHot('e')).toBe(-1);
    await commitAndStore(0);
    expect(isHot('e')).toBeGreaterThanOrEqual(0);
  });

  it('is not given away while a write of it is under way', async () => {
    for (const name of ['a', 'b', 'c', 'd']) pay(state, await cardSlot(state, name), 0, 1);
    state.forgetChanged();
    for (let i = 0; i < 4; i++) state.takeOldestDirty();
    expect(state.dirtyKeys).toBe(0);
    expect(isHot('e')).toBe(-1);
    state.beingWritten[2] = 0;
    expect(isHot('e')).toBe(2);
  });

  it('is not given away while a batch that uses it is on its way', async () => {
    const [first, second] = [state.beginBatch(), state.beginBatch()];
    const slots = ['a', 'b'].map((name) => state.acquire(key(name), 0, 1, first));
    const later = ['b', 'c', 'd'].map((name) => state.acquire(key(name), 0, 1, second));
    await state.loadMissing();
    expect(isHot('e')).toBe(-1);
    state.releaseBatchesBefore(second);
    expect(state.acquireHeld(key('e'))).toBe(slots[0]);
    expect(isHot('f')).toBe(-1);
    state.releaseBatchesBefore(null);
    expect(later).toContain(isHot('g'));
    await state.loaded();
  });

  it('is not given away while it is held, and is once let go', async () => {
    const held = ['a', 'b', 'c', 'd'].map((name) => state.acquireHeld(key(name)));
    await state.loaded();
    expect(isHot('e')).toBe(-1);
    state.letGo([held[3]]);
    expect(isHot('e')).toBe(held[3]);
  });

  it('of a card lately used outlives the slot of one that was not', async () => {
    const slots: number[] = [];
    for (const name of ['a', 'b', 'c', 'd']) slots.push(await cardSlot(state, name));
    const gone = await cardSlot(state, 'e'); // the sweep took all reference bits away but for e's
    expect(gone).toBe(slots[0]);
    await cardSlot(state, 'b');
    expect(await cardSlot(state, 'f')).toBe(slots[2]);
    expect(await cardSlot(state, 'b')).toBe(slots[1]);
  });
});

describe('a key', () => {
  it('that was evicted and loaded again is equal, whatever happened between', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(9), fc.nat(50)), { maxLength: 60, size: 'max' }), async (payments) => {
        const opened = await openMemoryStore();
        store = opened.store;
        state = openCards(store, 3);
        writes = new WriteBehind(erased(state), store, { ageMs: 0, slotsAtOnce: 1 }, FRESH_START);
        const truth = new Map<string, ReturnType<typeof card>>();
        for (const [epoch, [name, value]] of payments.entries()) {
          const slot = await cardSlot(state, `card-${name}`);
          expect(card(state, slot)).toEqual(truth.get(`card-${name}`) ?? emptyCard);
          pay(state, slot, epoch, value);
          truth.set(`card-${name}`, card(state, slot));
          await commitAndStore(epoch);
        }
        for (const [name, expected] of truth) {
          const slot = await cardSlot(state, name);
          expect(card(state, slot)).toEqual(expected);
          expect(state.timerStored[slot] === 1).toBe(expected.quiet > 0);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('carries the epoch of its last change through the store', async () => {
    pay(state, await cardSlot(state, 'a'), 7, 1);
    await commitAndStore(7);
    for (const name of ['b', 'c', 'd', 'e']) await cardSlot(state, name);
    const slot = await cardSlot(state, 'a');
    expect([state.epochOf[slot], state.epochOf[await cardSlot(state, 'new')]]).toEqual([7, -1]);
  });

  it('never seen before starts empty in a slot that another key had', async () => {
    for (const name of ['a', 'b', 'c', 'd']) {
      const slot = await cardSlot(state, name);
      pay(state, slot, 0, 5);
      state.columns.expiry.set(slot, 77);
    }
    await commitAndStore(0);
    const slot = await cardSlot(state, 'e');
    expect(card(state, slot)).toEqual(emptyCard);
    expect(state.timerStored[slot]).toBe(0);
  });

  it('asked for by two batches at once is read once, and both wait for it', async () => {
    holdReads();
    const first = state.acquire(key('a'), 0, 1, state.beginBatch());
    const load = state.loadMissing();
    const second = state.acquire(key('a'), 0, 1, state.beginBatch());
    expect(second).toBe(first);
    expect(state.loadMissing()).toBeNull();
    let everythingLoaded = false;
    const all = state.loaded().then(() => {
      everythingLoaded = true;
    });
    await new Promise(setImmediate);
    expect(everythingLoaded).toBe(false);
    letReadsGo?.();
    await Promise.all([load, all]);
    expect(reads).toBe(1);
  });

  it('that cannot be read says so to who waits, and to nobody else', async () => {
    const failing = await openMemoryStore((operation) => {
      if (operation === 'getMany') throw new Error('disk on fire');
    });
    const broken = openCards(failing.store, 4);
    broken.acquire(key('a'), 0, 1, broken.beginBatch());
    const load = broken.loadMissing();
    await new Promise(setImmediate); // an unhandled rejection would end the test run here
    await expect(load).rejects.toThrow('disk on fire');
  });

  it('that could not be read is not taken for loaded by who asks for it later, as a timer may', async () => {
    let fails = true;
    const failing = await openMemoryStore((operation) => {
      if (operation === 'getMany' && fails) throw new Error('disk on fire');
    });
    const broken = openCards(failing.store, 4);
    broken.acquire(key('a'), 0, 1, broken.beginBatch());
    await expect(broken.loadMissing()).rejects.toThrow('disk on fire');
    fails = false;
    expect(broken.acquireHeld(key('a'))).toBeGreaterThanOrEqual(0);
    await expect(broken.loaded()).rejects.toThrow('disk on fire');
  });
});

describe('changes of an epoch', () => {
  it('list a slot once, with its rings as they were when the epoch began', async () => {
    const slot = await cardSlot(state, 'a');
    pay(state, slot, 3, 1);
    pay(state, slot, 3, 2);
    expect([...state.changedSlots]).toEqual([slot]);
    expect(state.ringMarks[slot]).toBe(0);
    state.forgetChanged();
    expect([...state.changedSlots]).toEqual([]);
    pay(state, slot, 4, 3);
    expect(state.ringMarks[slot]).toBe(2);
    const change = new ByteWriter();
    state.codec.writeSince(change, slot, state.ringMarks);
    expect(change.length).toBe(4 + 8 + 8 + 6 + 8);
    expect(state.dirtyKeys).toBe(1);
    expect(state.firstDirtyEpoch[slot]).toBe(3);
  });

  it('can be of more slots than any number foreseen', async () => {
    const wide = openCards(store, 9000);
    const batch = wide.beginBatch();
    for (let i = 0; i < 9000; i++) {
      const name = key(`card-${i}`);
      wide.touch(wide.acquire(name, 0, name.length, batch), 0);
    }
    expect(new Set(wide.changedSlots).size).toBe(9000);
    await wide.loaded();
  });

  it('tell the timer queue of every timer set', async () => {
    const told: string[] = [];
    const timed = openCards(store, 4, (name, dueMs) => told.push(`${name}@${dueMs}`));
    const slot = await cardSlot(timed, 'a');
    pay(timed, slot, 0, 1);
    timed.columns.expiry.set(slot, 5000);
    expect(told).toEqual(['a@1001', 'a@5000']);
  });
});

it('a value of another layout version is refused, and says what to do', async () => {
  pay(state, await cardSlot(state, 'a'), 0, 1);
  await commitAndStore(0);
  const { KeyedState } = await import('../../../src/stream/state/keyed-state.js');
  const newer = new KeyedState({ ...cardLayout, version: 2 }, 4, store, () => {});
  newer.acquire(key('a'), 0, 1, newer.beginBatch());
  await expect(newer.loadMissing()).rejects.toMatchObject({ code: 'state-version' });
});
