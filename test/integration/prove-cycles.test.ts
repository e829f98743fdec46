/** The proof by cycles: its oracle reads what lies in the topics and says what is wrong with it, and a seed repeats it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareAlertsSoFar } from '../../scripts/prove/compare.js';
import { nemesisOf } from '../../scripts/prove/cycles/cycle.js';
import { feedCards, LiveFeed, worldMessages } from '../../scripts/prove/cycles/live-feed.js';
import { readCyclesOptions } from '../../scripts/prove/cycles/options.js';
import { Oracle } from '../../scripts/prove/cycles/oracle.js';
import type { InputMessage } from '../../scripts/prove/input.js';
import { NEMESES } from '../../scripts/prove/nemeses/catalogue.js';
import type { AlertOutcome } from '../../scripts/prove/outcome.js';
import { RunningReference } from '../../scripts/prove/reference.js';
import { configurationOf } from '../../scripts/prove/setting-up.js';
import { type OpenedFraudPipeline, openFraudPipeline } from '../../src/app/fraud-parts.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';

const PARTITIONS = 2;
const CARDS = 300;
const MESSAGES = 3_000;
const timestampMs = Date.UTC(2026, 0, 1);
const source = configurationOf([]).topics.payments;

let opened: OpenedFraudPipeline;
let messages: readonly InputMessage[];

beforeAll(async () => {
  opened = await openFraudPipeline(configurationOf([`--card-token-secret=${'s'.repeat(32)}`]));
  const taken: InputMessage[] = [];
  for await (const message of worldMessages({ seed: 5, cards: CARDS, partitions: PARTITIONS, rate: 200 })) {
    if (taken.push(message) === MESSAGES) break;
  }
  messages = taken;
});
afterAll(() => opened.close());

async function topicsWith(records: readonly InputMessage[]) {
  const log = makeMemoryLog();
  const backend = log.open();
  const admin = await backend.openAdmin();
  await admin.ensure([
    { name: source, partitions: PARTITIONS, cleanup: 'delete' },
    { name: 'alerts', partitions: 1, cleanup: 'delete' },
    { name: 'state', partitions: 1, cleanup: 'delete' },
  ]);
  const writer = await backend.openWriter();
  const write = (topic: string, some: readonly Pick<OutputRecord, 'partition' | 'key' | 'value'>[]) =>
    writer.write(some.map((record) => ({ ...record, topic, headers: [], timestampMs })));
  await write(source, records);
  const ends = async () => (await admin.ranges(source)).map(({ end }) => end);
  const open = () =>
    Oracle.open({
      backend,
      admin,
      pipeline: opened.pipeline,
      source,
      alerts: 'alerts',
      partitions: PARTITIONS,
      cards: feedCards(CARDS),
    });
  return { log, backend, write, ends, open };
}

describe('the oracle of a live feed', () => {
  it('expects of the topic what the reference expects of the messages, in however many looks it reads them', async () => {
    const { open, ends } = await topicsWith(messages);
    const oracle = await open();
    const all = await ends();
    for (const share of [0.2, 0.7]) {
      await oracle.look(
        all.map((end) => Math.floor(end * share)),
        async () => {},
      );
    }
    const found = await oracle.finish(all);
    const reference = await RunningReference.open(opened.pipeline, [feedCards(CARDS), feedCards(CARDS)]);
    const offsets = [0, 0];
    for (const { partition, key, value } of messages) {
      await reference.add(partition, { key, value, offset: offsets[partition]++, timestampMs });
    }
    expect(found).toEqual(await reference.finish());
    expect(oracle.messages).toBe(MESSAGES);
    expect(found.alerts.size).toBeGreaterThan(MESSAGES / 200);
    expect(found.deadLetters.length).toBeGreaterThan(MESSAGES / 200);
  });

  it('misses alerts that should be there by now, once everything it has read is committed', async () => {
    const { open, ends } = await topicsWith(messages);
    const oracle = await open();
    const waitedFor: (readonly number[])[] = [];
    const problems = await oracle.look(await ends(), async (offsets) => void waitedFor.push(offsets));
    expect(waitedFor).toEqual([await ends()]);
    expect(problems[0]).toMatch(/^lost alert: /);
  });

  it('takes no gap in the source for its end', async () => {
    const { log, backend, open, write, ends } = await topicsWith(messages.slice(0, 10));
    const epochs = await backend.openEpochLog({ taskId: 't', stateLog: { topic: 'state', partition: 0 } });
    await epochs.fence();
    log.faults.failNextCommit('before');
    const aborted = { topic: source, partition: 0, key: null, value: Buffer.from('{}'), headers: [], timestampMs };
    await expect(epochs.commit({ outputs: [aborted], stateLog: [Buffer.from('x')] })).rejects.toThrow();
    await write(source, messages.slice(10, 30));
    const oracle = await open();
    await expect(oracle.finish(await ends())).rejects.toThrow(/offset \d+ was read where \d+ was due/);
  });
});

describe('a look in between', () => {
  const alert = (id: string, digest = `of ${id}`): AlertOutcome => {
    return { id, digest, summary: `review of ${id}`, rule: 'rule', decision: 'review', degraded: false };
  };
  const expected = new Map(['a', 'b'].map((id) => [id, alert(id)]));

  it('leaves alone what is not yet expected', () => {
    expect(compareAlertsSoFar(expected, [alert('a'), alert('later'), alert('b')])).toEqual([]);
  });

  it('sees a lost alert, an altered one, and a doubled one even before it is expected', () => {
    expect(compareAlertsSoFar(expected, [alert('a', 'else'), alert('later'), alert('later')])).toEqual([
      'doubled alert: later',
      'altered alert: a is (review of a), the reference has (review of a)',
      'lost alert: b (review of b)',
    ]);
  });
});

describe('the order of nemeses', () => {
  const names = (seed: number, cycles: number) =>
    Array.from({ length: cycles }, (_, index) => nemesisOf(NEMESES, seed, index + 1).name);

  it('follows from the seed', () => {
    expect(names(7, 60)).toEqual(names(7, 60));
    expect(names(7, 60)).not.toEqual(names(8, 60));
  });

  it('lets each strike once before any strikes again', () => {
    const round = names(7, 2 * NEMESES.length);
    expect(new Set(round.slice(0, NEMESES.length)).size).toBe(NEMESES.length);
    expect(new Set(round.slice(NEMESES.length)).size).toBe(NEMESES.length);
    expect(round.slice(0, NEMESES.length)).not.toEqual(round.slice(NEMESES.length));
  });
});

describe('the feed', () => {
  it('keeps its pace, counts what was acknowledged and what is in doubt, and goes on after a failed write', async () => {
    let writes = 0;
    const written: OutputRecord[] = [];
    const writer = {
      write: async (records: readonly OutputRecord[]) => {
        if (++writes === 2) throw new Error('the brokers are away');
        written.push(...records);
      },
      close: async () => {},
    };
    const world = worldMessages({ seed: 1, cards: CARDS, partitions: PARTITIONS, rate: 500 });
    const feed = LiveFeed.start({ writer, topic: source, perSecond: 500, messages: world });
    await expect.poll(() => written.length, { timeout: 5_000 }).toBeGreaterThan(100);
    await feed.stop();
    expect(feed.acknowledged).toBe(written.length);
    expect(feed.doubtful).toBeGreaterThan(0);
  });
});

describe('the flags', () => {
  it('refuse what makes no sense, by name', () => {
    expect(() => readCyclesOptions(['--cycles=5', '--cluster=2'])).toThrow('--cluster must be 1 or 3');
    expect(() => readCyclesOptions(['--cycles=0'])).toThrow('--cycles must be a whole number from 1');
    expect(() => readCyclesOptions(['--cycles=5', '--nemeses=flood'])).toThrow('there is no nemesis flood');
  });

  it('take every nemesis where none is named', () => {
    expect(readCyclesOptions(['--cycles=5']).nemeses).toEqual(NEMESES);
    expect(readCyclesOptions(['--cycles=5', '--nemeses=kill,cut']).nemeses.map(({ name }) => name)).toEqual([
      'kill',
      'cut',
    ]);
  });
});
