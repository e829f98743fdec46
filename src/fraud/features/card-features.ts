/**
 * Owns the values of the model's inputs: fills a row of `PaymentBatch.features` from the payment and the card as it
 * was before it. Neighbours: `feature-list.ts` says what each value means, `../cards/remember-payment.ts` runs after
 * this step and adds the payment to the card.
 *
 * F1 Values depend on the card's earlier payments (in offset order) and this one alone: no clock, no batch border.
 * F2 A payment that arrives out of order gets a defined value: windows count what lies in (time − window, time],
 *    elapsed times are never negative.
 * Measured by `scripts/model/measure-steps.ts`; no allocation, no closure a row.
 */
import type { KeyedStep, OpenKeyedStep } from '../../stream/pipeline/pipeline.js';
import { decayWeight, HALF_LIFE_7D_MS, HALF_LIFE_30D_MS } from '../cards/decay.js';
import type { CardColumns, cardState } from '../cards/state.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { FEATURE_INDEX as AT, FEATURE_COUNT } from './feature-list.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** 1970-01-01 was a Thursday: with 4 added, days count from a Sunday. */
const EPOCH_WEEKDAY = 4;
const LAST_NIGHT_HOUR = 6;
const OUTLIER_RATIO = 3;
const MAX_SECONDS_SINCE_PREVIOUS = 7 * 86_400;
const MAX_LIFETIME_COUNT = 1_000;
/** Keeps ratios finite in single precision, however small a mean decays. */
const MAX_RATIO = 1e6;

/**
 * The different merchants of one row: a hash set of at most the ring's 32 and this payment's, emptied by a new stamp.
 * Comparing each with each took 0.3 µs a payment on cards whose ring lies within a day.
 */
class MerchantSet {
  size = 0;
  private readonly merchants = new Float64Array(128);
  private readonly stamps = new Int32Array(128);
  private stamp = 0;

  clear(): void {
    this.size = 0;
    this.stamp++;
    if (this.stamp < 0x7fff_ffff) return;
    this.stamps.fill(0);
    this.stamp = 1;
  }

  add(merchant: number): void {
    const { merchants, stamps, stamp } = this;
    let place = merchant & 127;
    while (stamps[place] === stamp) {
      if (merchants[place] === merchant) return;
      place = (place + 1) & 127;
    }
    stamps[place] = stamp;
    merchants[place] = merchant;
    this.size++;
  }
}

class OpenCardFeatures implements OpenKeyedStep<PaymentBatch> {
  /** Scratch, meaningless between rows. */
  private readonly merchants = new MerchantSet();

  constructor(private readonly card: CardColumns) {}

  apply(batch: PaymentBatch, row: number, slot: number): void {
    if (batch.featureCount !== FEATURE_COUNT) {
      throw new RangeError(`the batch has room for ${batch.featureCount} features a row, ${FEATURE_COUNT} are needed`);
    }
    const at = row * FEATURE_COUNT;
    this.fillTimeOfDay(batch.features, at, batch.eventTimeMs[row]);
    this.fillWindows(batch, at, row, slot);
    this.fillHistory(batch, at, row, slot);
    batch.features[at + AT.merchantRisk] = batch.merchantRisk[row];
  }

  private fillTimeOfDay(features: Float32Array, at: number, timeMs: number): void {
    const hour = Math.floor(timeMs / HOUR_MS) % 24;
    const weekday = (Math.floor(timeMs / DAY_MS) + EPOCH_WEEKDAY) % 7;
    features[at + AT.hourOfDay] = hour;
    features[at + AT.weekend] = weekday === 0 || weekday === 6 ? 1 : 0;
    features[at + AT.night] = hour <= LAST_NIGHT_HOUR ? 1 : 0;
  }

  /** What is read from the ring, in one pass. Entries are in order of arrival, so every one must be looked at (F2). */
  private fillWindows(batch: PaymentBatch, at: number, row: number, slot: number): void {
    const { recent, paymentCount, amountSumMinor } = this.card;
    const { occurredAt, amountMinor, merchant } = recent.entry;
    const timeMs = batch.eventTimeMs[row];
    const thisMerchant = batch.merchantHash[row];
    const outlierMinor = (OUTLIER_RATIO * amountSumMinor[slot]) / Math.max(paymentCount[slot], 1);
    const merchants = this.merchants;
    merchants.clear();
    merchants.add(thisMerchant);
    let count1h = 1;
    let count24h = 1;
    let sum24h = batch.amountMinor[row];
    let merchantNew = 1;
    let outliers = 0;
    const first = slot * recent.field.size;
    for (let i = first, end = first + recent.length(slot); i < end; i++) {
      const entryMerchant = merchant[i];
      if (entryMerchant === thisMerchant) merchantNew = 0;
      if (amountMinor[i] > outlierMinor) outliers++;
      const agoMs = timeMs - occurredAt[i];
      if (agoMs < 0 || agoMs >= DAY_MS) continue;
      count24h++;
      sum24h += amountMinor[i];
      if (agoMs < HOUR_MS) count1h++;
      merchants.add(entryMerchant);
    }
    const { features } = batch;
    features[at + AT.count1h] = count1h;
    features[at + AT.count24h] = count24h;
    features[at + AT.amountSum24hMinor] = sum24h;
    features[at + AT.merchantNew] = merchantNew;
    features[at + AT.distinctMerchants24h] = merchants.size;
    features[at + AT.recentOutliers] = outliers;
  }

  /** What is read from the lifetime and decayed figures. Means need no decay: it cancels out. */
  private fillHistory(batch: PaymentBatch, at: number, row: number, slot: number): void {
    const card = this.card;
    const { features } = batch;
    const amountMinor = batch.amountMinor[row];
    const count = card.paymentCount[slot];
    const elapsedMs = Math.max(batch.eventTimeMs[row] - card.lastOccurredAt[slot], 0);
    const mean30dMinor = ratio(card.decayedAmount30d[slot], card.decayedCount30d[slot]);
    features[at + AT.amountMinor] = amountMinor;
    features[at + AT.decayedCount7d] = card.decayedCount7d[slot] * decayWeight(elapsedMs, HALF_LIFE_7D_MS);
    features[at + AT.decayedMean7dMinor] = ratio(card.decayedAmount7d[slot], card.decayedCount7d[slot]);
    features[at + AT.decayedCount30d] = card.decayedCount30d[slot] * decayWeight(elapsedMs, HALF_LIFE_30D_MS);
    features[at + AT.decayedMean30dMinor] = mean30dMinor;
    features[at + AT.amountOverMean30d] = Math.min(ratio(amountMinor, mean30dMinor), MAX_RATIO);
    features[at + AT.amountOverLifetimeMean] = Math.min(
      ratio(amountMinor, ratio(card.amountSumMinor[slot], count)),
      MAX_RATIO,
    );
    features[at + AT.secondsSincePrevious] =
      count === 0 ? MAX_SECONDS_SINCE_PREVIOUS : Math.min(elapsedMs / 1_000, MAX_SECONDS_SINCE_PREVIOUS);
    features[at + AT.lifetimeCount] = Math.min(count, MAX_LIFETIME_COUNT);
  }
}

/** 0 where there is nothing to divide by. */
function ratio(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0;
}

/** Fills `batch.features` for a row. Runs before `rememberPayment`. */
export const cardFeatures: KeyedStep<PaymentBatch, typeof cardState.fields> = {
  kind: 'keyed',
  id: 'card-features',
  open: (_context, columns) => new OpenCardFeatures(columns),
};
