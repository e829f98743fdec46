/** Names of generations, what a start makes of topics that do not fit, and the time that a part has to stop. */
import { describe, expect, it } from 'vitest';
import { expectUnused } from '../../src/app/before-sealing.js';
import { Closers } from '../../src/app/closers.js';
import { loadConfiguration } from '../../src/app/configuration/index.js';
import { currentGeneration, findGeneration, isStateLogOf, stateLogOf } from '../../src/app/generation.js';
import { takeBack } from '../../src/app/new-generation.js';
import { savepointName } from '../../src/app/savepoints.js';
import { expectDrained } from '../../src/app/source-offsets.js';
import { prepareTopics } from '../../src/app/topics.js';
import { sealTask } from '../../src/stream/checkpoint/seal.js';
import { encodeSeed } from '../../src/stream/epoch/delta.js';
import { ownerIdOf } from '../../src/stream/pipeline/pipeline.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';

const configuration = loadConfiguration({ argv: ['--partitions=2'], env: {}, cwd: '/', readFile: () => undefined });
const SEAL = { generation: 2, stateLog: 'fraud.state-g2', source: 'payments.raw', partitions: 3, savepoint: 's1' };
const work = { clock: systemClock, signal: new AbortController().signal, onProgress: () => {} };

async function log() {
  const backend = makeMemoryLog().open();
  const admin = await backend.openAdmin();
  const parts = { configuration, backend, admin };
  await prepareTopics(admin, configuration, await currentGeneration(parts), () => {});
  const seal = async (stateLog: string, partition: number, value: typeof SEAL | null) => {
    const epochLog = await backend.openEpochLog({ taskId: `t-${partition}`, stateLog: { topic: stateLog, partition } });
    await sealTask(epochLog, value);
    await epochLog.close();
  };
  const seed = async (partition: number, savepoint = SEAL.savepoint) => {
    const taskId = `s-${partition}`;
    const epochLog = await backend.openEpochLog({ taskId, stateLog: { topic: SEAL.stateLog, partition } });
    const resume = { epoch: 1, sourceOffset: 0, stateLogOffset: 0, maxEventTimeMs: null, cursors: {} };
    const begun = { taskId, generation: 2, savepoint, savepointId: `id of ${savepoint}`, snapshotId: 'chk-1', resume };
    await epochLog.fence();
    await epochLog.commit({ outputs: [], stateLog: encodeSeed(begun, epochLog.maxRecordBytes) });
    await epochLog.close();
  };
  return { ...parts, seal, seed };
}

describe('generations', () => {
  it('have names that no other pipeline and no other generation has', () => {
    expect([1, 2, 13].map((number) => stateLogOf('fraud.state', number))).toEqual([
      'fraud.state',
      'fraud.state-g2',
      'fraud.state-g13',
    ]);
    expect(() => stateLogOf('x'.repeat(248), 2)).toThrow('over 249 characters');
    expect(isStateLogOf('fraud.state', 'fraud.state-g2')).toBe(true);
    expect(isStateLogOf('fraud.state', 'fraud.state-g2x')).toBe(false);
    expect(ownerIdOf('fraud-g2', 1, 0)).not.toBe(ownerIdOf('fraud', 2, 0));
    expect(savepointName('fraud', 3, Date.UTC(2026, 0, 2, 3, 4, 5, 6), 'stop')).toBe(
      'fraud-g3-stop-20260102T030405006Z',
    );
  });

  it('follow one another over the seals, and only once all tasks are sealed and all of the next are seeded', async () => {
    const { seal, seed, admin, ...parts } = await log();
    const find = () => findGeneration({ ...parts, admin });
    expect(await find()).toMatchObject({ current: { number: 1, partitions: 2 }, pending: null });
    await seal('fraud.state', 0, SEAL);
    expect(await find()).toMatchObject({ current: { number: 1 }, pending: { sealed: [0], seeded: [] } });
    await expect(currentGeneration({ ...parts, admin })).rejects.toMatchObject({ code: 'generation-unready' });
    await seal('fraud.state', 1, SEAL);
    await admin.ensure([{ name: SEAL.stateLog, partitions: 3, cleanup: 'delete' }]);
    await seed(0);
    await seed(2);
    expect(await find()).toMatchObject({ pending: { sealed: [0, 1], seeded: [0, 2] } });
    await seed(1);
    expect(await find()).toMatchObject({
      lineage: [{ number: 1 }, { number: 2 }],
      current: { number: 2, stateLog: 'fraud.state-g2', partitions: 3, seededFrom: 's1' },
      pending: null,
    });
  });

  it('that are whole are not taken back, though they looked half made a moment ago', async () => {
    const { seal, seed, admin, ...parts } = await log();
    await seal('fraud.state', 0, SEAL);
    await seal('fraud.state', 1, SEAL);
    await admin.ensure([{ name: SEAL.stateLog, partitions: 3, cleanup: 'delete' }]);
    await seed(0);
    await seed(1);
    const { current, pending } = await findGeneration({ ...parts, admin });
    if (pending === null) throw new Error('nothing is pending');
    await seed(2); // what was committed and not yet readable when it was looked for
    await expect(takeBack({ ...parts, ...work, admin }, current, pending)).rejects.toMatchObject({
      code: 'generation-whole',
    });
    expect(await admin.partitionCount(SEAL.stateLog)).toBe(3);
    expect(await currentGeneration({ ...parts, admin })).toMatchObject({ number: 2 });
  });

  it('are not whole through the seeds of another savepoint, which an attempt taken back has left', async () => {
    const { seal, seed, admin, ...parts } = await log();
    await admin.ensure([{ name: SEAL.stateLog, partitions: 3, cleanup: 'delete' }]);
    const next = { number: 2, stateLog: SEAL.stateLog, source: SEAL.source, partitions: 3, seededFrom: 's1' };
    await expectUnused({ ...parts, admin }, next);
    for (const partition of [0, 1, 2]) await seed(partition, 'older');
    await expect(expectUnused({ ...parts, admin }, next)).rejects.toMatchObject({
      code: 'generation-leftover',
      message: expect.stringContaining('partition 1 began with savepoint older'),
    });
    await expectUnused({ ...parts, admin }, next, ({ savepointId }) => savepointId === 'id of older');
    for (const partition of [0, 1]) await seal('fraud.state', partition, SEAL);
    const { current, pending } = await findGeneration({ ...parts, admin });
    expect(pending).toMatchObject({ sealed: [0, 1], seeded: [] });
    if (pending === null) throw new Error('nothing is pending');
    await takeBack({ ...parts, ...work, admin }, current, pending);
    expect(await admin.partitionCount(SEAL.stateLog)).toBe(null);
    expect(await currentGeneration({ ...parts, admin })).toMatchObject({ number: 1 });
  });

  it('are not begun anew where the first one’s state log, and so the way to the newest, is gone', async () => {
    const { seal, admin, ...parts } = await log();
    await admin.ensure([{ name: SEAL.stateLog, partitions: 3, cleanup: 'delete' }]);
    const find = () => currentGeneration({ ...parts, admin });
    const missing = { code: 'generations-missing', message: expect.stringContaining('fraud.state-g2 is there') };
    await expect(find()).rejects.toMatchObject(missing);
    await admin.delete(['fraud.state']);
    await expect(find()).rejects.toMatchObject(missing);
    await admin.ensure([{ name: 'fraud.state', partitions: 2, cleanup: 'delete' }]);
    await seal('fraud.state', 1, SEAL);
    await seal('fraud.state', 1, null);
    expect(await find()).toMatchObject({ number: 1 });
  });

  it('are not left while a producer has a Kafka transaction open on the source', async () => {
    const { admin, ...parts } = await log();
    const ranges = async () => [
      { partition: 0, start: 0, end: 0, writtenEnd: 0 },
      { partition: 1, start: 0, end: 5, writtenEnd: 7 },
    ];
    const moving = {
      ...parts,
      admin: { ...admin, ranges },
      signal: new AbortController().signal,
      from: { source: 'payments.raw', committed: [0, 5] },
      to: { source: 'payments.raw', partitions: 3 },
    };
    await expect(expectDrained(moving)).rejects.toThrow('transaction is open on payments.raw/1: offsets 5 to 7');
  });

  it('are open again when the seals were taken back', async () => {
    const { seal, ...parts } = await log();
    await seal('fraud.state', 0, SEAL);
    await seal('fraud.state', 0, null);
    expect(await findGeneration(parts)).toMatchObject({ current: { number: 1 }, pending: null });
  });
});

describe('the topics of a start', () => {
  it('may have grown, but not shrunk: then the error names the way', async () => {
    const { admin, backend } = await log();
    const generation = await currentGeneration({ configuration, backend, admin });
    await admin.grow('payments.raw', 5);
    expect(await prepareTopics(admin, configuration, generation, () => {})).toBe(2);
    await admin.delete(['payments.raw']);
    await admin.ensure([{ name: 'payments.raw', partitions: 1, cleanup: 'delete' }]);
    await expect(prepareTopics(admin, configuration, generation, () => {})).rejects.toMatchObject({
      code: 'topics-mismatch',
      message: expect.stringContaining('fraud rescale --partitions'),
    });
  });
});

describe('a part with a time of its own to stop', () => {
  it('takes none from the others, and is given up after it', async () => {
    const closers = new Closers(systemClock);
    const order: string[] = [];
    closers.add('log', async () => void order.push('log'));
    closers.add(
      'savepoint',
      () => new Promise((resolve) => systemClock.schedule(200, () => resolve(void order.push('savepoint')))),
      2_000,
    );
    closers.add('endless', () => new Promise(() => {}), 50);
    expect(await closers.closeAll()).toEqual([expect.stringMatching(/^endless did not stop within 0\.1 s$/)]);
    expect(order).toEqual(['savepoint', 'log']);
  });
});
