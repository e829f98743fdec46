/** Owns the small layout over which the tests of keyed state, write-behind and recovery run, and what they share. */
import type { OpenStateStore, StateStore } from '../../../src/stream/ports.js';
import { KeyedState } from '../../../src/stream/state/keyed-state.js';
import { f64, ring, stateLayout, timer, u32 } from '../../../src/stream/state/layout.js';
import { MemoryDisk, memoryStateStore, type StoreFault } from '../../../src/stream/testing/memory-store.js';

export const cardLayout = stateLayout(
  'card',
  { version: 1 },
  { count: u32, quiet: timer, expiry: timer, recent: ring(2, { value: f64 }) },
);
export type CardState = KeyedState<typeof cardLayout.fields>;

export const openCards = (
  store: StateStore,
  capacity: number,
  onTimer: (key: Buffer, dueMs: number) => void = () => {},
) => new KeyedState(cardLayout, capacity, store, onTimer);

/** The same state for parts of the core that know no layout. */
export const erased = (state: CardState) => state as unknown as KeyedState;

/** A store in memory whose operations wait, or fail, as `fault` says. */
export async function openMemoryStore(fault: StoreFault = () => {}, disk = new MemoryDisk()) {
  const open: OpenStateStore = memoryStateStore({ disk, fault });
  return { store: await open('state'), disk, open };
}

/** Finds or loads the slot of a card and leaves it evictable; -1 where there is no room. */
export async function cardSlot(state: CardState, card: string): Promise<number> {
  const key = Buffer.from(card);
  const slot = state.acquire(key, 0, key.length, state.beginBatch());
  await state.loadMissing();
  state.releaseBatchesBefore(null);
  return slot;
}

/** One payment of a card: what a keyed step would do. */
export function pay(state: CardState, slot: number, epoch: number, value: number): void {
  const { columns } = state;
  state.touch(slot, epoch);
  columns.count[slot] += 1;
  columns.recent.entry.value[columns.recent.append(slot)] = value;
  if (value % 3 === 0) columns.quiet.clear(slot);
  else columns.quiet.set(slot, 1000 + value);
}

/** Everything a slot holds. */
export function card(state: CardState, slot: number) {
  const { columns } = state;
  const recent: number[] = [];
  for (let back = 0; back < columns.recent.length(slot); back++) {
    recent.push(columns.recent.entry.value[columns.recent.newest(slot, back)]);
  }
  return { count: columns.count[slot], quiet: columns.quiet.due[slot], expiry: columns.expiry.due[slot], recent };
}

export const emptyCard = { count: 0, quiet: 0, expiry: 0, recent: [] as number[] };
