/** Runs payments through the keyed steps of one task, one batch a call, without a task around it. */

import { rememberPayment } from '../../../src/fraud/cards/remember-payment.js';
import { type CardColumns, cardState } from '../../../src/fraud/cards/state.js';
import { cardFeatures } from '../../../src/fraud/features/card-features.js';
import { type CardFeatureName, FEATURE_COUNT, FEATURE_INDEX } from '../../../src/fraud/features/feature-list.js';
import { cardPatterns } from '../../../src/fraud/patterns/card-patterns.js';
import type { CardTestingFinding } from '../../../src/fraud/patterns/card-testing.js';
import { type PatternParameters, patternParametersSchema } from '../../../src/fraud/patterns/pattern-parameters.js';
import { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import type { OpenKeyedStep, StepContext } from '../../../src/stream/pipeline/pipeline.js';
import { hash53 } from '../../../src/stream/state/key-index.js';
import { makeColumns } from '../../../src/stream/state/layout.js';

export interface TestPayment {
  readonly slot?: number;
  readonly at: number;
  readonly amountMinor?: number;
  readonly merchant?: string;
  readonly merchantRisk?: number;
  readonly country?: string;
  readonly latitude?: number;
  readonly longitude?: number;
}

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;
/** 2018-07-30, a Monday, 12:00 UTC. */
export const NOON = Date.UTC(2018, 6, 30, 12);

export function stepContext(): StepContext & { readonly counters: Map<string, number> } {
  const counters = new Map<string, number>();
  return {
    taskId: 'test-0',
    source: { topic: 'payments', partition: 0 },
    clock: { now: () => 0, monotonic: () => 0, schedule: () => () => {} },
    count: (name, by = 1) => void counters.set(name, (counters.get(name) ?? 0) + by),
    counters,
  };
}

export class CardRun {
  readonly columns: CardColumns;
  readonly batch = new PaymentBatch(256, FEATURE_COUNT);
  readonly expired: { finding: CardTestingFinding; slot: number; key: string; dueMs: number }[] = [];
  readonly context = stepContext();
  private readonly steps: OpenKeyedStep<PaymentBatch>[];
  private nextOffset = 0;

  constructor(parameters: unknown = {}, slots = 4) {
    this.columns = makeColumns(cardState, slots);
    const checked: PatternParameters = patternParametersSchema.parse(parameters);
    const patterns = cardPatterns(() => checked, {
      onExpired: (finding, slot, key, dueMs) => this.expired.push({ finding, slot, key: key.toString(), dueMs }),
    });
    this.steps = [patterns, cardFeatures, rememberPayment].map((step) => step.open(this.context, this.columns));
  }

  /** Fires what is due by `timeMs` (as the task does before a row), earliest first. */
  fireTimers(timeMs: number): void {
    const { due } = this.columns.testingExpires;
    for (let slot = 0; slot < due.length; slot++) {
      for (let guard = 0; due[slot] !== 0 && due[slot] <= timeMs; guard++) {
        if (guard > 1_000) throw new Error('a timer fires for ever');
        const dueMs = due[slot];
        due[slot] = 0;
        for (const step of this.steps) {
          step.onTimer?.({ field: 'testingExpires', dueMs }, slot, Buffer.from(`card-${slot}`), { emit: () => {} });
        }
      }
    }
  }

  /** Runs payments as one batch and returns it. With `watermarkLagMs`, timers due by a row's time minus it fire first. */
  pay(payments: readonly TestPayment[], watermarkLagMs = Infinity): PaymentBatch {
    const { batch } = this;
    batch.reset();
    batch.count = payments.length;
    let watermarkMs = 0;
    payments.forEach((payment, row) => {
      this.fill(payment, row);
      watermarkMs = Math.max(watermarkMs, payment.at - watermarkLagMs);
      this.fireTimers(watermarkMs);
      for (const step of this.steps) step.apply(batch, row, payment.slot ?? 0);
    });
    return batch;
  }

  feature(name: CardFeatureName, row = this.batch.count - 1): number {
    return this.batch.features[row * FEATURE_COUNT + FEATURE_INDEX[name]];
  }

  private fill(payment: TestPayment, row: number): void {
    const { batch } = this;
    const merchant = Buffer.from(payment.merchant ?? 'm-1');
    batch.recordIndex[row] = row;
    batch.records.offset[row] = this.nextOffset++;
    batch.eventTimeMs[row] = payment.at;
    batch.amountMinor[row] = payment.amountMinor ?? 1_000;
    batch.merchantHash[row] = hash53(merchant, 0, merchant.length);
    batch.merchantRisk[row] = payment.merchantRisk ?? 0;
    batch.latitude[row] = payment.latitude ?? Number.NaN;
    batch.longitude[row] = payment.longitude ?? Number.NaN;
    const country = payment.country;
    batch.country[row] = country === undefined ? 0 : (country.charCodeAt(0) << 8) | country.charCodeAt(1);
  }
}
