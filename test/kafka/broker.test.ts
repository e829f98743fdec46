/** What Kafka alone can show: lost answers, killed brokers, aborted transactions, foreign producers, group members. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { locateBroker, type RunningBroker, startBroker } from '../../scripts/kafka/broker.js';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import { Coordinator } from '../../src/adapters/kafka/coordinator.js';
import { finalisedFeatures } from '../../src/adapters/kafka/features.js';
import { BrokerLinks } from '../../src/adapters/kafka/links.js';
import { type KafkaOptions, settingsOf } from '../../src/adapters/kafka/options.js';
import { Placement } from '../../src/adapters/kafka/placement.js';
import { Transaction } from '../../src/adapters/kafka/transaction.js';
import { CommitDoubtfulError, FencedError } from '../../src/stream/errors.js';
import type { Assignment, EpochLog, LogBackend } from '../../src/stream/ports.js';
import { epoch, leadersOf, makeTopic, readToEnd, record, stateLogOf, unique, until, valuesOf } from './support/log.js';
import { API_KEY, LossyProxy } from './support/proxy.js';

const BROKER_PORT = 19194;
const PROXY_PORT = 19197;
const hasKcat = spawnSync('kcat', ['-V']).status === 0;
const source = await locateBroker().catch((error: Error) => {
  console.warn(`skipped: ${error.message}`);
  return null;
});

describe.skipIf(source?.kind !== 'java')('on a broker behind a proxy', () => {
  const where = { directory: '.kafka/adapter-test', port: BROKER_PORT };
  const properties = { 'advertised.listeners': `PLAINTEXT://127.0.0.1:${PROXY_PORT}` };
  const options: KafkaOptions = {
    brokers: [`127.0.0.1:${PROXY_PORT}`],
    clientId: 'adapter-test',
    transactionalIdPrefix: 'adapter-test',
    transactions: 'auto',
    sessionTimeoutMs: 1_500,
    requestTimeoutMs: 4_000,
  };
  let proxy: LossyProxy;
  let broker: RunningBroker;
  let backend: LogBackend;
  const cleanUps: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    proxy = await LossyProxy.open(PROXY_PORT, BROKER_PORT);
    broker = await startBroker({ ...where, properties, clean: true });
    backend = await openKafkaBackend(options);
  });

  afterAll(async () => {
    proxy?.hang(false);
    for (const cleanUp of cleanUps.reverse()) await cleanUp();
    await backend?.close();
    await broker?.kill();
    await proxy?.close();
  });

  async function freshLog(
    on: LogBackend,
    taskId = unique('task'),
    stateLog?: string,
  ): Promise<[EpochLog, string, string]> {
    const topic = stateLog ?? (await makeTopic(on, 'state'));
    const log = await on.openEpochLog({ taskId, stateLog: { topic, partition: 0 } });
    cleanUps.push(() => log.close());
    await log.fence();
    return [log, topic, taskId];
  }

  it('speaks transactions v2 where the cluster has them', async () => {
    const links = new BrokerLinks(settingsOf(options));
    expect((await finalisedFeatures(links)).get('transaction.version')).toBe(2);
    await links.close();
  });

  describe.each(['v2', 'v1'] as const)('transactions %s', (transactions) => {
    let own: LogBackend;

    beforeAll(async () => {
      own = await openKafkaBackend({ ...options, transactions });
      cleanUps.push(() => own.close());
    });

    it('leave a commit in doubt when its answer is lost, and the truth is readable after fencing: it is there', async () => {
      const output = await makeTopic(own, 'output');
      const [log] = await freshLog(own);
      await log.commit(epoch(['1'], [record(output, '1')]));
      const lost = proxy.lose(API_KEY.endTxn, 'answer');
      await expect(log.commit(epoch(['2'], [record(output, '2')]))).rejects.toBeInstanceOf(CommitDoubtfulError);
      await lost;
      await expect(log.commit(epoch(['x'], [record(output, 'x')]))).rejects.toMatchObject({ code: 'commit-refused' });
      await log.fence();
      expect(await stateLogOf(log)).toEqual(['1', '2']);
      for (const n of ['3', '4', '5']) await log.commit(epoch([n], [record(output, n)]));
      expect(await stateLogOf(log)).toEqual(['1', '2', '3', '4', '5']);
      expect(await valuesOf(own, output)).toEqual(['1', '2', '3', '4', '5']);
    });

    it('leave a commit in doubt when its request is lost, and after fencing it is not there, nor ever will be', async () => {
      const output = await makeTopic(own, 'output');
      const [log] = await freshLog(own);
      const lost = proxy.lose(API_KEY.endTxn, 'request');
      await expect(log.commit(epoch(['1'], [record(output, 'gone')]))).rejects.toBeInstanceOf(CommitDoubtfulError);
      await lost;
      await log.fence();
      expect(await stateLogOf(log)).toEqual([]);
      await log.commit(epoch(['1 again'], [record(output, 'again')]));
      expect(await stateLogOf(log)).toEqual(['1 again']);
      expect(await valuesOf(own, output)).toEqual(['again']);
    });

    it('send an epoch again whose delivery was lost, and it is there once', async () => {
      const output = await makeTopic(own, 'output');
      const [log] = await freshLog(own);
      for (const what of ['answer', 'request'] as const) {
        const lost = proxy.lose(API_KEY.produce, what);
        const receipt = await log.commit(epoch([what], [record(output, what)]));
        await lost;
        expect((await log.stateLogRange()).end).toBe(receipt.nextStateLogOffset);
      }
      expect(await stateLogOf(log)).toEqual(['answer', 'request']);
      expect(await valuesOf(own, output)).toEqual(['answer', 'request']);
    });

    it('take over although the answer to that is lost', async () => {
      const [log] = await freshLog(own);
      await log.commit(epoch(['1']));
      const lost = proxy.lose(API_KEY.initProducerId, 'answer');
      await log.fence();
      await lost;
      await log.commit(epoch(['2']));
      expect(await stateLogOf(log)).toEqual(['1', '2']);
    });

    it('let a zombie in doubt find that it is one, without fencing its successor', async () => {
      const [zombie, stateLog, taskId] = await freshLog(own);
      const lost = proxy.lose(API_KEY.endTxn, 'request');
      await expect(zombie.commit(epoch(['zombie']))).rejects.toBeInstanceOf(CommitDoubtfulError);
      await lost;
      const [owner] = await freshLog(own, taskId, stateLog);
      await owner.commit(epoch(['owner 1']));
      await expect(zombie.fence()).rejects.toBeInstanceOf(FencedError);
      await owner.commit(epoch(['owner 2']));
      expect(await stateLogOf(owner)).toEqual(['owner 1', 'owner 2']);
    });

    it('tell a record that the topic refuses for its size, and hold no reader up by what was delivered beside it', async () => {
      const [output, beside] = [await makeTopic(own, 'output'), await makeTopic(own, 'beside')];
      const [log] = await freshLog(own);
      const large = { ...record(output, ''), value: Buffer.alloc(3_000_000) };
      const refused = log.commit(epoch(['1'], [record(beside, 'never seen'), large]));
      await expect(refused).rejects.toMatchObject({ code: 'record-too-large' });
      await expect(refused).rejects.toThrow(`MESSAGE_TOO_LARGE (10) on Produce to ${output}-0: `);
      const writer = await own.openWriter();
      await writer.write([record(beside, 'behind it')]);
      await writer.close();
      const reader = await own.openReader({ topic: beside, partition: 0, from: 'earliest' });
      cleanUps.push(() => reader.close());
      const seen: string[] = [];
      // A transaction left open would hide it for its whole time-out, 60 s.
      const deadline = Date.now() + 5_000;
      while (seen.length === 0 && Date.now() < deadline) seen.push(...(await readToEnd(reader)));
      expect(seen).toEqual(['behind it']);
      await log.fence();
      await log.commit(epoch(['1']));
      expect(await stateLogOf(log)).toEqual(['1']);
    });
  });

  it('leaves out aborted transactions, interleaved and longer than a fetch, and loses nothing else', async () => {
    const topic = await makeTopic(backend, 'interleaved');
    const settings = settingsOf(options);
    const leaders = leadersOf(settings);
    cleanUps.push(() => leaders.links.close());
    const producers = await Promise.all(
      [0, 1, 2, 3].map(async (i) => {
        const coordinator = new Coordinator(leaders.links, 'transaction', unique(`interleaved-${i}`));
        const transaction = new Transaction(coordinator, leaders, { ...settings, version: i % 2 === 0 ? 2 : 1 });
        await transaction.takeOver();
        return { transaction, open: [] as string[] };
      }),
    );
    const placement = new Placement(leaders.topics);
    const writer = await backend.openWriter();
    const committed = new Set<string>();
    let aborted = 0;
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
      return seed % below;
    };
    for (let step = 0; step < 500; step++) {
      const producer = producers[random(4)];
      const values = Array.from({ length: 1 + random(6) }, (_, i) => `${step}.${i} ${'x'.repeat(random(80))}`);
      await producer.transaction.deliver(await placement.place(values.map((value) => record(topic, value))));
      producer.open.push(...values);
      if (random(10) === 0) {
        await writer.write([record(topic, `plain ${step}`)]);
        committed.add(`plain ${step}`);
      }
      if (random(8) !== 0 && step < 496) continue;
      if (random(2) === 0) {
        await producer.transaction.commit();
        for (const value of producer.open) committed.add(value);
      } else {
        await producer.transaction.abort();
        aborted += producer.open.length;
      }
      producer.open = [];
    }
    for (const { transaction, open } of producers) {
      if (open.length > 0) await transaction.abort();
      aborted += open.length;
    }
    await writer.close();
    expect(aborted).toBeGreaterThan(300);

    // Fetches of 2 KB: most aborted transactions begin in one and end in another.
    const small = await openKafkaBackend({ ...options, fetchBytes: 2_048 });
    cleanUps.push(() => small.close());
    const seen = await valuesOf(small, topic);
    expect(new Set(seen)).toEqual(committed);
    expect(seen).toHaveLength(committed.size);
    expect(await valuesOf(backend, topic)).toEqual(seen);
  });

  it.skipIf(!hasKcat)('reads what kafkajs and librdkafka compressed, with every codec', async () => {
    const topic = await makeTopic(backend, 'compressed');
    const lines = (codec: string) =>
      Array.from({ length: 400 }, (_, i) => `${codec} payment ${i} ${'y'.repeat(i % 90)}`);
    const codecs = ['gzip', 'snappy', 'lz4', 'zstd', 'none'];
    for (const codec of codecs) await kcatProduces(topic, lines(codec), ['-z', codec, '-X', 'batch.num.messages=60']);
    const producer = new kafkajs.Kafka({ ...kafkajsOptions(), clientId: 'foreign' }).producer();
    await producer.connect();
    const messages = lines('kafkajs').map((value) => ({ value, partition: 0 }));
    await producer.send({ topic, messages, compression: kafkajs.CompressionTypes.GZIP });
    await producer.disconnect();
    expect(await valuesOf(backend, topic)).toEqual([...codecs, 'kafkajs'].flatMap(lines));
  });

  it('keeps every epoch once, and readers reading, when the broker is killed and comes back', async () => {
    const output = await makeTopic(backend, 'killed');
    const [log] = await freshLog(backend);
    const reader = await backend.openReader({ topic: output, partition: 0, from: 'earliest' });
    cleanUps.push(() => reader.close());
    let next = 1;
    let stopped = false;
    let doubts = 0;
    const committing = (async () => {
      while (!stopped) {
        try {
          await log.commit(epoch([`${next}`], [record(output, `${next}`)]));
          next++;
        } catch (error) {
          if (!(error instanceof CommitDoubtfulError)) throw error;
          doubts++;
          await log.fence();
          const last = (await stateLogOf(log)).at(-1);
          next = Number(last ?? 0) + 1;
        }
      }
    })();
    await until('some epochs before', () => next > 30);
    await broker.kill();
    await sleep(500);
    broker = await startBroker({ ...where, properties });
    const before = next;
    await until('some epochs after', () => next > before + 30);
    stopped = true;
    await committing;
    const expected = Array.from({ length: next - 1 }, (_, i) => `${i + 1}`);
    expect(await stateLogOf(log)).toEqual(expected);
    expect(await readToEnd(reader)).toEqual(expected);
    expect(doubts).toBeLessThanOrEqual(2);
  });

  describe('groups', () => {
    interface Member {
      readonly assignment: Assignment;
      readonly sets: number[][];
      readonly lost: string[];
      readonly failed: Error[];
    }

    async function member(group: string, topic: string, on = backend): Promise<Member> {
      const assignment = await on.openAssignment({ group, source: { topics: [topic] } });
      const sets: number[][] = [];
      const lost: string[] = [];
      const failed: Error[] = [];
      await assignment.join({
        onFailed: (error) => failed.push(error),
        onAssigned: async ({ active }) => {
          sets.push(active.map(({ partition }) => partition));
        },
        onLost: async (reason) => {
          lost.push(reason);
          sets.push([]);
        },
      });
      cleanUps.push(() => assignment.leave());
      return { assignment, sets, lost, failed };
    }

    const holds = ({ sets }: Member) => sets.at(-1) ?? [];
    const split = (a: Member, b: Member, partitions: number) => {
      const both = [...holds(a), ...holds(b)].sort((x, y) => x - y);
      return both.length === partitions && both.every((partition, i) => partition === i);
    };

    it('share partitions without stopping those that stay, and take over from one that leaves', async () => {
      const topic = await makeTopic(backend, 'shared', 6);
      const group = unique('group');
      const first = await member(group, topic);
      expect(holds(first)).toEqual([0, 1, 2, 3, 4, 5]);
      const other = await openKafkaBackend(options);
      cleanUps.push(() => other.close());
      const second = await member(group, topic, other);
      await until('three each', () => holds(first).length === 3 && split(first, second, 6));
      // What the first kept it held all the time: it was in every set it was given.
      const kept = holds(first);
      for (const set of first.sets) expect(set).toEqual(expect.arrayContaining(kept));
      await second.assignment.leave();
      await until('all back', () => holds(first).length === 6);
      expect([first.lost, second.lost]).toEqual([[], []]);
    });

    it('give the partitions of a member that vanished to the others after the session time-out', async () => {
      const topic = await makeTopic(backend, 'vanished', 4);
      const group = unique('group');
      const first = await member(group, topic);
      const other = await openKafkaBackend(options);
      const second = await member(group, topic, other);
      await until('two each', () => holds(first).length === 2 && split(first, second, 4));
      // As a kill -9 would: connections gone, no goodbye.
      const links = second.assignment as unknown as { joinLinks: BrokerLinks; beatLinks: BrokerLinks };
      await links.beatLinks.close();
      await links.joinLinks.close();
      const started = performance.now();
      await until('all taken over', () => holds(first).length === 4);
      expect(performance.now() - started).toBeLessThan(6_000);
      expect(first.lost).toEqual([]);
    });

    it('give a member that died and is back under its name its place at once, and throw its zombie out for good', async () => {
      const topic = await makeTopic(backend, 'named', 4);
      const group = unique('group');
      const named = { ...options, sessionTimeoutMs: 12_000, groupInstanceId: unique('instance') };
      const [dies, returns] = [await openKafkaBackend(named), await openKafkaBackend(named)];
      cleanUps.push(
        () => dies.close(),
        () => returns.close(),
      );
      const first = await member(group, topic, dies);
      expect(holds(first)).toEqual([0, 1, 2, 3]);
      const started = performance.now();
      const successor = await member(group, topic, returns);
      await until('all taken over', () => holds(successor).length === 4);
      // Without the name it would be the session time-out: it is thrice this bound.
      expect(performance.now() - started).toBeLessThan(4_000);
      // The one that died was only asleep: its next heartbeat tells it, and it does not come back.
      await until('the zombie gave up', () => first.failed.length > 0, 30_000);
      expect(first.failed).toEqual([expect.objectContaining({ code: 'group-instance-taken' })]);
      expect([holds(first), holds(successor), successor.failed]).toEqual([[], [0, 1, 2, 3], []]);
    });

    it('drop everything by their own clock when the group does not answer, and join again when it does', async () => {
      const topic = await makeTopic(backend, 'silent', 2);
      const only = await member(unique('group'), topic);
      proxy.hang(true);
      const started = performance.now();
      await until('lost', () => only.lost.length > 0);
      const afterMs = performance.now() - started;
      proxy.hang(false);
      expect(afterMs).toBeGreaterThan(900);
      expect(afterMs).toBeLessThan(3_500);
      expect(only.lost).toEqual([expect.stringContaining('did not answer')]);
      await until('joined again', () => holds(only).length === 2);
    });

    it('publish progress while they have members', async () => {
      const topic = await makeTopic(backend, 'progress', 2);
      const group = unique('group');
      await member(group, topic);
      const admin = await backend.openAdmin();
      await admin.publishProgress(
        group,
        topic,
        new Map([
          [0, 41],
          [1, 7],
        ]),
      );
      expect([...(await admin.progress(group, topic))]).toEqual([
        [0, 41],
        [1, 7],
      ]);
      await admin.close();
    });

    it('notice within a call that the topic does not exist', async () => {
      const source = { topics: ['no-such-topic'] };
      const assignment = await backend.openAssignment({ group: unique('group'), source });
      const handlers = { onFailed: () => undefined, onAssigned: async () => {}, onLost: async () => {} };
      await expect(assignment.join(handlers)).rejects.toMatchObject({ code: 'kafka-topic-missing' });
      await assignment.leave();
    });
  });

  it('lets nothing younger than a day be compacted in the topics it makes', async () => {
    const admin = await backend.openAdmin();
    const name = unique('compacted');
    await admin.ensure([{ name, partitions: 1, cleanup: 'compact' }]);
    await admin.close();
    const asking = new kafkajs.Kafka({ brokers: [...options.brokers], logLevel: kafkajs.logLevel.NOTHING }).admin();
    await asking.connect();
    const { resources } = await asking.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name }],
    });
    await asking.disconnect();
    const values = new Map(resources[0]?.configEntries.map((entry) => [entry.configName, entry.configValue]));
    expect([values.get('cleanup.policy'), values.get('min.compaction.lag.ms')]).toEqual(['compact', '86400000']);
  });

  it('tells what to check when no broker answers', async () => {
    const opening = openKafkaBackend({ ...options, brokers: ['127.0.0.1:1'], connectTimeoutMs: 500 });
    await expect(opening).rejects.toMatchObject({ code: 'kafka-unreachable' });
    await expect(opening).rejects.toThrow(/127\.0\.0\.1:1: .*check that it runs/);
  });

  it('takes transactions v1 on a cluster that has not finalised v2, and refuses to be told otherwise', async () => {
    await broker.kill();
    broker = await startBroker({ ...where, properties, clean: true, features: { 'transaction.version': 0 } });
    await expect(openKafkaBackend({ ...options, transactions: 'v2' })).rejects.toMatchObject({ code: 'kafka-options' });
    const old = await openKafkaBackend(options);
    cleanUps.push(() => old.close());
    const output = await makeTopic(old, 'output');
    const [log] = await freshLog(old);
    for (const n of ['1', '2', '3']) await log.commit(epoch([n], [record(output, n)]));
    expect(await stateLogOf(log)).toEqual(['1', '2', '3']);
    expect(await valuesOf(old, output)).toEqual(['1', '2', '3']);
  });

  /** Not synchronous: the proxy runs in this process. */
  async function kcatProduces(topic: string, lines: readonly string[], more: readonly string[]): Promise<void> {
    const place = ['-b', `127.0.0.1:${PROXY_PORT}`, '-t', topic, '-p', '0'];
    const kcat = spawn('kcat', ['-P', ...place, ...more], { stdio: ['pipe', 'ignore', 'inherit'] });
    kcat.stdin.end(`${lines.join('\n')}\n`);
    const [code] = await once(kcat, 'exit');
    expect(code).toBe(0);
  }

  function kafkajsOptions() {
    return { brokers: [`127.0.0.1:${PROXY_PORT}`], logLevel: kafkajs.logLevel.NOTHING };
  }
});
