/** Owns the tests of replay: it can go on for ever behind a growing log, and takes in nothing that does not belong there. */
import { beforeEach, describe, expect, it } from 'vitest';
import { encodeDelta, encodeSeal, encodeSeed, type Seal } from '../../../src/stream/epoch/delta.js';
import { Replay, StoppedError } from '../../../src/stream/epoch/replay.js';
import type { StateStore } from '../../../src/stream/ports.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { ByteWriter } from '../../../src/stream/state/byte-writer.js';
import { KeyedState } from '../../../src/stream/state/keyed-state.js';
import { FRESH_START, type ResumePoint } from '../../../src/stream/state/stored-form.js';
import { WriteBehind } from '../../../src/stream/state/write-behind.js';
import {
  type CardState,
  card,
  cardLayout,
  cardSlot,
  emptyCard,
  erased,
  openMemoryStore,
} from '../state/card-layout.js';
import { History, TASK } from './history.js';

let history: History;
let store: StateStore;
let state: CardState;
let writes: WriteBehind;

/** A follower of the task of `history`, with a store of its own; it never fences. */
function follow(start: ResumePoint = FRESH_START, options = { capacity: 8, ageMs: 0, taskId: TASK }): Replay {
  state = new KeyedState(cardLayout, options.capacity, store, () => {});
  writes = new WriteBehind(erased(state), store, { ageMs: options.ageMs, slotsAtOnce: 64 }, start);
  const opened = { state: erased(state), writeBehind: writes, onTimer: () => {} };
  return new Replay({ taskId: options.taskId, opened, start, clock: systemClock, onProgress: () => {} });
}

const cards = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `card-${from + i}`);
const never = () => false;

async function expectTruth(): Promise<void> {
  for (const [name, truth] of history.truth) {
    const slot = await cardSlot(state, name);
    expect(slot).toBeGreaterThanOrEqual(0);
    expect(card(state, slot)).toEqual(truth);
  }
}

beforeEach(async () => {
  history = await History.begin();
  ({ store } = await openMemoryStore());
});

describe('a replay', () => {
  it('goes on behind the log as it grows, with few slots for many keys, and knows where it is', async () => {
    const replay = follow();
    let from = 0;
    for (let epoch = 0; epoch < 40; epoch++) {
      await history.epoch(cards(6, (epoch * 5) % 60));
      if (epoch % 3 === 2) continue;
      from = await replay.readOn(history.epochLog, from, never);
      // Behind the record; the commit's receipt says behind its marker.
      expect(replay.at).toEqual({ ...history.recovered.at, stateLogOffset: expect.any(Number) });
    }
    from = await replay.readOn(history.epochLog, from, never);
    expect(replay.totals).toMatchObject({ deltas: 40, changes: 240, skipped: 0 });
    await replay.writeAll();
    await expectTruth();
    expect(writes.stored.epoch).toBe(39);
    // The owner was never disturbed.
    await history.epoch(['card-1']);
  });

  it('stores what it has applied while no records come', async () => {
    const replay = follow(FRESH_START, { capacity: 8, ageMs: 0, taskId: TASK });
    await history.epoch(cards(4));
    await replay.readOn(history.epochLog, 0, never);
    for (let tries = 0; tries < 5 && state.dirtyKeys > 0; tries++) {
      replay.writeSome();
      await writes.idle();
    }
    expect(state.dirtyKeys).toBe(0);
    expect(writes.stored).toEqual(replay.at);
    const again = follow(writes.stored);
    await again.readOn(history.epochLog, writes.stored.stateLogOffset ?? -1, never);
    expect(again.totals.deltas).toBe(0);
    await expectTruth();
  });

  it('that was stopped between records goes on where it was, in the midst of a delta cut into many', async () => {
    await history.epoch(cards(7));
    await history.epoch(cards(7));
    const replay = follow();
    let asked = 0;
    const from: number[] = [];
    const remembering = { ...history.epochLog, readStateLog: history.epochLog.readStateLog.bind(history.epochLog) };
    let position = 0;
    remembering.readStateLog = (start, onRecord) =>
      history.epochLog.readStateLog(start, async (value, offset, next) => {
        await onRecord(value, offset, next);
        position = next;
      });
    for (;;) {
      try {
        await replay.readOn(remembering, position, () => ++asked % 2 === 0);
        break;
      } catch (error) {
        expect(error).toBeInstanceOf(StoppedError);
        from.push(position);
      }
    }
    expect(from.length).toBeGreaterThan(3);
    await replay.writeAll();
    await expectTruth();
  });
});

describe('a state log', () => {
  const append = (records: Buffer[]) => history.epochLog.commit({ outputs: [], stateLog: records });
  const read = (replay: Replay) =>
    replay.readOn(history.epochLog, 0, never).then(null, (error: unknown) => error as Error & { code: string });
  const max = () => history.epochLog.maxRecordBytes;
  const seal: Seal = { generation: 3, stateLog: 'log-3', source: 'in', partitions: 6, savepoint: 'x' };

  it('of another task is refused, by its epochs as by its seed, and both names are told', async () => {
    await history.epoch(cards(2));
    const failure = await read(follow(FRESH_START, { capacity: 8, ageMs: 0, taskId: 'merchants-0' }));
    expect(failure).toMatchObject({
      code: 'state-log-foreign',
      message: expect.stringMatching(/merchants-0.*cards-0/),
    });
    // Also where its epochs are older than what is known already.
    const ahead = { ...FRESH_START, epoch: 7, sourceOffset: 80 };
    expect(await read(follow(ahead, { capacity: 8, ageMs: 0, taskId: 'merchants-0' }))).toMatchObject({
      code: 'state-log-foreign',
    });
    history = await History.begin();
    const ids = { savepoint: 'x', savepointId: 'y', snapshotId: 'z' };
    await append(encodeSeed({ taskId: TASK, generation: 2, ...ids, resume: FRESH_START }, max()));
    expect(await read(follow(ahead, { capacity: 8, ageMs: 0, taskId: 'merchants-0' }))).toMatchObject({
      code: 'state-log-foreign',
    });
  });

  it('that begins with a seed is lost to who does not have its checkpoint, and goes on for who has', async () => {
    const ids = { savepoint: 'monday', savepointId: 'y', snapshotId: 'chk-1' };
    const resume = { ...FRESH_START, epoch: 1, sourceOffset: 10, stateLogOffset: 0 };
    await append(encodeSeed({ taskId: TASK, generation: 2, ...ids, resume }, max()));
    expect(await read(follow())).toMatchObject({ code: 'state-lost', message: expect.stringContaining('chk-1') });
    const replay = follow(resume);
    await replay.readOn(history.epochLog, 0, never);
    expect(replay.at).toEqual(resume);
  });

  it('tells its last seal; epochs behind one that was not taken back are refused', async () => {
    const delta = (epoch: number) => {
      const head = { taskId: TASK, epoch, from: epoch * 10, to: epoch * 10 + 10, maxEventTimeMs: 1, cursors: {} };
      return encodeDelta(new ByteWriter(), head, erased(history.state), max());
    };
    await append(delta(0));
    await append(encodeSeal(seal, max()));
    const replay = follow();
    const end = await replay.readOn(history.epochLog, 0, never);
    expect(replay.seal).toEqual(seal);
    expect(replay.at.epoch).toBe(0);
    await append(encodeSeal(null, max()));
    await append(delta(1));
    await replay.readOn(history.epochLog, end, never);
    expect(replay.seal).toBeNull();
    expect(replay.at.epoch).toBe(1);
    await append(encodeSeal(seal, max()));
    await append(delta(2));
    expect(await read(follow())).toMatchObject({ code: 'corrupt-data', message: expect.stringContaining('seal') });
  });

  it('of a card that never paid leaves it empty', async () => {
    await history.epoch(['card-0']);
    await read(follow());
    expect(card(state, await cardSlot(state, 'ghost'))).toEqual(emptyCard);
  });
});
