/**
 * Owns the merchant risk of the training data: what the risk table and the lookup would have said at the time. It is
 * the merchant's fraud share among the payments of whole days (UTC) up to `delayDays` before the payment's day (frauds
 * become known that late), older days counting one half for every `halfLifeDays`; smoothed towards the usual share by
 * `priorPayments` imaginary payments. Whoever serves risks to the detector must serve this figure: its parameters go
 * into the model's metadata. `docs/MODEL.md` compares it with shares over windows. Neighbours: `export-features.ts`.
 */

export interface MerchantRiskParameters {
  readonly halfLifeDays: number;
  readonly delayDays: number;
  /** The usual fraud share, 0 to 1. */
  readonly prior: number;
  readonly priorPayments: number;
}

export const MERCHANT_RISK_PARAMETERS: MerchantRiskParameters = {
  halfLifeDays: 4,
  delayDays: 7,
  prior: 0.008,
  priorPayments: 0.25,
};

const DAY_MS = 86_400_000;

/** One merchant's days not known yet, oldest first, and the decayed sums of those that are. */
interface MerchantDays {
  readonly unknown: { readonly day: number; payments: number; frauds: number }[];
  /** The newest day that the sums hold; they are weighted as of it. */
  knownDay: number;
  payments: number;
  frauds: number;
}

export class MerchantRiskHistory {
  private readonly merchants = new Map<string, MerchantDays>();

  constructor(readonly parameters: MerchantRiskParameters) {}

  /** Adds a payment. Times must not run back by days. */
  add(merchantId: string, occurredAt: number, isFraud: boolean): void {
    const day = Math.floor(occurredAt / DAY_MS);
    let merchant = this.merchants.get(merchantId);
    if (merchant === undefined) {
      merchant = { unknown: [], knownDay: day, payments: 0, frauds: 0 };
      this.merchants.set(merchantId, merchant);
    }
    let last = merchant.unknown.at(-1);
    if (last === undefined || last.day !== day) {
      last = { day, payments: 0, frauds: 0 };
      merchant.unknown.push(last);
    }
    last.payments++;
    if (isFraud) last.frauds++;
  }

  /** The risk known at `occurredAt`, 0 to 1. Times must not run back by days. */
  riskAt(merchantId: string, occurredAt: number): number {
    const { delayDays, prior, priorPayments } = this.parameters;
    const merchant = this.merchants.get(merchantId);
    if (merchant === undefined) return prior;
    this.learn(merchant, Math.floor(occurredAt / DAY_MS) - delayDays - 1);
    return (merchant.frauds + prior * priorPayments) / (merchant.payments + priorPayments);
  }

  /** Adds the days up to `throughDay`, whose frauds have become known, and decays the sums to it. */
  private learn(merchant: MerchantDays, throughDay: number): void {
    while (merchant.unknown.length > 0 && merchant.unknown[0].day <= throughDay) {
      const { day, payments, frauds } = merchant.unknown[0];
      this.decay(merchant, day);
      merchant.payments += payments;
      merchant.frauds += frauds;
      merchant.unknown.shift();
    }
    this.decay(merchant, throughDay);
  }

  private decay(merchant: MerchantDays, toDay: number): void {
    const days = toDay - merchant.knownDay;
    if (days <= 0) return;
    const weight = 0.5 ** (days / this.parameters.halfLifeDays);
    merchant.payments *= weight;
    merchant.frauds *= weight;
    merchant.knownDay = toDay;
  }
}
