/**
 * Owns the reference job as a pipeline: the one that other engines are measured on (a job of eight lines: decode, look
 * up, remember 32 payments a card, 12 features, model, three conditions, exactly once). A second pipeline on the same
 * core, with nothing of the product's rules or evidence. Feature order and conditions are the job's.
 */
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { merchantRisk } from '../../src/fraud/enrichment/merchant-risk.js';
import type { MerchantRiskLookup } from '../../src/fraud/enrichment/merchant-risk-lookup.js';
import { riskTable } from '../../src/fraud/enrichment/risk-table.js';
import { jsonPayments } from '../../src/fraud/payments/decode-json.js';
import type { PaymentBatch } from '../../src/fraud/payments/payment-batch.js';
import { boundedOutOfOrderness, pipeline } from '../../src/stream/pipeline/define.js';
import type { BatchStep, KeyedStep, OpenKeyedStep } from '../../src/stream/pipeline/pipeline.js';
import { hash32 } from '../../src/stream/state/key-index.js';
import { type ColumnsOf, f64, i32, ring, stateLayout } from '../../src/stream/state/layout.js';

export const REFERENCE_FEATURES = 12;
const RING = 32;
const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;
const SMALL_MINOR = 1_000;
const LARGE_MINOR = 20_000;
const BURST = 8;
/** Bits of `findings` as this job uses them. */
const SEQUENCE = 1;
const VELOCITY = 2;

const referenceState = stateLayout(
  'reference',
  { version: 1 },
  { sumMinor: f64, recent: ring(RING, { occurredAt: f64, amountMinor: i32, merchant: f64 }) },
);
type Columns = ColumnsOf<typeof referenceState.fields>;

export interface ReferenceTopics {
  readonly payments: string;
  readonly alerts: string;
  readonly deadLetters: string;
  readonly riskTable: string;
}

export async function referencePipeline(topics: ReferenceTopics, modelFile: string, threshold: number) {
  const table = riskTable({ topic: topics.riskTable });
  return pipeline('reference', { version: '1' })
    .source(jsonPayments({ topic: topics.payments, featureCount: REFERENCE_FEATURES }), {
      watermark: boundedOutOfOrderness({ ms: 5_000 }),
    })
    .enrich(
      merchantRisk(timerLookup, table, { cacheEntries: 10_000, expiryMs: DAY_MS, inFlight: 500, timeoutMs: 2_000 }),
    )
    .join(table)
    .keyBy(referenceState)
    .each(features)
    .perBatch(await scoreWith(modelFile))
    .perBatch(alert(topics.alerts, threshold))
    .deadLettersTo(topics.deadLetters, { burst: 10_000, share: 1, shareWindow: 100_000 });
}

/** 5 ms by a timer; risk = FNV-1a-32(merchantId) mod 1000 / 1000. */
const timerLookup: MerchantRiskLookup = {
  lookup: (merchantId) =>
    new Promise((resolve) => {
      setTimeout(() => {
        const bytes = Buffer.from(merchantId);
        resolve({ risk: ((hash32(bytes, 0, bytes.length) >>> 0) % 1000) / 1000, asOfMs: 0 });
      }, 5);
    }),
};

const features: KeyedStep<PaymentBatch, typeof referenceState.fields> = {
  kind: 'keyed',
  id: 'features',
  open: (_context, columns) => new OpenFeatures(columns),
};

class OpenFeatures implements OpenKeyedStep<PaymentBatch> {
  /** Merchants seen at a payment, for counting distinct ones without a set. */
  private readonly seen = new Float64Array(RING + 1);

  constructor(private readonly card: Columns) {}

  apply(batch: PaymentBatch, row: number, slot: number): void {
    const { recent, sumMinor } = this.card;
    const { occurredAt, amountMinor, merchant } = recent.entry;
    const now = batch.eventTimeMs[row];
    const amount = batch.amountMinor[row];
    const here = batch.merchantHash[row];
    const held = Math.min(recent.length(slot), RING - 1);
    const previousAt = held > 0 ? occurredAt[recent.newest(slot, 0)] : Number.NEGATIVE_INFINITY;
    const { seen } = this;
    seen[0] = here;
    let distinct = 1;
    let isNew = 1;
    let count1h = 1;
    let count24h = 1;
    let sum24h = amount;
    let small = 0;
    for (let back = 0; back < held; back++) {
      const at = recent.newest(slot, back);
      const other = merchant[at];
      if (other === here) isNew = 0;
      const age = now - occurredAt[at];
      if (age > DAY_MS) continue;
      count24h++;
      sum24h += amountMinor[at];
      let known = 0;
      while (known < distinct && seen[known] !== other) known++;
      if (known === distinct) seen[distinct++] = other;
      if (age > HOUR_MS) continue;
      count1h++;
      if (amountMinor[at] < SMALL_MINOR) small++;
    }
    const at = recent.append(slot);
    occurredAt[at] = now;
    amountMinor[at] = amount;
    merchant[at] = here;
    sumMinor[slot] += amount;
    const lifetime = recent.total[slot];
    const day = Math.floor(now / DAY_MS);
    const gapSeconds = (now - previousAt) / 1000;
    const f = batch.features;
    const base = row * REFERENCE_FEATURES;
    f[base] = amount / 100;
    f[base + 1] = Math.floor((now - day * DAY_MS) / HOUR_MS);
    f[base + 2] = (day + 3) % 7;
    f[base + 3] = count1h;
    f[base + 4] = count24h;
    f[base + 5] = sum24h / 100;
    f[base + 6] = sumMinor[slot] === 0 ? 0 : amount / (sumMinor[slot] / lifetime);
    f[base + 7] = batch.merchantRisk[row];
    f[base + 8] = isNew;
    f[base + 9] = distinct;
    f[base + 10] = Math.min(gapSeconds, 3600);
    f[base + 11] = Math.min(lifetime, 1000);
    batch.findings[row] = (small >= 2 && amount > LARGE_MINOR ? SEQUENCE : 0) | (count1h >= BURST ? VELOCITY : 0);
  }
}

async function scoreWith(modelFile: string): Promise<BatchStep<PaymentBatch>> {
  const session = await InferenceSession.create(modelFile, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
  });
  return {
    kind: 'batch',
    id: 'score',
    open: () => ({
      async apply({ count, features: input, score }) {
        if (count === 0) return;
        const rows = new Tensor('float32', input.subarray(0, count * REFERENCE_FEATURES), [count, REFERENCE_FEATURES]);
        const { data } = (await session.run({ features: rows })).score;
        for (let row = 0; row < count; row++) score[row] = Number(data[row]);
      },
    }),
  };
}

function alert(topic: string, threshold: number): BatchStep<PaymentBatch> {
  return {
    kind: 'batch',
    id: 'alert',
    open: ({ clock }) => ({
      apply(batch, outputs) {
        for (let row = 0; row < batch.count; row++) {
          const score = batch.score[row];
          const findings = batch.findings[row];
          if (score < threshold && findings === 0) continue;
          const cardId = batch.cardId(row);
          const reasons = [
            ...(score >= threshold ? ['score'] : []),
            ...((findings & SEQUENCE) !== 0 ? ['sequence'] : []),
            ...((findings & VELOCITY) !== 0 ? ['velocity'] : []),
          ];
          const timestamp = batch.records.timestampMs[batch.recordIndex[row]];
          const body = { alertId: batch.paymentId(row), cardId, score, reasons, occurredAt: batch.eventTimeMs[row] };
          outputs.emit(
            {
              topic,
              key: Buffer.from(cardId),
              value: Buffer.from(JSON.stringify({ ...body, evidence: { source: { timestamp } } })),
              headers: [],
              timestampMs: clock.now(),
            },
            { prompt: true },
          );
        }
      },
    }),
  };
}
