/**
 * Owns the payments that flow while a proof strikes: endless, seeded, at a steady rate. It outlives brokers: what a write's failure leaves in doubt may lie in the
 * topic or not, and the feed goes on. What does lie there, and where, is for `oracle.ts` to read.
 * Neighbours: `../input.ts` makes the messages, `proof.ts` starts it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordWriter } from '../../../src/stream/ports.js';
import type { OutputRecord } from '../../../src/stream/records.js';
import { type InputMessage, type InputPlan, inputMessages, TESTED_CARDS } from '../input.js';

export interface LiveFeedOptions {
  readonly writer: RecordWriter;
  readonly topic: string;
  readonly perSecond: number;
  /** Endless. */
  readonly messages: AsyncGenerator<InputMessage>;
}

const TICK_MS = 40;
/** After an outage no more than this is made up for: the feed is steady, not a backlog. */
const MOST_BEHIND_MS = 500;
const FRAUD_PER_THOUSAND = 25;
const LATE_PER_THOUSAND = 10;
/** Seconds between two malformed messages, on average. */
const MALFORMED_EVERY_S = 0.5;

/** Cards that can pay in all: the world's, and those that are tested. */
export const feedCards = (cards: number): number => cards + TESTED_CARDS;

export class LiveFeed {
  /** Messages that the brokers acknowledged. */
  acknowledged = 0;
  /** Messages of writes that failed: in the topic or not. */
  doubtful = 0;
  /** Rejects with what ended it early; never resolves. */
  readonly failed: Promise<never>;
  private stopping = false;
  private readonly running: Promise<void>;

  private constructor(private readonly options: LiveFeedOptions) {
    this.running = this.run();
    this.failed = this.running.then(() => new Promise<never>(() => {}));
    // Whoever waits for something sees it, and `stop` tells it.
    this.failed.catch(() => {});
  }

  static start(options: LiveFeedOptions): LiveFeed {
    return new LiveFeed(options);
  }

  /** Resolves when nothing of it is under way any more. Errors: what ended it early. */
  async stop(): Promise<void> {
    this.stopping = true;
    await this.running;
  }

  private async run(): Promise<void> {
    const { perSecond, messages } = this.options;
    let dueFromMs = performance.now();
    while (!this.stopping) {
      const nowMs = performance.now();
      dueFromMs = Math.max(dueFromMs, nowMs - MOST_BEHIND_MS);
      const due = Math.floor(((nowMs - dueFromMs) / 1_000) * perSecond);
      if (due > 0) {
        dueFromMs += (due / perSecond) * 1_000;
        await this.write(await taken(messages, due));
      }
      await sleep(TICK_MS);
    }
  }

  private async write(messages: readonly InputMessage[]): Promise<void> {
    const { topic, writer } = this.options;
    const timestampMs = Date.now();
    const records = messages.map(
      ({ partition, key, value }): OutputRecord => ({ topic, partition, key, value, headers: [], timestampMs }),
    );
    try {
      await writer.write(records);
      this.acknowledged += records.length;
    } catch {
      // A broker was away for longer than the writer waits: counted, and the feed goes on.
      this.doubtful += records.length;
    }
  }
}

/** The card world, with fraud, late payments, tested cards and malformed messages in every second of it. */
export async function* worldMessages(options: {
  readonly seed: number;
  readonly cards: number;
  readonly partitions: number;
  /** Messages a second. */
  readonly rate: number;
}): AsyncGenerator<InputMessage> {
  const { seed, cards, partitions, rate } = options;
  const world = { cards, fraudPerThousand: FRAUD_PER_THOUSAND, latePerThousand: LATE_PER_THOUSAND };
  const malformedEvery = Math.max(50, Math.round(rate * MALFORMED_EVERY_S));
  const plan: InputPlan = { file: null, payments: Number.MAX_SAFE_INTEGER, partitions, malformedEvery, seed, world };
  for await (const messages of inputMessages(plan)) yield* messages;
}

async function taken(messages: AsyncGenerator<InputMessage>, count: number): Promise<readonly InputMessage[]> {
  const some: InputMessage[] = [];
  while (some.length < count) {
    const { value, done } = await messages.next();
    if (done === true) throw new Error('the feed has come to its end, which it has not');
    some.push(value);
  }
  return some;
}
