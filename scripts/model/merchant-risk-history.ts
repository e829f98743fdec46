/**
 * Owns the merchant risk of the training data: what the risk table and the lookup would have said at the time. It is
 * the merchant's fraud share over the `windowDays` whole days (UTC) that ended `delayDays` before the payment's day, as
 * frauds become known that late; smoothed towards the usual share by `priorPayments` imaginary payments, so that a
 * merchant with one payment is not called wholly fraudulent. Whoever serves risks to the detector must serve this
 * figure: its parameters go into the model's metadata. `docs/MODEL.md` compares others. Neighbours: `export-features.ts`.
 */

export interface MerchantRiskParameters {
  readonly windowDays: number;
  readonly delayDays: number;
  /** The usual fraud share, 0 to 1. */
  readonly prior: number;
  readonly priorPayments: number;
}

export const MERCHANT_RISK_PARAMETERS: MerchantRiskParameters = {
  windowDays: 5,
  delayDays: 7,
  prior: 0.008,
  priorPayments: 1,
};

const DAY_MS = 86_400_000;

interface MerchantDay {
  readonly day: number;
  payments: number;
  frauds: number;
}

export class MerchantRiskHistory {
  /** Days with payments, oldest first; no older ones than a risk can still need. */
  private readonly merchants = new Map<string, MerchantDay[]>();

  constructor(readonly parameters: MerchantRiskParameters) {}

  /** Adds a payment. Times must not run back by days. */
  add(merchantId: string, occurredAt: number, isFraud: boolean): void {
    const { windowDays, delayDays } = this.parameters;
    const day = Math.floor(occurredAt / DAY_MS);
    let days = this.merchants.get(merchantId);
    if (days === undefined) {
      days = [];
      this.merchants.set(merchantId, days);
    }
    let last = days.at(-1);
    if (last === undefined || last.day !== day) {
      last = { day, payments: 0, frauds: 0 };
      days.push(last);
      while (days[0].day < day - delayDays - windowDays) days.shift();
    }
    last.payments++;
    if (isFraud) last.frauds++;
  }

  /** The risk known at `occurredAt`, 0 to 1. Times must not run back by days. */
  riskAt(merchantId: string, occurredAt: number): number {
    const { windowDays, delayDays, prior, priorPayments } = this.parameters;
    const endDay = Math.floor(occurredAt / DAY_MS) - delayDays;
    let payments = 0;
    let frauds = 0;
    for (const day of this.merchants.get(merchantId) ?? []) {
      if (day.day < endDay - windowDays || day.day >= endDay) continue;
      payments += day.payments;
      frauds += day.frauds;
    }
    return (frauds + prior * priorPayments) / (payments + priorPayments);
  }
}
