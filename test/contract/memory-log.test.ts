/** The in-memory log: the contract of every backend, and the faults that tests order from it. */
import { describe, expect, it } from 'vitest';
import { CommitDoubtfulError, FencedError, OffsetOutOfRangeError } from '../../src/stream/errors.js';
import { murmur2 } from '../../src/stream/partitioning.js';
import { RecordBatch } from '../../src/stream/records.js';
import { unitName } from '../../src/stream/source-partition.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { describeLogBackend } from './log-backend.contract.js';

describeLogBackend('memory', async () => {
  const log = makeMemoryLog();
  return { open: async () => log.open(), close: async () => {} };
});

async function taskOn(log = makeMemoryLog()) {
  const backend = log.open();
  const admin = await backend.openAdmin();
  await admin.ensure([
    { name: 'out', partitions: 1, cleanup: 'delete' },
    { name: 'state', partitions: 1, cleanup: 'delete' },
  ]);
  const epochs = await backend.openEpochLog({ taskId: 't', stateLog: { topic: 'state', partition: 0 } });
  await epochs.fence();
  const commit = (name: string) =>
    epochs.commit({
      outputs: [{ topic: 'out', partition: 0, key: null, value: Buffer.from(name), headers: [], timestampMs: 1 }],
      stateLog: [Buffer.from(name)],
    });
  const values = (topic: string) => log.records(topic).map((record) => record.value?.toString());
  return { log, backend, epochs, commit, values };
}

describe('faults of the memory log', () => {
  it('does not apply a commit that failed before, leaves the offsets of the aborted records empty, and reports doubt', async () => {
    const { log, commit, values, epochs, backend } = await taskOn();
    log.faults.failNextCommit('before');
    await expect(commit('a')).rejects.toBeInstanceOf(CommitDoubtfulError);
    expect([values('out'), values('state')]).toEqual([[], []]);
    await expect(commit('b')).rejects.toMatchObject({ code: 'commit-refused' });
    await epochs.fence();
    await commit('c');
    expect([values('out'), values('state')]).toEqual([['c'], ['c']]);
    const reader = await backend.openReader({ topic: 'out', partition: 0, from: 'earliest' });
    const batch = new RecordBatch(8);
    expect(reader.read(batch)).toBe(1);
    expect(batch.offset[0]).toBe(2);
    expect(batch.nextOffset).toBe(4);
  });

  it('applies a commit that failed after, and reports doubt', async () => {
    const { log, commit, values } = await taskOn();
    log.faults.failNextCommit('after');
    await expect(commit('a')).rejects.toBeInstanceOf(CommitDoubtfulError);
    expect([values('out'), values('state')]).toEqual([['a'], ['a']]);
  });

  it('applies a late commit when the task is fenced next', async () => {
    const { log, commit, values, epochs } = await taskOn();
    log.faults.failNextCommit('late');
    await expect(commit('a')).rejects.toBeInstanceOf(CommitDoubtfulError);
    expect([values('out'), values('state')]).toEqual([[], []]);
    await epochs.fence();
    expect([values('out'), values('state')]).toEqual([['a'], ['a']]);
  });

  it('reports a later owner on command, for the task that is named', async () => {
    const { log, commit, values } = await taskOn();
    log.faults.failNextCommit('fenced', 'another');
    await commit('a');
    log.faults.failNextCommit('fenced', 't');
    await expect(commit('b')).rejects.toBeInstanceOf(FencedError);
    expect(values('state')).toEqual(['a']);
  });

  it('holds commits until a test lets them go, and fences what was held', async () => {
    const { log, commit, values, epochs } = await taskOn();
    const release = log.faults.holdCommits();
    const held = commit('a');
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(values('out')).toEqual([]);
    release();
    await held;
    const again = log.faults.holdCommits();
    const zombie = commit('b');
    await epochs.fence();
    again();
    await expect(zombie).rejects.toBeInstanceOf(FencedError);
    await commit('c');
    expect(values('state')).toEqual(['a', 'c']);
  });

  it('delays commits', async () => {
    const { log, commit } = await taskOn();
    log.faults.delayCommits(30);
    const started = performance.now();
    await commit('a');
    expect(performance.now() - started).toBeGreaterThan(25);
  });

  it('cuts what a read gives, passes ordered gaps, and forgets on command', async () => {
    const { log, commit, backend } = await taskOn();
    for (const name of ['a', 'b', 'c']) await commit(name);
    log.faults.limitReads(1);
    const reader = await backend.openReader({ topic: 'out', partition: 0, from: 'earliest' });
    const batch = new RecordBatch(8);
    const positions = [];
    while (reader.read(batch) > 0) positions.push(reader.position);
    expect(positions).toEqual([1, 3, 6]);
    log.faults.leaveGap('out', 0, 10);
    expect(reader.read(batch)).toBe(0);
    expect(reader.position).toBe(16);
    log.faults.truncate('out', 0, 4);
    await expect(
      backend.openReader({ topic: 'out', partition: 0, from: 1 }).then((old) => old.whenReadable(10)),
    ).rejects.toBeInstanceOf(OffsetOutOfRangeError);
  });

  it('lends state-log buffers for the call only', async () => {
    const { commit, epochs } = await taskOn();
    await commit('abc');
    let kept: Buffer = Buffer.alloc(0);
    await epochs.readStateLog(0, (value) => {
      kept = value;
    });
    expect(kept.toString()).not.toBe('abc');
  });

  it('moves partitions between members and ends a membership on command', async () => {
    const { log, backend } = await taskOn();
    const assignment = await backend.openAssignment({ group: 'g', source: { topics: ['out'] } });
    const calls: string[] = [];
    await assignment.join({
      onFailed: () => undefined,
      onAssigned: async ({ active, standby }) =>
        void calls.push(`assigned ${active.map(unitName)}, standby ${standby.map(unitName)}`),
      onLost: async (reason) => void calls.push(`lost ${reason}`),
    });
    await log.faults.assign('g', { active: [], standby: [{ topic: 'out', partition: 0 }] });
    await log.faults.loseMembership('g', 'session expired');
    await log.faults.assign('g', { active: [{ topic: 'out', partition: 0 }], standby: [] });
    expect(calls).toEqual(['assigned out/0, standby ', 'assigned , standby out/0', 'lost session expired']);
  });
});

it("hashes keys as Kafka's tests say", () => {
  const golden: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ];
  for (const [key, hash] of golden) expect(murmur2(Buffer.from(key))).toBe(hash);
  const inside = Buffer.from('xxfoobaryy');
  expect(murmur2(inside, 2, 6)).toBe(-790332482);
});
