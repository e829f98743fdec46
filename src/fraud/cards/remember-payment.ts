/**
 * Owns what a payment leaves behind on its card: lifetime and decayed figures, the ring entry, the last known place.
 * The last keyed step: the ones before it (`../patterns`, `../features`) see the card as it was before the payment.
 *
 * R1 `lastOccurredAt` is the latest event time seen; decayed figures hold as of it. A payment out of order is weighted
 *    by its age and moves no time back, so the figures do not depend on the order of arrival (but for rounding).
 * R2 The last place is the latest one by event time.
 */
import type { KeyedStep, OpenKeyedStep } from '../../stream/pipeline/pipeline.js';
import type { PaymentBatch } from '../payments/payment-batch.js';
import { decayWeight, HALF_LIFE_7D_MS, HALF_LIFE_30D_MS } from './decay.js';
import type { CardColumns, cardState } from './state.js';

const MAX_COUNT = 0xffff_ffff;

class OpenRememberPayment implements OpenKeyedStep<PaymentBatch> {
  constructor(private readonly card: CardColumns) {}

  apply(batch: PaymentBatch, row: number, slot: number): void {
    this.addFigures(slot, batch.eventTimeMs[row], batch.amountMinor[row]);
    this.addEntry(batch, row, slot);
    this.movePlace(batch, row, slot);
  }

  private addFigures(slot: number, timeMs: number, amountMinor: number): void {
    const card = this.card;
    const aheadMs = timeMs - card.lastOccurredAt[slot];
    const isFirst = card.paymentCount[slot] === 0;
    if (card.paymentCount[slot] < MAX_COUNT) card.paymentCount[slot]++;
    card.amountSumMinor[slot] += amountMinor;
    if (aheadMs >= 0 || isFirst) {
      // On a first payment the figures are 0 and whatever weight they get is as good.
      const weight7d = decayWeight(aheadMs, HALF_LIFE_7D_MS);
      const weight30d = decayWeight(aheadMs, HALF_LIFE_30D_MS);
      card.decayedCount7d[slot] = card.decayedCount7d[slot] * weight7d + 1;
      card.decayedAmount7d[slot] = card.decayedAmount7d[slot] * weight7d + amountMinor;
      card.decayedCount30d[slot] = card.decayedCount30d[slot] * weight30d + 1;
      card.decayedAmount30d[slot] = card.decayedAmount30d[slot] * weight30d + amountMinor;
      card.lastOccurredAt[slot] = timeMs;
      return;
    }
    const weight7d = decayWeight(-aheadMs, HALF_LIFE_7D_MS);
    const weight30d = decayWeight(-aheadMs, HALF_LIFE_30D_MS);
    card.decayedCount7d[slot] += weight7d;
    card.decayedAmount7d[slot] += weight7d * amountMinor;
    card.decayedCount30d[slot] += weight30d;
    card.decayedAmount30d[slot] += weight30d * amountMinor;
  }

  private addEntry(batch: PaymentBatch, row: number, slot: number): void {
    const { recent } = this.card;
    const at = recent.append(slot);
    recent.entry.occurredAt[at] = batch.eventTimeMs[row];
    recent.entry.amountMinor[at] = batch.amountMinor[row];
    recent.entry.merchant[at] = batch.merchantHash[row];
    recent.entry.sourceOffset[at] = batch.records.offset[batch.recordIndex[row]];
  }

  private movePlace(batch: PaymentBatch, row: number, slot: number): void {
    const card = this.card;
    const timeMs = batch.eventTimeMs[row];
    const latitude = batch.latitude[row];
    if (!Number.isNaN(latitude) && timeMs >= card.lastLocatedAt[slot]) {
      card.lastLocatedAt[slot] = timeMs;
      card.lastLatitude[slot] = latitude;
      card.lastLongitude[slot] = batch.longitude[row];
    }
    if (batch.country[row] !== 0 && timeMs >= card.lastCountryAt[slot]) {
      card.lastCountryAt[slot] = timeMs;
      card.lastCountry[slot] = batch.country[row];
    }
  }
}

/** Adds the payment to its card. The last of the keyed steps. */
export const rememberPayment: KeyedStep<PaymentBatch, typeof cardState.fields> = {
  kind: 'keyed',
  id: 'remember-payment',
  open: (_context, columns) => new OpenRememberPayment(columns),
};
