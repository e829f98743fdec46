/** Owns the tests of the way back to the truth (I4, I5): whatever is left, it is found, or said to be lost. */
import { beforeEach, describe, expect, it } from 'vitest';
import { StoppedError } from '../../../src/stream/epoch/replay.js';
import { CommitDoubtfulError, CorruptDataError } from '../../../src/stream/errors.js';
import { History, TASK } from './history.js';

let history: History;
const cards = (count: number) => Array.from({ length: count }, (_, i) => `card-${i}`);
const saidOf = (what: RegExp) => history.said.filter((line) => what.test(line));

beforeEach(async () => {
  history = await History.begin();
});

const expectTruth = async () => expect(await history.cards()).toEqual(history.truth);

describe('recovery', () => {
  it('of a task that never ran begins at nothing', () => {
    expect(history.recovered).toMatchObject({ deltas: 0, changes: 0 });
    expect(history.recovered.at).toMatchObject({ epoch: -1, sourceOffset: null, maxEventTimeMs: null, cursors: {} });
  });

  it('from the log alone brings back every card, and what the last epoch covered', async () => {
    for (let epoch = 0; epoch < 9; epoch++) await history.epoch(cards(1 + (epoch % 4)));
    await history.restart({ disk: 'lost' });
    expect(history.recovered).toMatchObject({ deltas: 9, changes: 21, skipped: 0 });
    expect(history.recovered.at).toEqual({
      epoch: 8,
      sourceOffset: 90,
      stateLogOffset: await history.logEnd(),
      maxEventTimeMs: 8,
      cursors: { rules: 8 },
    });
    await expectTruth();
  });

  it('goes on from the store and replays only what came after it', async () => {
    for (let epoch = 0; epoch < 4; epoch++) await history.epoch(cards(3));
    await history.store();
    for (let epoch = 0; epoch < 3; epoch++) await history.epoch(cards(2));
    await history.restart();
    expect(history.recovered).toMatchObject({ deltas: 3, changes: 6 });
    await expectTruth();
  });

  it('applies nothing twice where the store is ahead of its resume point (I5)', async () => {
    await history.epoch(['old']);
    for (let epoch = 0; epoch < 3; epoch++) await history.epoch(['busy', 'other']);
    // A crash in mid-write-behind: the store has 'busy' as of epoch 3, of 'other' nothing.
    history.writes.sweepAll(3, 3, 2);
    await history.writes.idle();
    expect(history.writes.stored.epoch).toBe(0);
    await history.restart();
    expect(history.recovered.skipped).toBe(3);
    await expectTruth();
  });

  it('with fewer hot keys than one epoch changed writes to make room, and loses nothing', async () => {
    await history.epoch(cards(40));
    await history.epoch(cards(30));
    await history.epoch(cards(40));
    await history.restart({ disk: 'lost', capacity: 6 });
    expect(history.recovered).toMatchObject({ deltas: 3, changes: 110, skipped: 0 });
    await expectTruth();
    // The same again over a store that holds half of it.
    await history.restart({ capacity: 6 });
    expect(history.recovered.at.epoch).toBe(2);
    await expectTruth();
  });

  it('leaves no key in use: what comes next, timers as well as records, may need every slot', async () => {
    await history.epoch(cards(6));
    await history.restart({ disk: 'lost', capacity: 6 });
    await history.store();
    expect(history.state.acquireHeld(Buffer.from('another'))).toBeGreaterThanOrEqual(0);
  });

  it('knows the timers that are pending, from the store and from the log', async () => {
    await history.epoch(['a', 'b']);
    await history.store();
    await history.epoch(['b', 'c', 'd']);
    await history.restart();
    const due = (name: string) => history.truth.get(name)?.quiet ?? 0;
    expect(new Set(history.timers)).toEqual(
      new Set(
        [`a@${due('a')}`, ...['b', 'c', 'd'].map((name) => `${name}@${due(name)}`), 'b@1002'].filter(
          (at) => !at.endsWith('@0'),
        ),
      ),
    );
  });

  it('waits for a doubtful commit to be settled by the fence, and takes it if it is there', async () => {
    await history.epoch(['a']);
    const { truth } = history;
    const before = new Map(truth);
    history.log.faults.failNextCommit('late');
    await expect(history.epoch(['a'])).rejects.toBeInstanceOf(CommitDoubtfulError);
    await history.restart();
    expect(history.recovered.at.epoch).toBe(1);
    expect((await history.cards()).get('a')?.count).toBe((before.get('a')?.count ?? 0) + 1);
  });

  it('ends between two records when it is asked to stop', async () => {
    for (let epoch = 0; epoch < 5; epoch++) await history.epoch(['a']);
    history.stopAfterRecords = 2;
    await expect(history.restart()).rejects.toBeInstanceOf(StoppedError);
    history.stopAfterRecords = Number.POSITIVE_INFINITY;
    await history.restart();
    await expectTruth();
  });
});

describe('recovery from a checkpoint', () => {
  let older: { id: string; stateLogOffset: number };
  let newer: { id: string; stateLogOffset: number };

  beforeEach(async () => {
    for (let epoch = 0; epoch < 3; epoch++) await history.epoch(cards(4));
    await history.store();
    older = await history.checkpoint();
    for (let epoch = 0; epoch < 3; epoch++) await history.epoch(cards(3));
    await history.store();
    newer = await history.checkpoint();
    for (let epoch = 0; epoch < 2; epoch++) await history.epoch(cards(5));
  });

  it('uses the newest one and replays the rest', async () => {
    history.forgetLogBefore(older.stateLogOffset);
    await history.restart({ disk: 'lost' });
    expect(saidOf(/restored from checkpoint/)).toEqual([expect.stringContaining(newer.id)]);
    expect(history.recovered.deltas).toBe(2);
    await expectTruth();
  });

  it('uses an older one when the newest is damaged, and says so', async () => {
    history.forgetLogBefore(older.stateLogOffset);
    history.snapshots.spoil(TASK, newer.id, 'entries.bin', Buffer.from('no entries'));
    await history.restart({ disk: 'lost' });
    expect(saidOf(/unusable/)).toEqual([expect.stringContaining(newer.id)]);
    expect(saidOf(/restored from checkpoint/)).toEqual([expect.stringContaining(older.id)]);
    expect(history.recovered.deltas).toBe(5);
    await expectTruth();
  });

  it('tells of a damaged one by itself, with its name and what is wrong with it', async () => {
    history.snapshots.spoil(TASK, newer.id, 'entries.bin', Buffer.from('no entries'));
    await history.restart({ disk: 'lost' });
    expect(history.lost).toEqual([expect.stringMatching(new RegExp(`^unusable: .*${newer.id}.*entries.bin`))]);
  });

  it('tells when the newest one that the log names is not kept, and goes on with the one before', async () => {
    history.pointTo = newer.id;
    await history.epoch(cards(2));
    await history.restart({ disk: 'lost' });
    expect(history.lost).toEqual([]);
    await history.snapshots.delete(TASK, newer.id);
    await history.restart({ disk: 'lost' });
    expect(history.lost).toEqual([expect.stringMatching(new RegExp(`^missing: .*${newer.id}.*${older.id}`))]);
    await expectTruth();
  });

  it('is refused as lost when every checkpoint is damaged and the log does not reach back', async () => {
    history.forgetLogBefore(older.stateLogOffset);
    history.snapshots.spoil(TASK, newer.id, 'entries.bin', null);
    history.snapshots.spoil(TASK, older.id, 'entries.bin', null);
    await expect(history.restart({ disk: 'lost' })).rejects.toMatchObject({ code: 'state-lost' });
    // And again: the failed attempt left nothing behind that would be taken for a state.
    await expect(history.restart()).rejects.toMatchObject({ code: 'state-lost' });
  });

  it('is refused as lost when nothing at all is left of the log', async () => {
    history.forgetLogBefore(await history.logEnd());
    await history.snapshots.delete(TASK, older.id);
    await history.snapshots.delete(TASK, newer.id);
    await expect(history.restart({ disk: 'lost' })).rejects.toMatchObject({ code: 'state-lost' });
  });

  it('needs no checkpoint where the log reaches back to its beginning', async () => {
    history.snapshots.spoil(TASK, newer.id, 'entries.bin', null);
    history.snapshots.spoil(TASK, older.id, 'entries.bin', null);
    await history.restart({ disk: 'lost' });
    expect(history.recovered.deltas).toBe(8);
    await expectTruth();
  });

  it('passes over a checkpoint that the log does not reach back to', async () => {
    history.forgetLogBefore(older.stateLogOffset + 1);
    history.snapshots.spoil(TASK, newer.id, 'entries.bin', null);
    await expect(history.restart({ disk: 'lost' })).rejects.toMatchObject({ code: 'state-lost' });
  });

  it('replaces a local store that is older than the first offset kept', async () => {
    const entries = () => history.disk.directory(`state/${TASK}`).entries ?? new Map<string, Uint8Array>();
    const stale = new Map(entries());
    await history.store();
    const checkpoint = await history.checkpoint();
    entries().clear();
    for (const [key, value] of stale) entries().set(key, value);
    history.forgetLogBefore(checkpoint.stateLogOffset);
    await history.restart();
    expect(saidOf(/restored from checkpoint/)).toEqual([expect.stringContaining(checkpoint.id)]);
    await expectTruth();
  });

  it('begins again when an owner before completes a checkpoint meanwhile and shortens the log', async () => {
    await history.store();
    const newest = await history.checkpoint();
    const { snapshots } = history;
    const list = snapshots.list;
    snapshots.list = async (task) => {
      snapshots.list = list;
      await snapshots.delete(task, older.id);
      await snapshots.delete(task, newer.id);
      history.forgetLogBefore(newest.stateLogOffset);
      return [older.id, newer.id];
    };
    await history.restart({ disk: 'lost' });
    expect(saidOf(/restored from checkpoint/)).toEqual([expect.stringContaining(newest.id)]);
    expect(history.recovered.deltas).toBe(0);
    await expectTruth();
  });

  it('builds a damaged local store anew, and keeps the damaged one', async () => {
    history.disk.directory(`state/${TASK}`).entries?.set('\0resume', Buffer.from('{"epoch":'));
    await history.restart();
    expect(saidOf(/damaged/)).toHaveLength(1);
    await expectTruth();
    expect(history.disk.directory(`state/${TASK}.damaged`).entries?.size).toBeGreaterThan(0);
  });
});

describe('recovery refuses', () => {
  it('a state log that ends before what the store has seen', async () => {
    for (let epoch = 0; epoch < 3; epoch++) await history.epoch(['a']);
    await history.store();
    const kept = new Map(history.disk.directory(`state/${TASK}`).entries);
    const other = await History.begin();
    await other.epoch(['a']);
    for (const [key, value] of kept) other.disk.directory(`state/${TASK}`).entries?.set(key, value);
    await expect(other.restart()).rejects.toMatchObject({ code: 'state-log-behind-store' });
  });

  it('changes of another layout version', async () => {
    await history.epoch(['a']);
    await expect(history.restart({ version: 2 })).rejects.toMatchObject({ code: 'state-version' });
  });

  it('a gap in the epochs', async () => {
    await history.epoch(['a']);
    await history.store();
    await history.epoch(['a']);
    history.recovered = { ...history.recovered, at: { ...history.recovered.at, epoch: 2, sourceOffset: 20 } };
    await history.epoch(['a']);
    await expect(history.restart()).rejects.toMatchObject({ code: 'state-lost' });
  });

  it('a damaged delta, naming its place', async () => {
    await history.epoch(['a']);
    const bad = Buffer.from('what is this');
    await history.epochLog.commit({ outputs: [], stateLog: [bad] });
    await expect(history.restart()).rejects.toBeInstanceOf(CorruptDataError);
    await expect(history.restart()).rejects.toThrow(/state log offset \d+/);
  });
});
