/**
 * Owns payments of very many cards, made as they are needed: each card once, then draws that are uniform or follow
 * Zipf's law. The same seed gives the same payments.
 */
import { Random } from '../src/fraud/world/random.js';
import type { OutputRecord } from '../src/stream/records.js';
import type { Workload } from './workload.js';

export type Draw = 'each once' | 'uniform' | 'zipf';

export interface CardsPart {
  readonly draw: Draw;
  readonly payments: number;
}

const BATCH = 4_000;
const START_MS = Date.UTC(2026, 0, 1);
/** Exponent of YCSB's default: a few cards pay very often, as processors' own test cards and wallets do. */
const ZIPF_EXPONENT = 0.99;
const MERCHANTS = 10_000;

/** The parts, one after the other, over `cards` cards. */
export function cardPayments(cards: number, parts: readonly CardsPart[], seed = 1): Workload {
  return {
    name: `${cards} cards`,
    async *batches(topic, limit) {
      const random = new Random(seed);
      let made = 0;
      for (const { draw, payments } of parts) {
        const next = drawing(draw, cards, random);
        for (let left = Math.min(payments, limit - made); left > 0; ) {
          const count = Math.min(BATCH, left);
          const records: OutputRecord[] = [];
          for (let i = 0; i < count; i++) records.push(payment(topic, next(), made + i, random));
          yield records;
          made += count;
          left -= count;
        }
      }
    },
  };
}

function drawing(draw: Draw, cards: number, random: Random): () => number {
  if (draw === 'uniform') return () => random.whole(0, cards - 1);
  if (draw === 'zipf') {
    const rank = zipf(cards, random);
    // Frequent cards lie anywhere among all, not in one corner of the store.
    return () => scattered(rank(), cards);
  }
  let at = 0;
  return () => scattered(at++ % cards, cards);
}

/** A permutation of 0 … n - 1: multiplying by a number that has no factor in common with n. */
function scattered(index: number, n: number): number {
  let factor = Math.floor(n * 0.618) | 1;
  while (commonFactor(factor, n) !== 1) factor += 2;
  return Number((BigInt(index) * BigInt(factor)) % BigInt(n));
}

function commonFactor(a: number, b: number): number {
  return b === 0 ? a : commonFactor(b, a % b);
}

/**
 * Ranks from 0, rank k with a probability in proportion to (k + 1)^-s. Source: Gray et al., "Quickly generating
 * billion-record synthetic databases", SIGMOD 1994, which YCSB uses.
 */
function zipf(n: number, random: Random): () => number {
  const zeta = (count: number) => {
    let sum = 0;
    for (let i = 1; i <= count; i++) sum += i ** -ZIPF_EXPONENT;
    return sum;
  };
  const zetaN = zeta(n);
  const alpha = 1 / (1 - ZIPF_EXPONENT);
  const eta = (1 - (2 / n) ** (1 - ZIPF_EXPONENT)) / (1 - zeta(2) / zetaN);
  return () => {
    const u = random.unit();
    const uz = u * zetaN;
    if (uz < 1) return 0;
    if (uz < 1 + 0.5 ** ZIPF_EXPONENT) return 1;
    return Math.min(n - 1, Math.floor(n * (eta * u - eta + 1) ** alpha));
  };
}

function payment(topic: string, card: number, number: number, random: Random): OutputRecord {
  const key = `c${String(card).padStart(9, '0')}`;
  const merchant = String(random.whole(0, MERCHANTS - 1)).padStart(5, '0');
  // Ten thousand payments a second of event time.
  const value =
    `{"paymentId":"p${number}","cardId":"${key}","merchantId":"m${merchant}","amountMinor":${random.whole(1_000, 9_999)},` +
    `"currency":"EUR","country":"FR","mcc":"5411","channel":"ecom","occurredAt":${START_MS + Math.floor(number / 10)}}`;
  return { topic, key: Buffer.from(key), value: Buffer.from(value), headers: [], timestampMs: Date.now() };
}
