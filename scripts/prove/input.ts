/**
 * Owns what the proof puts into the topic: payments of a file, the simulated card world paying in between and cards being
 * tested (their fraud is what makes patterns and timers fire), and a malformed message after every so many. The same plan
 * gives the same messages, so they are made anew for each reader and never held.
 * Neighbours: `load.ts` writes them, `reference.ts` computes what must come of them.
 */
import { readPaymentFile } from '../../src/fraud/payments/labelled-file.js';
import { type CardWorld, cardWorld } from '../../src/fraud/world/card-world.js';
import { Random } from '../../src/fraud/world/random.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import { badMessage, type GoodMessage } from './malformed.js';

export interface InputPlan {
  /** Null: the card world alone. */
  readonly file: string | null;
  /** Payments taken from the file, or made by the world where there is none. */
  readonly payments: number;
  readonly partitions: number;
  /** Good messages between two malformed ones. */
  readonly malformedEvery: number;
  readonly seed: number;
  /** The world that pays where there is no file; a quiet one of 5,000 cards where left out. */
  readonly world?: { readonly cards: number; readonly fraudPerThousand: number; readonly latePerThousand: number };
}

export interface InputMessage {
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  /** Null for a payment, else the kind of malformed message. */
  readonly bad: string | null;
}

const CHUNK = 2_000;
/** Beside a file, a small world with much fraud and some late payments. */
const WORLD_BESIDE = { cards: 60, fraudPerThousand: 40, latePerThousand: 30 } as const;
const WORLD_ALONE = { cards: 5_000, fraudPerThousand: 4, latePerThousand: 10 } as const;
const WORLD_MERCHANTS = 300;
/** After so many messages a card is tested by small payments; every third test ends in a large one. */
const TEST_EVERY = 500;
/** Cards beside the world's own that are tested. */
export const TESTED_CARDS = 97;
const SMALL_PAYMENTS = 5;
const WORLD_ALONE_STARTS = Date.UTC(2025, 0, 1);

/** The messages in the order in which they are written, in chunks of some thousand. */
export async function* inputMessages(plan: InputPlan): AsyncGenerator<readonly InputMessage[]> {
  const mixer = new Mixer(plan);
  if (plan.file === null) {
    yield* worldAlone(plan, mixer);
    return;
  }
  let left = plan.payments;
  let world: CardWorld | null = null;
  for await (const { payments } of readPaymentFile(plan.file)) {
    const taken = payments.slice(0, left);
    left -= taken.length;
    for (const { key, value, occurredAtMs } of taken) {
      world ??= cardWorld({ ...WORLD_BESIDE, merchants: WORLD_MERCHANTS, seed: plan.seed, startMs: occurredAtMs });
      for (const message of world.next(occurredAtMs)) {
        if (message.value !== null) mixer.add({ key: Buffer.from(message.key), value: message.value });
      }
      mixer.add({ key, value });
      mixer.testCards(occurredAtMs);
    }
    yield mixer.take();
    if (left === 0) return;
  }
}

async function* worldAlone(plan: InputPlan, mixer: Mixer): AsyncGenerator<readonly InputMessage[]> {
  const startMs = WORLD_ALONE_STARTS;
  const world = cardWorld({ ...(plan.world ?? WORLD_ALONE), merchants: WORLD_MERCHANTS, seed: plan.seed, startMs });
  for (let made = 0; made < plan.payments; ) {
    const messages = world.next(Number.MAX_SAFE_INTEGER, Math.min(CHUNK, plan.payments - made));
    for (const { key, value, atMs } of messages) {
      if (value !== null) mixer.add({ key: Buffer.from(key), value });
      mixer.testCards(atMs);
    }
    made += messages.length;
    yield mixer.take();
  }
}

function smallShopPayment(cardId: string, paymentId: string, amountMinor: number, atMs: number): GoodMessage {
  const payment = { paymentId, cardId, merchantId: 'corner-shop', amountMinor, currency: 'EUR' };
  const occurredAt = Math.floor(atMs);
  return { key: Buffer.from(cardId), value: Buffer.from(JSON.stringify({ ...payment, occurredAt })) };
}

/** Places messages in partitions and strews malformed ones among them. */
class Mixer {
  private readonly random: Random;
  private good = 0;
  private bad = 0;
  private tests = 0;
  private chunk: InputMessage[] = [];

  constructor(private readonly plan: InputPlan) {
    this.random = new Random(plan.seed + 1);
  }

  add(message: GoodMessage): void {
    this.chunk.push({ ...message, partition: partitionOfKey(message.key, this.plan.partitions), bad: null });
    this.good += 1;
    if (this.good % this.plan.malformedEvery !== 0) return;
    const number = this.bad++;
    const { kind, key, value } = badMessage(number, message, this.random);
    const partition = key === null ? number % this.plan.partitions : partitionOfKey(key, this.plan.partitions);
    this.chunk.push({ key, value, partition, bad: kind });
  }

  /** Tests a card where it is time for that again. */
  testCards(atMs: number): void {
    if (this.good < (this.tests + 1) * TEST_EVERY) return;
    const number = this.tests++;
    const amounts = Array.from({ length: SMALL_PAYMENTS }, (_, index) => 100 + index);
    if (number % 3 === 2) amounts.push(45_000);
    amounts.forEach((amountMinor, index) => {
      this.add(smallShopPayment(`tested-${number % TESTED_CARDS}`, `test-${number}-${index}`, amountMinor, atMs));
    });
  }

  take(): readonly InputMessage[] {
    const taken = this.chunk;
    this.chunk = [];
    return taken;
  }
}
