/**
 * Keying on a real broker, through real processes of the service: payments without keys in topics that come and grow while
 * it runs, keyed here and judged as if they had come keyed; and partitions added to a topic that is trusted to be keyed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type InputMessage, inputMessages } from '../../scripts/prove/input.js';
import { readTopic } from '../../scripts/prove/outputs.js';
import { RunningReference } from '../../scripts/prove/reference.js';
import { type ServiceProcess, startService } from '../../scripts/prove/service.js';
import { type RunPlace, type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { openFraudPipeline } from '../../src/app/fraud-parts.js';
import { overTasks } from '../../src/app/generation.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { committedOffset } from '../../src/stream/checkpoint/committed-offset.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { hash32 } from '../../src/stream/state/key-index.js';

const PARTITIONS = 4;
const AFTER = 6;
const WAIT_MS = 60_000;
const TEST_MS = 150_000;
const DISCOVERY = '--keying-discovery-ms=500';
/** Merged topics are read at their own pace: no timer may tell which came first. */
const NO_TIMERS = '--watermark-out-of-orderness-ms=86400000';

let surroundings: Surroundings;
const services: ServiceProcess[] = [];

beforeAll(async () => {
  surroundings = await setUp({ port: 19_592, partitions: PARTITIONS });
}, TEST_MS);

afterAll(async () => {
  for (const service of services) await service.kill();
  await surroundings?.close();
});

function start(place: RunPlace): ServiceProcess {
  const flags = [...place.flags, `--data-dir=${surroundings.path(place.name, 'data')}`];
  const service = startService(flags, surroundings.path(`${place.name}.log`));
  services.push(service);
  return service;
}

async function until(what: () => Promise<boolean>, service: ServiceProcess): Promise<void> {
  const deadline = Date.now() + WAIT_MS;
  while (!(await Promise.race([what(), service.unexpectedEnd]))) {
    if (Date.now() > deadline) throw new Error(`nothing came of it; the service said:\n${service.said()}`);
    await sleep(100);
  }
}

/** Messages of the simulated card world; one in so many is malformed. */
async function world(payments: number, seed: number): Promise<readonly InputMessage[]> {
  const plan = { file: null, payments, partitions: PARTITIONS, malformedEvery: 200, seed };
  const messages: InputMessage[] = [];
  for await (const some of inputMessages(plan)) messages.push(...some);
  return messages;
}

/** What must come of messages that lie in one topic keyed by card: alerts as far as they do not tell their place. */
async function expectedOf(place: RunPlace, messages: readonly InputMessage[]) {
  const { url: _, ...merchantRisk } = place.configuration.merchantRisk;
  const opened = await openFraudPipeline({ ...place.configuration, merchantRisk });
  try {
    const cards = new Set(messages.map(({ key }) => String(key))).size;
    const reference = await RunningReference.open(opened.pipeline, Array(PARTITIONS).fill(cards));
    for (const [offset, { partition, key, value }] of messages.entries()) {
      await reference.add(partition, { key, value, offset, timestampMs: Date.now() });
    }
    const { alerts, deadLetters } = await reference.finish();
    return { alerts: [...alerts.values()].map(({ summary }) => summary).sort(), deadLetters: deadLetters.length };
  } finally {
    await opened.close();
  }
}

async function alertsIn(place: RunPlace): Promise<Alert[]> {
  const records = await readTopic(surroundings.backend, place.configuration.topics.alerts);
  return records.map(({ value }) => JSON.parse(String(value)) as Alert);
}

/** As the reference tells of an alert: no place, which differs. */
const told = ({ decision, rules, score, cardId }: Alert) =>
  `${decision} by ${rules[0]?.id}, score ${score}, card ${cardId}`;

async function write(
  topic: string,
  messages: readonly InputMessage[],
  partitionOf: (m: InputMessage) => number | null,
) {
  const writer = await surroundings.backend.openWriter();
  await writer.write(
    messages.map((message) => {
      const partition = partitionOf(message);
      const place = partition === null ? { key: message.key } : { key: null, partition };
      return { topic, ...place, value: message.value, headers: [], timestampMs: Date.now() };
    }),
  );
  await writer.close();
}

describe('payments without keys in several topics', () => {
  /** Topic and partition of a card: each card pays in one place, whose order is that of its payments. */
  const lane = (key: Buffer | null, lanes: number) => (hash32(key ?? Buffer.of(0), 0, key?.length ?? 1) >>> 0) % lanes;

  it(
    'come to the alerts of payments keyed by card in one topic, over kill -9s, with a topic and a partition added',
    async () => {
      const { admin, backend } = surroundings;
      const unused = await surroundings.inputTopic('unused');
      const prefix = unused.replace(/unused$/, 'pay.');
      const topics = ['a', 'b', 'c'].map((name) => prefix + name);
      const ensure = (name: string, partitions: number) =>
        admin.ensure([{ name, partitions, cleanup: 'delete', retentionMs: -1, maxRecordBytes: 1_100_000 }]);
      await ensure(topics[0], 2);
      await ensure(topics[1], 1);
      const place = await surroundings.place('merged', unused, [
        '--keying-mode=repartition',
        `--keying-pattern=${prefix.replaceAll('.', '\\.')}[abc]`,
        `--topics-by-card=${prefix}by-card`,
        `--keying-partitions=${PARTITIONS}`,
        '--kafka-session-timeout-ms=6000',
        '--checkpoint-interval-ms=1000',
        '--batch-max-records=256',
        DISCOVERY,
        NO_TIMERS,
      ]);
      const messages = await world(9_000, 21);
      const isLate = (message: InputMessage) => lane(message.key, 6) >= 3;
      const early = messages.filter((message) => !isLate(message));
      const late = messages.filter(isLate);
      const inLane = (some: readonly InputMessage[], wanted: number) =>
        some.filter(({ key }) => lane(key, 6) === wanted);

      const service = start(place);
      await write(topics[0], inLane(early, 0), () => 0);
      await write(topics[0], inLane(early, 1), () => 1);
      await write(topics[1], inLane(early, 2), () => 0);
      const passed = async () => sum((await admin.ranges(`${prefix}by-card`)).map(({ start: s, end }) => end - s));
      const isMade = async () => (await admin.partitionCount(`${prefix}by-card`)) !== null;
      await until(async () => (await isMade()) && (await passed()) > 1_000, service);
      await service.kill();

      const second = start(place);
      await ensure(topics[2], 1);
      await admin.grow(topics[1], 2);
      await write(topics[2], inLane(late, 3), () => 0);
      await write(topics[2], inLane(late, 4), () => 0);
      await write(topics[1], inLane(late, 5), () => 1);
      const expected = await expectedOf(place, messages);
      await until(async () => (await alertsIn(place)).length > expected.alerts.length / 2, second);
      await second.kill();

      const third = start(place);
      const isWhole = async () => (await alertsIn(place)).length >= expected.alerts.length;
      await until(isWhole, third);
      const letters = async () => (await readTopic(backend, place.configuration.topics.deadLetters)).length;
      await until(async () => (await letters()) >= expected.deadLetters, third);
      await third.stop();

      const alerts = await alertsIn(place);
      expect(alerts.map(told).sort()).toEqual(expected.alerts);
      expect(new Set(alerts.map(({ alertId }) => alertId)).size).toBe(alerts.length);
      const cameBy = await readTopic(backend, place.configuration.topics.alerts);
      const origins = cameBy.map(({ headers }) => headers.find(([name]) => name === 'origin.topic')?.[1].toString());
      expect([...new Set(origins)].sort()).toEqual(topics);
      expect(await letters()).toBe(expected.deadLetters);
      const keyed = await readTopic(backend, `${prefix}by-card`);
      expect(keyed.length).toBe(messages.length - messages.filter(({ bad }) => bad !== null).length);
      expect(expected.alerts.length).toBeGreaterThan(20);
    },
    TEST_MS,
  );
});

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

describe('partitions added to a topic that is trusted to be keyed by card', () => {
  it(
    'end the service before the first payment that lies by the new count, with all before it processed, each time',
    async () => {
      const { admin } = surroundings;
      const topic = await surroundings.inputTopic('trusted');
      const place = await surroundings.place('trusted', topic, [DISCOVERY, NO_TIMERS]);
      const messages = (await world(6_000, 22)).filter(({ key }) => key !== null);
      const half = Math.floor(messages.length / 2);
      await write(topic, messages.slice(0, half), () => null);
      const service = start(place);
      await until(async () => (await alertsIn(place)).length > 0, service);
      await admin.grow(topic, AFTER);
      const after = messages.slice(half);
      // A new connection knows the new count, as producers do once they have looked again.
      await write(topic, after, () => null);

      const ended = await service.exit;
      expect(ended.code).toBe(1);
      expect(service.said()).toMatch(/partitions-added/);
      expect(service.said()).toContain('fraud rescale');
      const stops = await committed(place);
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const before = messages.slice(0, half).filter(({ key }) => at(key, PARTITIONS) === partition);
        const added = after.filter(({ key }) => at(key, AFTER) === partition);
        const moved = added.findIndex(({ key }) => at(key, PARTITIONS) !== partition);
        expect(moved).toBeGreaterThanOrEqual(0);
        expect(stops[partition]).toBe(before.length + moved);
      }

      const again = start(place);
      expect((await again.exit).code).toBe(1);
      expect(await committed(place)).toEqual(stops);
      const expected = await expectedOf(place, processed(messages, half));
      expect((await alertsIn(place)).map(told).sort()).toEqual(expected.alerts);
    },
    TEST_MS,
  );

  const at = (key: Buffer | null, partitions: number) => partitionOfKey(key ?? Buffer.alloc(0), partitions);

  /** As the state log has it: where each task goes on. */
  async function committed({ configuration }: RunPlace): Promise<readonly (number | null)[]> {
    const parts = { backend: surroundings.backend, configuration };
    const { payments: source, stateLog } = configuration.topics;
    const first = { number: 1, source, stateLog, partitions: PARTITIONS, seededFrom: null };
    return overTasks(parts, first, committedOffset);
  }

  /** The messages that the old count's tasks were to process. */
  function processed(messages: readonly InputMessage[], half: number): readonly InputMessage[] {
    const stopped = new Set<number>();
    return messages.filter(({ key }, i) => {
      if (i < half) return true;
      const partition = at(key, AFTER);
      if (at(key, PARTITIONS) !== partition) stopped.add(partition);
      return !stopped.has(partition) && partition < PARTITIONS;
    });
  }
});
