/**
 * Owns the canonical payment: its fields, units and limits. Neighbours: `decode-json.ts` reads it from bytes,
 * `payment-batch.ts` holds it in columns.
 */

declare const brand: unique symbol;
/** A card's token: never a PAN in clear. 1 to 64 bytes of UTF-8. */
export type CardId = string & { readonly [brand]: 'CardId' };
export type MerchantId = string & { readonly [brand]: 'MerchantId' };
export type PaymentId = string & { readonly [brand]: 'PaymentId' };

export const CHANNELS = ['pos', 'ecom', 'atm', 'moto', 'other'] as const;
export type Channel = (typeof CHANNELS)[number];

/** What the acquirer or issuer said of the payment before us. */
export const PAYMENT_STATUSES = ['requested', 'authorised', 'declined', 'reversed'] as const;
export type PaymentStatus = (typeof PAYMENT_STATUSES)[number];

/** One card payment. Money in minor units (cents), times in ms since 1970. */
export interface Payment {
  readonly paymentId: PaymentId;
  readonly cardId: CardId;
  readonly merchantId: MerchantId;
  /** 0 to 10^12, whole. */
  readonly amountMinor: number;
  /** ISO 4217, three capitals. */
  readonly currency: string;
  /** Event time, ms since 1970, whole, between 2000 and 2100. */
  readonly occurredAt: number;
  /** ISO 3166-1 alpha-2, two capitals. */
  readonly country?: string;
  /** ISO 18245, four digits. */
  readonly mcc?: string;
  readonly channel?: Channel;
  readonly status?: PaymentStatus;
  readonly deviceId?: string;
  readonly ip?: string;
  /** Degrees, -90 to 90. With `longitude` or not at all. */
  readonly latitude?: number;
  /** Degrees, -180 to 180. */
  readonly longitude?: number;
}

/** Limits that the decoder enforces; beyond them a message is a dead letter. */
export const PAYMENT_LIMITS = {
  maxBytes: 64 * 1024,
  maxIdBytes: 64,
  maxAmountMinor: 1_000_000_000_000,
  minOccurredAt: Date.UTC(2000, 0, 1),
  maxOccurredAt: Date.UTC(2100, 0, 1),
} as const;
