/** Dead letters on a real broker, through a real process of the service. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BAD_KINDS, type BadMessage, badMessage, oversized } from '../../scripts/prove/malformed.js';
import { joinLarge, type ReadRecord, readTopic, text } from '../../scripts/prove/outputs.js';
import { startService } from '../../scripts/prove/service.js';
import { type RunPlace, type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { StateFollower } from '../../scripts/prove/state-follower.js';
import { PIPELINE_VERSION } from '../../src/fraud/pipeline-version.js';
import { cardWorld } from '../../src/fraud/world/card-world.js';
import { Random } from '../../src/fraud/world/random.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { DEAD_LETTER_HEADERS } from '../../src/stream/pipeline/dead-letters.js';

const PARTITIONS = 2;
const CARDS = 500;
const WAIT_MS = 60_000;

/** A message with the place that it gets in its topic. */
interface Sent {
  readonly partition: number;
  readonly offset: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly timestampMs: number;
  readonly bad: BadMessage | null;
}

/** Payments of a small world, endlessly. */
function* payments(seed: number): Generator<{ readonly key: Buffer; readonly value: Buffer }> {
  const world = cardWorld({ seed, cards: CARDS, merchants: 200, startMs: Date.UTC(2025, 0, 1), rhythm: 'even' });
  for (;;) {
    for (const { key, value } of world.next(Number.MAX_SAFE_INTEGER, 100)) {
      if (value !== null) yield { key: Buffer.from(key), value };
    }
  }
}

describe('dead letters on Kafka', () => {
  let surroundings: Surroundings;

  beforeAll(async () => {
    surroundings = await setUp({ port: 19_494, partitions: PARTITIONS });
  });

  afterAll(async () => {
    await surroundings?.close();
  });

  async function send(topic: string, messages: readonly Omit<Sent, 'offset'>[]): Promise<Sent[]> {
    const next = new Array<number>(PARTITIONS).fill(0);
    const sent = messages.map((message) => ({ ...message, offset: next[message.partition]++ }));
    const writer = await surroundings.backend.openWriter();
    for (let at = 0; at < sent.length; at += 100) {
      await writer.write(sent.slice(at, at + 100).map((message) => ({ topic, headers: [], ...message })));
    }
    await writer.close();
    return sent;
  }

  const start = (place: RunPlace, run: string, ...flags: readonly string[]) =>
    startService([...place.flags, `--data-dir=${surroundings.path(run, 'data')}`, ...flags], logOf(run));
  const logOf = (run: string) => surroundings.path(run, 'service.log');

  it('keeps each of a thousand messages that are no payments byte for byte, and goes on with those that are', async () => {
    const topic = await surroundings.inputTopic('mixed');
    const random = new Random(42);
    const good = payments(1);
    const messages: Omit<Sent, 'offset'>[] = [];
    const add = (key: Buffer | null, value: Buffer | null, bad: BadMessage | null) => {
      const partition = key === null ? messages.length % PARTITIONS : partitionOfKey(key, PARTITIONS);
      messages.push({ partition, key, value, bad, timestampMs: 1_750_000_000_000 + messages.length });
    };
    for (let number = 0; number < 1_000; number++) {
      const [one, two] = [good.next().value, good.next().value];
      add(one.key, one.value, null);
      // Up to the largest record that brokers take by default; the others go through every kind.
      const bad = number % 200 === 0 ? oversized(one, 200_000 * (number / 200 + 1)) : badMessage(number, one, random);
      add(bad.key, bad.value, bad);
      add(two.key, two.value, null);
    }
    const sent = await send(topic, messages);
    const place = await surroundings.place('mixed-run', topic);
    const { topics } = place.configuration;
    const follower = await StateFollower.open(surroundings.backend, topics.stateLog, [CARDS, CARDS]);
    const service = start(place, 'mixed-run');
    const ends = [0, 1].map((of) => sent.filter(({ partition }) => partition === of).length);
    const isDone = () => follower.committed.every((offset, partition) => offset === ends[partition]);
    try {
      await follower.when(isDone, WAIT_MS, 'every message to be committed', service.unexpectedEnd);
      expect((await service.stop()).code).toBe(0);
    } finally {
      await service.kill();
      await follower.close();
    }

    expect(follower.rememberedPayments).toBe(2_000);
    const letters = joinLarge(await readTopic(surroundings.backend, topics.deadLetters));
    expect(letters).toHaveLength(1_000);
    const byPlace = new Map(letters.map((letter) => [placeOf(letter), letter]));
    expect(byPlace.size).toBe(1_000);
    const kinds = new Set<string>();
    for (const { bad, partition, offset, key, value, timestampMs } of sent) {
      if (bad === null) continue;
      kinds.add(bad.kind);
      const letter = byPlace.get(`${partition}:${offset}`);
      const about = `${bad.kind} at ${partition}:${offset}`;
      if (letter === undefined) throw new Error(`lost: ${about}`);
      expect(hex(letter.key), about).toBe(hex(key));
      expect(letter.value?.length, about).toBe(value?.length);
      expect(hex(letter.value) === hex(value), about).toBe(true);
      expect(text(letter.headers, DEAD_LETTER_HEADERS.code), about).toBe(bad.code);
      expect(text(letter.headers, DEAD_LETTER_HEADERS.message), about).not.toBe('');
      expect(text(letter.headers, DEAD_LETTER_HEADERS.topic), about).toBe(topic);
      expect(text(letter.headers, DEAD_LETTER_HEADERS.timestamp), about).toBe(String(timestampMs));
      expect(text(letter.headers, DEAD_LETTER_HEADERS.pipeline), about).toBe(PIPELINE_VERSION);
    }
    expect([...kinds].sort()).toEqual([...BAD_KINDS].sort());
  });

  it('stops with the reason and code 1 past the limit, and loses nothing once the limit is raised', async () => {
    const topic = await surroundings.inputTopic('burst');
    const random = new Random(43);
    const good = payments(2);
    const messages: Omit<Sent, 'offset'>[] = [];
    for (let number = 0; number < 100; number++) {
      const { key, value } = good.next().value;
      const bad = number >= 20 && number < 80 ? badMessage(number, { key, value }, random) : null;
      const sent = bad === null ? { key, value } : bad;
      messages.push({ partition: 0, key: sent.key, value: sent.value, bad, timestampMs: Date.now() });
    }
    await send(topic, messages);
    const place = await surroundings.place('burst-run', topic);
    const limited = start(place, 'burst-run', '--dead-letters-burst=50');
    const { code } = await limited.exit;
    const said = readFileSync(logOf('burst-run'), 'utf8');
    expect(code, said).toBe(1);
    expect(said).toContain('51 records in a row could not be processed');
    expect(said).toContain('(dead-letter-limit)');
    expect(said).toMatch(/raise dead-?letters\.burst/i);

    const { topics } = place.configuration;
    const follower = await StateFollower.open(surroundings.backend, topics.stateLog, [CARDS, CARDS]);
    const raised = start(place, 'burst-run', '--dead-letters-burst=60');
    try {
      await follower.when(() => follower.committed[0] === 100, WAIT_MS, 'the rest', raised.unexpectedEnd);
      expect((await raised.stop()).code).toBe(0);
    } finally {
      await raised.kill();
      await follower.close();
    }
    const letters = joinLarge(await readTopic(surroundings.backend, topics.deadLetters));
    expect(letters.map(placeOf).sort()).toEqual(Array.from({ length: 60 }, (_, i) => `0:${i + 20}`).sort());
    expect(follower.rememberedPayments).toBe(40);
  });
});

const hex = (bytes: Buffer | null) => bytes?.toString('hex') ?? null;

const placeOf = ({ headers }: ReadRecord) =>
  `${text(headers, DEAD_LETTER_HEADERS.partition)}:${text(headers, DEAD_LETTER_HEADERS.offset)}`;
