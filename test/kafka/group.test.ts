/** Owns the tests of membership on a real broker: standbys, warm takeovers, refused pipelines, topics found by pattern. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { locateBroker, type RunningBroker, startBroker } from '../../scripts/kafka/broker.js';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import type { BrokerLinks } from '../../src/adapters/kafka/links.js';
import type { KafkaOptions } from '../../src/adapters/kafka/options.js';
import type { Assigned, Assignment, AssignmentOptions, LogBackend } from '../../src/stream/ports.js';
import { unitName, unitsOf } from '../../src/stream/source-partition.js';
import { makeTopic, unique, until } from './support/log.js';

const PORT = 19393;
const source = await locateBroker().catch((error: Error) => {
  console.warn(`skipped: ${error.message}`);
  return null;
});

interface Member {
  readonly assignment: Assignment;
  /** The newest that it was given; nothing after it was lost. */
  readonly given: Assigned;
  readonly sets: readonly Assigned[];
  readonly lost: readonly string[];
  readonly failed: readonly Error[];
  /** As a kill -9 would: connections gone, no goodbye. */
  die(): Promise<void>;
}

describe.skipIf(source?.kind !== 'java')('members of a group', () => {
  const options: KafkaOptions = {
    brokers: [`127.0.0.1:${PORT}`],
    clientId: 'group-test',
    transactionalIdPrefix: 'group-test',
    transactions: 'auto',
    sessionTimeoutMs: 1_500,
  };
  let broker: RunningBroker;
  let backend: LogBackend;
  let cleanUps: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    const properties = { 'group.min.session.timeout.ms': 1_200 };
    broker = await startBroker({ directory: '.kafka/group-test', port: PORT, properties, clean: true });
    backend = await openKafkaBackend(options);
  });

  afterEach(async () => {
    for (const cleanUp of cleanUps.reverse()) await cleanUp();
    cleanUps = [];
  });

  afterAll(async () => {
    await backend?.close();
    await broker?.kill();
  });

  async function open(changes: Partial<KafkaOptions>): Promise<LogBackend> {
    const opened = await openKafkaBackend({ ...options, ...changes });
    cleanUps.push(() => opened.close());
    return opened;
  }

  /** A member with connections of its own, as a process of its own would be. */
  async function join(asked: AssignmentOptions, changes: Partial<KafkaOptions> = {}): Promise<Member> {
    const assignment = await (await open(changes)).openAssignment(asked);
    const sets: Assigned[] = [];
    const lost: string[] = [];
    const failed: Error[] = [];
    await assignment.join({
      onAssigned: async (assigned) => {
        sets.push(assigned);
      },
      onLost: async (reason) => {
        lost.push(reason);
        sets.push({ active: [], standby: [] });
      },
      onFailed: (error) => failed.push(error),
    });
    const die = async () => {
      const { joinLinks, beatLinks } = assignment as unknown as Record<'joinLinks' | 'beatLinks', BrokerLinks>;
      await beatLinks.close();
      await joinLinks.close();
    };
    return {
      assignment,
      sets,
      lost,
      failed,
      die,
      get given() {
        return sets.at(-1) ?? { active: [], standby: [] };
      },
    };
  }

  const names = ({ active, standby }: Assigned) => ({ active: active.map(unitName), standby: standby.map(unitName) });
  const complete = (members: readonly Member[], wanted: readonly string[], standbys: number): boolean => {
    const all = members.map(({ given }) => names(given));
    const active = all.flatMap((one) => one.active).sort();
    const standby = all.flatMap((one) => one.standby).sort();
    const twice = (list: readonly string[]) => list.flatMap((one) => Array<string>(standbys).fill(one)).sort();
    return active.join() === [...wanted].sort().join() && standby.join() === twice(wanted).join();
  };

  it('keep standbys of what others own, and take over what they have warm from one that dies', async () => {
    const topic = await makeTopic(backend, 'warm', 6);
    const units = unitsOf(topic, 6).map(unitName);
    const asked = { group: unique('warm'), source: { topics: [topic] }, standbys: 1 };
    const members = [await join(asked), await join(asked), await join(asked)];
    await until('two each, with standbys', () => {
      return complete(members, units, 1) && members.every(({ given }) => given.active.length === 2);
    });
    const before = members.map(({ given }) => names(given));
    for (const { active, standby } of before) expect(active.filter((one) => standby.includes(one))).toEqual([]);
    const [survivors, dead] = [members.slice(0, 2), members[2]];
    await dead.die();
    await until('all taken over', () => complete(survivors, units, 1));
    for (const [i, { given, sets, lost }] of survivors.entries()) {
      const warm = [...before[i].active, ...before[i].standby];
      expect(names(given).active.filter((one) => !warm.includes(one))).toEqual([]);
      // What it had it kept all the time (G1).
      const after = sets.slice(sets.findIndex((set) => names(set).active.join() === before[i].active.join()));
      for (const set of after) expect(names(set).active).toEqual(expect.arrayContaining([...before[i].active]));
      expect(lost).toEqual([]);
    }
  });

  it('refuse a pipeline of the same name that is another, and tell it who they are', async () => {
    const topic = await makeTopic(backend, 'named', 2);
    const group = unique('named');
    const first = await join({ group, source: { topics: [topic] }, claim: 'pipeline p on state log a' });
    const other = { group, source: { topics: [topic] }, claim: 'pipeline p on state log b' };
    const refusal = join(other).catch((error: unknown) => error);
    await expect(refusal).resolves.toMatchObject({
      code: 'pipeline-name-taken',
      message: expect.stringContaining(
        'It runs: pipeline p on state log a. This process would run: pipeline p on state log b.',
      ),
    });
    const admin = await backend.openAdmin();
    cleanUps.push(() => admin.close());
    await expect.poll(() => admin.groupClaims(group), { timeout: 10_000 }).toEqual(['pipeline p on state log a']);
    expect(await admin.groupClaims(unique('nobody'))).toEqual([]);
    // Whoever was there first noticed nothing, and holds everything.
    await until('settled', () => complete([first], unitsOf(topic, 2).map(unitName), 0));
    expect([first.lost, first.failed]).toEqual([[], []]);
    await first.assignment.leave();
    const second = await join(other);
    await until('taken', () => second.given.active.length === 2);
    const like = await join(other);
    await until('shared', () => like.given.active.length === 1);
  });

  it('that come back under their name with another claim are refused by those that stayed', async () => {
    const topic = await makeTopic(backend, 'returns', 2);
    const group = unique('returns');
    const asked = (claim: string) => ({ group, source: { topics: [topic] }, claim });
    const named = { groupInstanceId: unique('instance'), sessionTimeoutMs: 30_000 };
    const stays = await join(asked('a'));
    const dies = await join(asked('a'), named);
    await until('one each', () => dies.given.active.length === 1 && stays.given.active.length === 1);
    await dies.die();
    await expect(join(asked('b'), named)).rejects.toMatchObject({ code: 'pipeline-name-taken' });
    await until('everything is with the one that stayed', () => stays.given.active.length === 2);
    expect([stays.lost, stays.failed]).toEqual([[], []]);
  });

  it('may claim something new when nobody else is there, even under their old name', async () => {
    const topic = await makeTopic(backend, 'anew', 2);
    const asked = (claim: string) => ({ group, source: { topics: [topic] }, claim });
    const group = unique('anew');
    const named = { groupInstanceId: unique('instance'), sessionTimeoutMs: 30_000 };
    const dies = await join(asked('a'), named);
    expect(dies.given.active).toHaveLength(2);
    await dies.die();
    const back = await join(asked('b'), named);
    expect(back.given.active).toHaveLength(2);
  });

  it('share topics that match a pattern, and find new ones and new partitions within the interval', async () => {
    const stem = unique('found');
    const admin = await backend.openAdmin();
    cleanUps.push(() => admin.close());
    const make = (name: string, partitions: number) => admin.ensure([{ name, partitions, cleanup: 'delete' }]);
    await make(`${stem}.a`, 2);
    const asked = { group: unique('pattern'), source: { pattern: `${stem}\\.[a-z]` }, standbys: 1, discoveryMs: 200 };
    const members = [await join(asked), await join(asked)];
    await until('the first topic', () => complete(members, [`${stem}.a/0`, `${stem}.a/1`], 1));
    await make(`${stem}.b`, 1);
    await make(`${stem}.2`, 1);
    await until('the second', () => complete(members, [`${stem}.a/0`, `${stem}.a/1`, `${stem}.b/0`], 1));
    await admin.grow(`${stem}.b`, 2);
    const all = [`${stem}.a/0`, `${stem}.a/1`, `${stem}.b/0`, `${stem}.b/1`];
    await until('the new partition', () => complete(members, all, 1));
    expect(members.flatMap(({ lost }) => lost)).toEqual([]);
  });

  it('learn which setting of the brokers refuses a short session', async () => {
    const topic = await makeTopic(backend, 'short', 1);
    const asked = { group: unique('short'), source: { topics: [topic] } };
    await expect(join(asked, { sessionTimeoutMs: 1_000 })).rejects.toThrow(
      /INVALID_SESSION_TIMEOUT \(26\).*kafka\.sessionTimeoutMs 1,000.*group\.min\.session\.timeout\.ms/,
    );
  });
});
