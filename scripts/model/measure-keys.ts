/**
 * Owns the measurement of keying: ns of processor time a record, for the check of a source's keys, and for what the first
 * stage adds, which is decoding once more and making the record that it passes on. Best of five, one warm-up pass.
 *
 *   npm run -s measure:keys
 */

import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../src/fraud/payments/encode-json.js';
import type { CardId, MerchantId, Payment, PaymentId } from '../../src/fraud/payments/payment.js';
import type { PaymentBatch } from '../../src/fraud/payments/payment-batch.js';
import { partitionOfKey } from '../../src/stream/partitioning.js';
import type { StepContext } from '../../src/stream/pipeline/pipeline.js';
import { repartitionPipeline } from '../../src/stream/pipeline/repartition.js';
import { SourceKeys } from '../../src/stream/runtime/source-keys.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';

const BATCH_ROWS = 2_048;
const BATCHES = 400;
const PASSES = 5;
const PARTITIONS = 8;
const PARTITION = 3;

const source = jsonPayments({ topic: 'payments' });

function payment(number: number, cardId: string): Payment {
  return {
    paymentId: `payment-${number}` as PaymentId,
    cardId: cardId as CardId,
    merchantId: `merchant-${number % 300}` as MerchantId,
    amountMinor: 100 + number,
    currency: 'EUR',
    occurredAt: Date.UTC(2026, 0, 1) + number,
    country: 'DE',
    mcc: '5411',
    channel: 'pos',
  };
}

/** A batch of payments whose cards belong to the partition; keys of 20 bytes. */
function filledBatch(): PaymentBatch {
  const batch = source.makeBatch(BATCH_ROWS);
  const { records } = batch;
  const bytes: Buffer[] = [];
  let length = 0;
  for (let card = 0; records.count < BATCH_ROWS; card++) {
    const key = Buffer.from(`card-${String(card).padStart(15, '0')}`);
    if (partitionOfKey(key, PARTITIONS) !== PARTITION) continue;
    const value = encodePayment(payment(records.count, key.toString()));
    const i = records.count++;
    records.keyStart[i] = length;
    records.keyLength[i] = key.length;
    records.valueStart[i] = length + key.length;
    records.valueLength[i] = value.length;
    records.headersEnd[i] = length + key.length + value.length;
    records.offset[i] = i;
    bytes.push(key, value);
    length += key.length + value.length;
  }
  records.bytes = Buffer.concat(bytes);
  return batch;
}

/** Processor time of `work` over all batches, ns a record. */
function measure(work: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let pass = 0; pass <= PASSES; pass++) {
    const before = process.cpuUsage();
    for (let i = 0; i < BATCHES; i++) work();
    const { user, system } = process.cpuUsage(before);
    if (pass > 0) best = Math.min(best, ((user + system) * 1_000) / (BATCHES * BATCH_ROWS));
  }
  return Math.round(best);
}

const batch = filledBatch();
const decode = () => source.decode(batch, batch.records, { reject: () => {} });
decode();

const options = {
  partitions: PARTITIONS,
  misplacedShare: 0.01,
  misplacedWindow: 10_000,
  partitionsNow: async () => PARTITIONS,
};
const keys = new SourceKeys({ topic: 'payments', partition: PARTITION }, options, () => {});
const look = () => {
  if (keys.look(batch.records) !== null) throw new Error('a key is misplaced');
};
const compare = () => {
  if (!keys.compare(batch)) throw new Error('a card came under two keys');
};

const limits = { burst: 1, share: 1, shareWindow: 1 };
const stage = repartitionPipeline({
  name: 'measured',
  version: '1',
  source,
  to: 'by-card',
  deadLetters: { topic: 'dead', limits },
});
const context: StepContext = {
  taskId: 'measured-0',
  source: { topic: 'payments', partition: PARTITION },
  clock: systemClock,
  count: () => {},
};
const [rekey] = stage.batchSteps;
const step = await rekey.open(context);
let emitted = 0;
const outputs = {
  emit: () => {
    emitted += 1;
  },
};

const report = {
  nsPerRecord: {
    place: measure(look),
    card: measure(compare),
    decodeAgain: measure(decode),
    passOn: measure(() => void step.apply(batch, outputs)),
  },
};
if (emitted === 0) throw new Error('nothing was passed on');
process.stdout.write(`${JSON.stringify(report)}\n`);
