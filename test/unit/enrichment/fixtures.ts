/** A clock moved by hand, a step context over it, and batches of given merchants. */

import { jsonPayments } from '../../../src/fraud/payments/decode-json.js';
import { encodePayment } from '../../../src/fraud/payments/encode-json.js';
import type { MerchantId } from '../../../src/fraud/payments/payment.js';
import type { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import type { StepContext } from '../../../src/stream/pipeline/pipeline.js';
import type { Clock } from '../../../src/stream/ports.js';
import { PLAIN, recordsOf } from '../payments/fixtures.js';

export class HandClock implements Clock {
  private at = 0;
  private due: { at: number; fire: () => void }[] = [];

  now(): number {
    return 1_700_000_000_000 + this.at;
  }

  monotonic(): number {
    return this.at;
  }

  schedule(delayMs: number, fire: () => void): () => void {
    const entry = { at: this.at + delayMs, fire };
    this.due.push(entry);
    return () => {
      this.due = this.due.filter((other) => other !== entry);
    };
  }

  get pendingTimers(): number {
    return this.due.length;
  }

  advance(ms: number): void {
    this.at += ms;
    const fired = this.due.filter(({ at }) => at <= this.at);
    this.due = this.due.filter(({ at }) => at > this.at);
    for (const { fire } of fired) fire();
  }
}

export function contextOf(clock: Clock, taskId = 'fraud-0') {
  const counters: Record<string, number> = {};
  const context: StepContext = {
    taskId,
    source: { topic: 'payments.raw', partition: 0 },
    clock,
    count(name, by = 1) {
      counters[name] = (counters[name] ?? 0) + by;
    },
  };
  return { context, counters };
}

const source = jsonPayments({ topic: 'payments.raw' });

export function batchOf(
  merchants: readonly string[],
  batch = source.makeBatch(Math.max(1, merchants.length)),
): PaymentBatch {
  recordsOf(
    merchants.map((merchantId) => encodePayment({ ...PLAIN, merchantId: merchantId as MerchantId })),
    batch.records,
  );
  source.decode(batch, batch.records, {
    reject: (_, code, message) => {
      throw new Error(`${code}: ${message}`);
    },
  });
  return batch;
}

/** The enrichment columns of every row. */
export function risksOf(batch: PaymentBatch) {
  return Array.from({ length: batch.count }, (_, row) => ({
    risk: batch.merchantRisk[row],
    source: batch.riskSource[row],
    asOf: batch.riskAsOfMs[row],
    degraded: batch.degraded[row],
  }));
}

/** Lets every promise that can go on do so. */
export const settle = () => new Promise<void>((resolve) => setImmediate(resolve));
