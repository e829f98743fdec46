/**
 * Owns the measurement of the keyed steps: ns a payment of each, over payments held in memory, one warm-up pass, best
 * of three. Cards are drawn uniformly, each pays about every ten minutes: windows are well filled, few findings.
 *
 *   npm run -s measure:steps
 */
import { CARD_STEPS, CardReplay, type CardStep } from './card-replay.js';

const PAYMENTS = 1_000_000;
const CARDS = 10_000;
const BATCH_ROWS = 2_048;

/** Numerical Recipes' linear congruential generator: the same payments on every run. */
function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

/** ns a payment for a replay through `steps`, without the filling of the rows. */
function measure(steps: readonly CardStep[]): number {
  const random = randoms(7);
  const replay = new CardReplay(CARDS, BATCH_ROWS, steps);
  const ids = Array.from({ length: CARDS }, (_, i) => `card-${i}`);
  let nanoseconds = 0n;
  let timeMs = Date.UTC(2026, 0, 1);
  for (let done = 0; done < PAYMENTS; done += BATCH_ROWS) {
    replay.batch.reset();
    for (let i = 0; i < BATCH_ROWS; i++) {
      timeMs += Math.floor((random() * 2 * 600_000) / CARDS);
      const cardId = ids[Math.floor(random() * CARDS)];
      const amountMinor = 1 + Math.floor(random() * 15_000);
      replay.add({ cardId, merchantId: `m-${Math.floor(random() * 1_000)}`, amountMinor, occurredAt: timeMs }, 0.01);
    }
    const begin = process.hrtime.bigint();
    replay.run();
    nanoseconds += process.hrtime.bigint() - begin;
  }
  return Number(nanoseconds) / PAYMENTS;
}

function best(steps: readonly CardStep[]): number {
  measure(steps);
  return Math.min(measure(steps), measure(steps), measure(steps));
}

const [patterns, features, remember] = CARD_STEPS;
const rememberNs = best([remember]);
// Patterns and features read what the last step writes, so each is measured with it.
const report = {
  nsPerPayment: {
    cardPatterns: Math.round(best([patterns, remember]) - rememberNs),
    cardFeatures: Math.round(best([features, remember]) - rememberNs),
    rememberPayment: Math.round(rememberNs),
    all: Math.round(best(CARD_STEPS)),
  },
};
process.stdout.write(`${JSON.stringify(report)}\n`);
