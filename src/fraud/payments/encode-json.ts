/** Owns the canonical JSON of a payment, as feeds and the card world write it: fields in one order, absent ones left out. */
import type { Payment } from './payment.js';

/** Flat JSON as UTF-8; `decode-json.ts` reads it on its fast path where the texts are ASCII without escapes. */
export function encodePayment(payment: Payment): Buffer {
  const { paymentId, cardId, merchantId, amountMinor, currency, occurredAt } = payment;
  const { country, mcc, channel, status, deviceId, ip, latitude, longitude } = payment;
  return Buffer.from(
    JSON.stringify({
      paymentId,
      cardId,
      merchantId,
      amountMinor,
      currency,
      occurredAt,
      country,
      mcc,
      channel,
      status,
      deviceId,
      ip,
      latitude,
      longitude,
    }),
  );
}
