/**
 * Owns writing the input to its topic, and the knowledge of which offset each message got: reckoned from what was
 * written, not read back through what is to be proven, and compared with the broker's own count at the end.
 * Two ways: plainly, or with an upstream producer's Kafka transactions in between, whose aborted ones carry payments
 * that would change results if they leaked. Neighbours: `input.ts` makes the messages, `reference.ts` takes the offsets.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type Producer } from 'kafkajs';
import { Random } from '../../src/fraud/world/random.js';
import type { RecordWriter, TopicAdmin } from '../../src/stream/ports.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { type InputMessage, type InputPlan, inputMessages } from './input.js';

/** Where the messages of a plan came to lie. */
export interface LoadedInput {
  readonly topic: string;
  readonly plan: InputPlan;
  /** The log's time of every record, ms since 1970. */
  readonly timestampMs: number;
  /** By partition, of its messages in their order. */
  readonly offsets: readonly OffsetList[];
  /** By partition: how many cards pay in it. */
  readonly cards: readonly number[];
  readonly messages: number;
  readonly malformed: number;
  /** Records of aborted Kafka transactions, and how many of those there were. */
  readonly poison: number;
  readonly abortedTransactions: number;
}

/** Offsets in ascending order, 8 bytes each. */
export class OffsetList {
  private values = new Float64Array(1_024);
  length = 0;

  push(offset: number): void {
    if (this.length === this.values.length) {
      const grown = new Float64Array(this.length * 2);
      grown.set(this.values);
      this.values = grown;
    }
    this.values[this.length++] = offset;
  }

  at(index: number): number {
    if (index >= this.length) throw new RangeError(`no message ${index}: only ${this.length} were written`);
    return this.values[index];
  }

  get last(): number {
    return this.length === 0 ? -1 : this.values[this.length - 1];
  }
}

export interface LoadTarget {
  /** New and empty. */
  readonly topic: string;
  readonly writer: RecordWriter;
  readonly admin: TopicAdmin;
}

const MARKER_MS = 20_000;
/** Messages within one upstream transaction, or between two of them. */
const SLICE = 1_500;
const POISON_AMOUNT_MINOR = 99_999_900;
const THIRTY_DAYS_MS = 30 * 86_400_000;

/** Writes the plan's messages, nothing else. */
export async function loadPlain(plan: InputPlan, target: LoadTarget): Promise<LoadedInput> {
  const load = new Load(plan, target);
  for await (const messages of inputMessages(plan)) await load.plain(messages);
  return load.finish();
}

/**
 * The same messages; some written plainly, some inside Kafka transactions that commit, some while a transaction is open
 * that aborts in the end. The last ones are plain, so that the topic does not end in a gap.
 */
export async function loadAmongAborted(
  plan: InputPlan,
  target: LoadTarget & { readonly brokers: readonly string[] },
): Promise<LoadedInput> {
  const load = new Load(plan, target);
  const upstream = await Upstream.open(target.brokers, `${target.topic}-upstream`);
  const random = new Random(plan.seed + 2);
  try {
    let waiting: InputMessage[] = [];
    let slices = 0;
    for await (const messages of inputMessages(plan)) {
      waiting.push(...messages);
      while (waiting.length > SLICE) {
        await load.slice(waiting.slice(0, SLICE), slices++, upstream, random);
        waiting = waiting.slice(SLICE);
      }
    }
    await load.plain(waiting);
  } finally {
    await upstream.close();
  }
  return load.finish();
}

class Load {
  private readonly timestampMs = Date.now();
  private readonly offsets: readonly OffsetList[];
  private readonly cards: readonly Set<string>[];
  /** The offset that the next record of each partition gets. */
  private readonly next: number[];
  private readonly figures = { messages: 0, malformed: 0, poison: 0, abortedTransactions: 0 };

  constructor(
    private readonly plan: InputPlan,
    private readonly target: LoadTarget,
  ) {
    const partitions = Array.from({ length: plan.partitions }, (_, partition) => partition);
    this.offsets = partitions.map(() => new OffsetList());
    this.cards = partitions.map(() => new Set<string>());
    this.next = partitions.map(() => 0);
  }

  /** Written outside any Kafka transaction. */
  async plain(messages: readonly InputMessage[]): Promise<void> {
    const { topic, writer } = this.target;
    const { timestampMs } = this;
    await writer.write(
      messages.map(({ partition, key, value }): OutputRecord => {
        return { topic, partition, key, value, headers: [], timestampMs };
      }),
    );
    this.placed(messages);
  }

  /** One slice with its transaction: poison around it, a commit of it, or poison before it. */
  async slice(messages: readonly InputMessage[], number: number, upstream: Upstream, random: Random): Promise<void> {
    const kind = number % 3;
    if (kind === 0) {
      const touched = await upstream.begin(this.poisonOf(messages, random), this.target.topic);
      await this.plain(messages);
      await upstream.send(this.poisonOf(messages, random, touched), this.target.topic);
      await this.ended(await upstream.abort());
      return;
    }
    if (kind === 1) {
      await upstream.begin(messages, this.target.topic, this.timestampMs);
      this.placed(messages);
      await this.ended(await upstream.commit());
      return;
    }
    await upstream.begin(this.poisonOf(messages, random), this.target.topic);
    await this.ended(await upstream.abort());
    await this.plain(messages);
  }

  async finish(): Promise<LoadedInput> {
    await this.markersWritten();
    const { topic } = this.target;
    const cards = this.cards.map(({ size }) => size);
    return {
      topic,
      plan: this.plan,
      timestampMs: this.timestampMs,
      offsets: this.offsets,
      cards,
      ...this.figures,
    };
  }

  private placed(messages: readonly InputMessage[]): void {
    for (const { partition, key, bad } of messages) {
      this.offsets[partition].push(this.next[partition]++);
      if (bad === null && key !== null) this.cards[partition].add(key.toString('latin1'));
      this.figures.messages += 1;
      if (bad !== null) this.figures.malformed += 1;
    }
  }

  /** Payments on the slice's own cards, far too large and far ahead in time. `only`: partitions that may be touched. */
  private poisonOf(messages: readonly InputMessage[], random: Random, only?: ReadonlySet<number>): InputMessage[] {
    const poison: InputMessage[] = [];
    for (let tries = 0; tries < 20 && poison.length < 8; tries++) {
      const message = random.pick(messages);
      if (message.bad !== null || message.value === null) continue;
      if (only !== undefined && !only.has(message.partition)) continue;
      const payment = JSON.parse(message.value.toString('utf8')) as { paymentId: string; occurredAt: number };
      const value = Buffer.from(
        JSON.stringify({
          ...payment,
          paymentId: `poison-${payment.paymentId}`,
          amountMinor: POISON_AMOUNT_MINOR,
          occurredAt: payment.occurredAt + THIRTY_DAYS_MS,
        }),
      );
      poison.push({ partition: message.partition, key: message.key, value, bad: null });
    }
    for (const { partition } of poison) this.next[partition] += 1;
    this.figures.poison += poison.length;
    return poison;
  }

  /** A transaction's marker takes one offset in each partition that it touched. */
  private async ended({ touched, aborted }: EndedTransaction): Promise<void> {
    if (aborted) this.figures.abortedTransactions += 1;
    for (const partition of touched) this.next[partition] += 1;
    await this.markersWritten();
  }

  /** Markers are written after the producer has its answer: whoever writes next must wait for them. */
  private async markersWritten(): Promise<void> {
    const { topic, admin } = this.target;
    const deadline = Date.now() + MARKER_MS;
    for (;;) {
      const ends = (await admin.ranges(topic)).map(({ end }) => end);
      if (this.next.every((offset, partition) => ends[partition] === offset)) return;
      if (this.next.some((offset, partition) => ends[partition] > offset) || Date.now() > deadline) {
        throw new Error(`${topic} ends at offsets ${ends}, but ${this.next} were written: is the topic new?`);
      }
      await sleep(2);
    }
  }
}

interface EndedTransaction {
  readonly touched: ReadonlySet<number>;
  readonly aborted: boolean;
}

/** Somebody else's transactional producer: kafkajs, so that it is not our own code that writes what ours shall read. */
class Upstream {
  private transaction: Awaited<ReturnType<Producer['transaction']>> | null = null;
  private touched = new Set<number>();

  private constructor(private readonly producer: Producer) {}

  static async open(brokers: readonly string[], transactionalId: string): Promise<Upstream> {
    const kafka = new kafkajs.Kafka({
      clientId: 'prove-upstream',
      brokers: [...brokers],
      logLevel: kafkajs.logLevel.NOTHING,
      retry: { initialRetryTime: 5, retries: 20 },
    });
    const producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    return new Upstream(producer);
  }

  /** Opens a Kafka transaction with these messages. Returns the partitions touched. */
  async begin(
    messages: readonly InputMessage[],
    topic: string,
    timestampMs = Date.now(),
  ): Promise<ReadonlySet<number>> {
    this.transaction = await this.producer.transaction();
    this.touched = new Set();
    await this.send(messages, topic, timestampMs);
    return this.touched;
  }

  async send(messages: readonly InputMessage[], topic: string, timestampMs = Date.now()): Promise<void> {
    if (this.transaction === null) throw new Error('no Kafka transaction is open');
    if (messages.length === 0) return;
    const timestamp = String(timestampMs);
    await this.transaction.send({
      topic,
      acks: -1,
      messages: messages.map(({ partition, key, value }) => ({ partition, key, value, timestamp })),
    });
    for (const { partition } of messages) this.touched.add(partition);
  }

  async abort(): Promise<EndedTransaction> {
    await this.transaction?.abort();
    return { touched: this.touched, aborted: true };
  }

  async commit(): Promise<EndedTransaction> {
    await this.transaction?.commit();
    return { touched: this.touched, aborted: false };
  }

  close(): Promise<void> {
    return this.producer.disconnect();
  }
}
