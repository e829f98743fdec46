import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OUTBOX_SEQUENCE_HEADER, OutboxRelay } from '../../../src/fraud/outbox/relay.js';
import { Random } from '../../../src/fraud/world/random.js';
import type { StreamError } from '../../../src/stream/errors.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { type CommitFault, type MemoryLog, makeMemoryLog } from '../../../src/stream/testing/memory-log.js';
import { MemoryOutbox } from './memory-outbox.js';

const TASK = 'fraud-outbox';
let log: MemoryLog;
let outbox: MemoryOutbox;
let relays: OutboxRelay[];
let troubles: string[];

beforeEach(async () => {
  log = makeMemoryLog();
  outbox = new MemoryOutbox();
  relays = [];
  troubles = [];
  const topic = (name: string) => ({ name, partitions: 1, cleanup: 'delete' as const });
  await (await log.open().openAdmin()).ensure([topic('labels'), topic('rules'), topic('outbox-log')]);
});
afterEach(() => Promise.all(relays.map((relay) => relay.stop())));

/** Time passes ten times as fast, so that retries cost a test little. */
const quickClock = {
  ...systemClock,
  monotonic: () => systemClock.monotonic() * 10,
  schedule: (delayMs: number, fire: () => void) => systemClock.schedule(delayMs / 10, fire),
};

function startRelay(): OutboxRelay {
  const relay = new OutboxRelay({
    outbox,
    backend: log.open(),
    taskId: TASK,
    stateLogTopic: 'outbox-log',
    clock: quickClock,
    onTrouble: (error: StreamError) => troubles.push(error.code),
  });
  relays.push(relay);
  relay.start();
  return relay;
}

/** Sequences in a topic, as they lie there. */
const relayed = (topic = 'labels') =>
  log.records(topic).map(({ headers }) => Number(headers.find(([name]) => name === OUTBOX_SEQUENCE_HEADER)?.[1]));
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const until = (what: () => boolean) => expect.poll(what, { interval: 2, timeout: 10_000 }).toBe(true);
const allForgotten = () => until(() => outbox.entries.length === 0);

describe('the relay', () => {
  it('carries every message to its topic in order, with key, JSON, time and sequence', async () => {
    outbox.add(3, (sequence) => (sequence === 2 ? 'rules' : 'labels'));
    outbox.entries[2] = { ...outbox.entries[2], value: null };
    startRelay();
    await allForgotten();
    expect([relayed('labels'), relayed('rules')]).toEqual([[1, 3], [2]]);
    const [first, tombstone] = log.records('labels');
    expect(first).toMatchObject({
      key: Buffer.from('key-1'),
      value: Buffer.from('{"sequence":1}'),
      timestampMs: 1_001,
    });
    expect(tombstone.value).toBeNull();
  });

  it('relays what is added later at once, and much of it in several commits', async () => {
    const relay = startRelay();
    await until(() => relay.status().state === 'running');
    outbox.add(1);
    await until(() => relayed().length === 1);
    outbox.add(12_000);
    await allForgotten();
    expect(relayed()).toEqual(upTo(12_001));
    expect(log.records('outbox-log')).toHaveLength(4);
    expect(relay.status()).toEqual({ state: 'running', error: null, relayed: 12_001, lag: 0, waitingSince: null });
  });

  it('keeps its state log short', async () => {
    const relay = startRelay();
    for (let i = 0; i < 600; i++) {
      outbox.add(1);
      await until(() => relay.status().relayed === i + 1);
    }
    expect(log.records('outbox-log').length).toBeLessThan(300);
    await relay.stop();
    startRelay();
    outbox.add(1);
    await allForgotten();
    expect(relayed()).toEqual(upTo(601));
  });
});

describe('exactly once', () => {
  it.each<CommitFault>(['before', 'after', 'late', 'fenced'])('holds when a commit goes wrong (%s)', async (fault) => {
    outbox.add(6_000);
    log.faults.failNextCommit(fault, TASK);
    startRelay();
    await until(() => troubles.length === 1);
    log.faults.failNextCommit(fault, TASK);
    outbox.add(10);
    await allForgotten();
    expect(relayed()).toEqual(upTo(6_010));
  });

  it('holds when the relay dies between commit and forgetting', async () => {
    outbox.add(5);
    outbox.forgetFails = true;
    const first = startRelay();
    await until(() => relayed().length === 5 && troubles.length > 0);
    await first.stop();
    outbox.forgetFails = false;
    outbox.add(1);
    startRelay();
    await allForgotten();
    expect(relayed()).toEqual(upTo(6));
  });

  it('holds when a second relay takes over in mid-commit, and the first one is a zombie', async () => {
    outbox.manySeats = true;
    outbox.add(5);
    const release = log.faults.holdCommits();
    startRelay();
    await new Promise((resolve) => setTimeout(resolve, 10));
    startRelay();
    await new Promise((resolve) => setTimeout(resolve, 10));
    release();
    outbox.add(5);
    await allForgotten();
    expect(relayed()).toEqual(upTo(10));
    expect(troubles).toContain('fenced');
  });

  it('holds when the database takes the seat away', async () => {
    const relay = startRelay();
    for (let i = 1; i <= 5; i++) {
      outbox.add(10);
      await until(() => relay.status().state === 'running');
      outbox.loseSeat();
      await until(() => troubles.length === i);
    }
    await allForgotten();
    expect(relayed()).toEqual(upTo(50));
  });

  it.each([1, 2, 3, 4, 5])('holds through faults, deaths and rivals in any order (seed %i)', async (seed) => {
    const random = new Random(seed);
    const faults: readonly CommitFault[] = ['before', 'after', 'late', 'fenced'];
    outbox.manySeats = true;
    for (let step = 0; step < 60; step++) {
      outbox.add(random.whole(0, 3));
      if (random.chance(1 / 3)) log.faults.failNextCommit(random.pick(faults), TASK);
      outbox.forgetFails = random.chance(1 / 4);
      if (relays.length === 0 || random.chance(1 / 8)) startRelay();
      if (random.chance(1 / 8)) await relays.splice(random.whole(0, relays.length - 1), 1)[0]?.stop();
      await new Promise((resolve) => setTimeout(resolve, random.whole(0, 7)));
    }
    outbox.forgetFails = false;
    // Rivals without a seat between them would fence each other for ever.
    await Promise.all(relays.splice(0).map((relay) => relay.stop()));
    startRelay();
    await allForgotten();
    expect(relayed()).toEqual(upTo(outbox.lastSequence));
  });
});

describe('the position belongs to one outbox', () => {
  it('so the low sequences of a new database are relayed as well', async () => {
    outbox.add(8);
    const first = startRelay();
    await allForgotten();
    await first.stop();
    outbox = new MemoryOutbox();
    outbox.outboxId = 'outbox-b';
    outbox.add(3);
    startRelay();
    await allForgotten();
    expect(relayed()).toEqual([...upTo(8), ...upTo(3)]);
  });

  it('and a database put back to an earlier state stops the relay until a person has looked', async () => {
    outbox.add(8);
    const relay = startRelay();
    await allForgotten();
    outbox.lastSequence = 4;
    await until(() => relay.status().error?.code === 'outbox-behind');
    outbox.add(1);
    outbox.outboxId = 'outbox-b';
    await allForgotten();
    expect(relayed()).toEqual([...upTo(8), 5]);
  });

  it('and entries that vanished before they were relayed stop it too', async () => {
    outbox.add(2);
    const relay = startRelay();
    await allForgotten();
    outbox.lastSequence += 2;
    outbox.add(1);
    await until(() => relay.status().error?.code === 'outbox-entries-missing');
    expect(relay.status().error?.message).toContain('Entries 3 to 4 are missing');
    expect(relayed()).toEqual([1, 2]);
  });
});

it('a state log that holds something else stops the relay, with the place', async () => {
  const other = await log.open().openWriter();
  await other.write([{ topic: 'outbox-log', key: null, value: Buffer.from('{"x":1}'), headers: [], timestampMs: 0 }]);
  outbox.add(1);
  const relay = startRelay();
  await until(() => relay.status().error?.code === 'corrupt-data');
  expect(relay.status().error?.message).toContain('Record 0 of outbox-log-0');
  expect(relayed()).toEqual([]);
});

it('a relay that waits for the seat takes over when the holder stops, and stops when asked', async () => {
  const [first, second, third] = [startRelay(), startRelay(), startRelay()];
  outbox.add(1);
  await allForgotten();
  expect([first, second, third].map((relay) => relay.status().lag)).toEqual([0, null, null]);
  await third.stop();
  await first.stop();
  outbox.add(1);
  await allForgotten();
  expect([second.status().relayed, third.status().state]).toEqual([1, 'stopped']);
  expect(relayed()).toEqual([1, 2]);
});
