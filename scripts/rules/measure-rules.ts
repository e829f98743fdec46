/**
 * Owns the measurement of rules: what 0, 10 and 100 active rules cost in µs a payment, and as a share of a whole payment
 * (decoding it and computing its features), all in one run on one thread. Of each number of rules four in five compare
 * columns, one in five reads a text field of the payment as well. Best of several rounds over batches held in memory.
 *
 *   npm run -s measure:rules
 */
import { FEATURE_COUNT } from '../../src/fraud/features/feature-list.js';
import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import type { PaymentBatch } from '../../src/fraud/payments/payment-batch.js';
import { compileRules } from '../../src/fraud/rules/compile-rules.js';
import { RuleBreakers } from '../../src/fraud/rules/rule-breakers.js';
import { parseRuleSet } from '../../src/fraud/rules/rule-set.js';
import { RecordBatch } from '../../src/stream/records.js';

const ROWS = 2_048;
const ROUNDS = 60;
const WARM_UP = 15;

const source = jsonPayments({ topic: 'payments', featureCount: FEATURE_COUNT });

/** Numerical Recipes' linear congruential generator: the same payments on every run. */
function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

function recordsOf(): RecordBatch {
  const random = randoms(7);
  const records = new RecordBatch(ROWS);
  const values = Array.from({ length: ROWS }, (_, i) =>
    Buffer.from(
      JSON.stringify({
        paymentId: `p-${i}`,
        cardId: `card-${Math.floor(random() * 5_000)}`,
        merchantId: `m-${Math.floor(random() * 1_000)}`,
        amountMinor: Math.floor(random() * 60_000),
        currency: 'EUR',
        occurredAt: Date.UTC(2026, 0, 1) + i * 1_000,
        country: ['DE', 'FR', 'IT'][Math.floor(random() * 3)],
        mcc: '5967',
        channel: random() < 0.5 ? 'ecom' : 'pos',
        deviceId: `d-${Math.floor(random() * 100)}`,
      }),
    ),
  );
  records.bytes = Buffer.concat(values);
  let start = 0;
  values.forEach((value, i) => {
    records.valueStart[i] = start;
    records.valueLength[i] = value.length;
    records.keyLength[i] = -1;
    start += value.length;
  });
  records.count = ROWS;
  return records;
}

function decode(batch: PaymentBatch): void {
  source.decode(batch, batch.records, {
    reject: (index, code, message) => {
      throw new Error(`payment ${index}: ${code}: ${message}`);
    },
  });
}

/** As in the field: few payments have a high score, most conditions look at that or at an amount first. */
function fill(batch: PaymentBatch): void {
  const random = randoms(11);
  for (let row = 0; row < ROWS; row++) {
    batch.score[row] = random() ** 6;
    batch.merchantRisk[row] = random() ** 3;
    for (let i = 0; i < FEATURE_COUNT; i++) batch.features[row * FEATURE_COUNT + i] = random() * 100;
  }
}

const OVER_COLUMNS = [
  (n: number) => `score >= ${(0.5 + n / 1_000).toFixed(3)} && score < 0.9`,
  (n: number) => `merchant.risk >= 0.${50 + (n % 40)} && payment.amountMinor >= ${20_000 + n * 10}`,
  (n: number) => `features.count24h >= ${90 + (n % 9)} && payment.country in ["DE", "FR"]`,
  (n: number) => `payment.amountMinor > ${3 + n} * features.decayedMean30dMinor && score > 0.8`,
];
/** The text is read where the columns leave a payment over, as authors would write it; each tenth reads all. */
const WITH_TEXT = [
  (n: number) => `score >= 0.${50 + (n % 40)} && payment.channel == "ecom" && payment.deviceId != "d-${n}"`,
  (n: number) => `payment.mcc == "5968" || payment.deviceId.startsWith("x${n}")`,
];

function rules(count: number) {
  return Array.from({ length: count }, (_, n) => ({
    id: `rule-${n}`,
    name: `Rule ${n}`,
    version: 1,
    condition: n % 5 === 4 ? WITH_TEXT[((n - 4) / 5) % 2](n) : OVER_COLUMNS[n % 4](n),
    decision: 'review',
    severity: 'low',
  }));
}

/** µs a payment, best of the rounds. */
function measure(run: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const begin = performance.now();
    run();
    if (round >= WARM_UP) best = Math.min(best, performance.now() - begin);
  }
  return (best * 1_000) / ROWS;
}

function measureRules(batch: PaymentBatch, list: ReturnType<typeof rules>): number {
  const set = compileRules(parseRuleSet({ version: 1, rules: list }), { featureNames: [] });
  const breakers = new RuleBreakers();
  breakers.watch(set.rules.map(({ rule }) => rule));
  return measure(() => set.evaluate(batch, breakers));
}

const batch = source.makeBatch(ROWS);
Object.assign(batch, { records: recordsOf() });
const decodeUs = measure(() => decode(batch));
fill(batch);
const round = (value: number) => Math.round(value * 1_000) / 1_000;
const report = Object.fromEntries(
  [0, 10, 100].map((count) => {
    const all = rules(count);
    const columns = all.filter((_, n) => n % 5 !== 4);
    const us = measureRules(batch, all);
    return [
      `${count} rules`,
      {
        usPerPayment: round(us),
        ofThisOverColumns: round(measureRules(batch, columns)),
        timesDecoding: round(us / decodeUs),
      },
    ];
  }),
);
process.stdout.write(`${JSON.stringify({ decodeUsPerPayment: round(decodeUs), ...report }, null, 2)}\n`);
