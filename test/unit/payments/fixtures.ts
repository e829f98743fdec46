/** Payments and record batches for the tests of this folder and its neighbours. */
import type { CardId, MerchantId, Payment, PaymentId } from '../../../src/fraud/payments/payment.js';
import { RecordBatch } from '../../../src/stream/records.js';

export const PLAIN: Payment = {
  paymentId: 'tx-1' as PaymentId,
  cardId: 'card-596' as CardId,
  merchantId: 'merchant-3156' as MerchantId,
  amountMinor: 5716,
  currency: 'EUR',
  occurredAt: 1_522_540_831_000,
};

export const FULL: Payment = {
  ...PLAIN,
  country: 'BE',
  mcc: '5411',
  channel: 'pos',
  status: 'requested',
  deviceId: 'device-77',
  ip: '192.0.2.17',
  latitude: 50.8503,
  longitude: -4.3517,
};

/** A record batch of these values, as a reader fills it: all in one buffer, with foreign bytes around each. */
export function recordsOf(
  values: readonly (Buffer | string | null)[],
  batch = new RecordBatch(Math.max(1, values.length)),
): RecordBatch {
  const parts: Buffer[] = [Buffer.from('}"')];
  let at = 2;
  values.forEach((value, index) => {
    const bytes = value === null ? Buffer.alloc(0) : Buffer.from(value);
    batch.keyStart[index] = 0;
    batch.keyLength[index] = -1;
    batch.valueStart[index] = at;
    batch.valueLength[index] = value === null ? -1 : bytes.length;
    batch.offset[index] = index;
    parts.push(bytes, Buffer.from('}"9'));
    at += bytes.length + 3;
  });
  batch.bytes = Buffer.concat(parts);
  batch.count = values.length;
  batch.fromOffset = 0;
  batch.nextOffset = values.length;
  return batch;
}
