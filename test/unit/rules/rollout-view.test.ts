import { afterEach, beforeEach, expect, it } from 'vitest';
import { type RolloutRecord, type RuleTrip, rolloutKey, type TakeUp } from '../../../src/fraud/rules/rollout.js';
import { RolloutReader } from '../../../src/fraud/rules/rollout-view.js';
import type { StreamError } from '../../../src/stream/errors.js';
import type { RecordWriter, TopicAdmin } from '../../../src/stream/ports.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { type MemoryLog, makeMemoryLog } from '../../../src/stream/testing/memory-log.js';

const TOPIC = { name: 'rollouts', partitions: 1, cleanup: 'compact' } as const;
let log: MemoryLog;
let admin: TopicAdmin;
let writer: RecordWriter;
let view: RolloutReader;
let tripped: RuleTrip[];
let troubles: string[];
let refuseTrip: (trip: RuleTrip) => boolean;

beforeEach(async () => {
  log = makeMemoryLog();
  admin = await log.open().openAdmin();
  writer = await log.open().openWriter();
  tripped = [];
  troubles = [];
  refuseTrip = () => false;
  view = new RolloutReader({
    topic: TOPIC.name,
    pipeline: 'task',
    backend: log.open(),
    clock: { ...systemClock, schedule: (delayMs, fire) => systemClock.schedule(delayMs / 20, fire) },
    sourcePartitions: async () => 4,
    onTrip: async (trip) => {
      if (refuseTrip(trip)) throw new Error('the database is away');
      tripped.push(trip);
    },
    onTrouble: (error: StreamError) => troubles.push(error.code),
  });
});
afterEach(() => view.stop());

const takeUp = (partition: number, version: number): TakeUp => ({
  kind: 'take-up',
  taskId: `task-${partition}`,
  partition,
  ruleSet: { version, hash: `h${version}` },
  fromOffset: version * 10,
  at: version,
  refused: null,
});
const trip = (ruleId: string, at: number, taskId = 'task-0'): RuleTrip => ({
  kind: 'rule-trip',
  taskId,
  partition: 0,
  ruleId,
  ruleVersion: 1,
  ruleSetVersion: 1,
  failures: 5,
  evaluations: 6,
  reason: 'no such key',
  fromOffset: 3,
  at,
});
const write = (...records: readonly (RolloutRecord | string | { readonly gone: RolloutRecord })[]) =>
  writer.write(
    records.map((record) => {
      const isGone = typeof record !== 'string' && 'gone' in record;
      const subject = isGone ? record.gone : record;
      const value = isGone ? null : Buffer.from(typeof record === 'string' ? record : JSON.stringify(record));
      const key = typeof subject === 'string' ? null : Buffer.from(rolloutKey(subject));
      return { topic: TOPIC.name, key, value, headers: [], timestampMs: 0 };
    }),
  );
const until = (what: () => unknown) => expect.poll(what, { interval: 2, timeout: 5_000 });

it('knows the newest take-up of each task and the newest trip of each rule, from the topic’s beginning on', async () => {
  await admin.ensure([TOPIC]);
  await write(takeUp(0, 1), takeUp(1, 1), trip('a', 1), takeUp(0, 2), trip('b', 2), trip('a', 3));
  view.start();
  await view.whenCaughtUp();
  expect(view.state()).toEqual({
    partitions: 4,
    takeUps: [takeUp(1, 1), takeUp(0, 2)],
    trips: [trip('b', 2), trip('a', 3)],
    leftOut: 0,
    trouble: null,
  });
  await write(takeUp(1, 2), { gone: trip('b', 2) });
  await until(() => view.state().takeUps).toEqual([takeUp(0, 2), takeUp(1, 2)]);
  expect(view.state().trips).toEqual([trip('a', 3)]);
});

it('hands each trip on until it has been carried out, and lets none hold up the others', async () => {
  await admin.ensure([TOPIC]);
  await write(trip('a', 1), trip('a', 2), trip('b', 3));
  refuseTrip = ({ ruleId }) => ruleId === 'a';
  view.start();
  await until(() => tripped).toEqual([trip('b', 3)]);
  await write(trip('c', 4));
  await until(() => tripped).toEqual([trip('b', 3), trip('c', 4)]);
  refuseTrip = () => false;
  await until(() => tripped).toEqual([trip('b', 3), trip('c', 4), trip('a', 2)]);
});

it('leaves out what it can’t read, and tells of it', async () => {
  await admin.ensure([TOPIC]);
  await write('no JSON', '{"kind":"other"}', takeUp(0, 1));
  view.start();
  await view.whenCaughtUp();
  expect(view.state().takeUps).toEqual([takeUp(0, 1)]);
  expect(troubles).toEqual(['rollout-record-unreadable', 'rollout-record-unreadable']);
});

it('says why it knows nothing while the topic is missing, and finds it once it is made', async () => {
  view.start();
  await until(() => troubles.length > 1).toBe(true);
  expect(view.state()).toMatchObject({ takeUps: [], trouble: expect.stringContaining('rollouts') });
  await admin.ensure([TOPIC]);
  await view.whenCaughtUp();
  expect(view.state()).toEqual({ partitions: 4, takeUps: [], trips: [], leftOut: 0, trouble: null });
});

it('keeps what it knew when the topic goes, and forgets it for what a topic made again holds', async () => {
  await admin.ensure([TOPIC]);
  await write(takeUp(0, 7), takeUp(1, 7));
  view.start();
  await view.whenCaughtUp();
  await admin.delete([TOPIC.name]);
  await until(() => view.state().trouble).not.toBeNull();
  expect(view.state().takeUps).toHaveLength(2);
  await admin.ensure([TOPIC]);
  await write(takeUp(0, 1));
  await until(() => view.state().takeUps).toEqual([takeUp(0, 1)]);
  expect(view.state().trouble).toBeNull();
});

it('holds a bounded number of records, the newest', async () => {
  await admin.ensure([TOPIC]);
  await write(...Array.from({ length: 10_050 }, (_, i) => takeUp(i, 1)));
  view.start();
  await view.whenCaughtUp();
  const { takeUps } = view.state();
  expect([takeUps.length, takeUps[0]?.partition, takeUps.at(-1)?.partition]).toEqual([10_000, 50, 10_049]);
});

it('counts what tasks of other pipelines tell in the same topic, and leaves it out', async () => {
  await admin.ensure([TOPIC]);
  // The third is this pipeline's by its first letters alone, the fourth speaks for a partition that is not its own.
  const foreign = ['other-0', 'task-2-0', 'tasks-0', 'task-1'].map((taskId) => ({ ...takeUp(0, 1), taskId }));
  await write(...foreign, takeUp(1, 1), trip('a', 1, 'other-0'));
  view.start();
  await view.whenCaughtUp();
  expect(view.state()).toMatchObject({ takeUps: [takeUp(1, 1)], trips: [], leftOut: 5 });
  await write(trip('b', 2, 'other-0'), trip('c', 3));
  await until(() => tripped).toEqual([trip('c', 3)]);
  expect(view.state()).toMatchObject({ trips: [trip('c', 3)], leftOut: 6 });
});

it('hands a trip on although it holds as many records as it may', async () => {
  await admin.ensure([TOPIC]);
  await write(...Array.from({ length: 10_000 }, (_, i) => takeUp(i, 1)));
  view.start();
  await view.whenCaughtUp();
  await write(trip('a', 1));
  await until(() => tripped).toEqual([trip('a', 1)]);
});
