/** Payments and record batches for the tests of this folder and its neighbours. */
import type { CardId, MerchantId, Payment, PaymentId } from '../../../src/fraud/payments/payment.js';
import { KIND, PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import { putPayment, putPlaces } from '../../../src/fraud/payments/payment-source.js';
import type { PlainPayment } from '../../../src/fraud/payments/plain-payment.js';
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

/** What decoders write of a payment to a row, texts as texts. */
export function rowOf(batch: PaymentBatch, row: number) {
  const [deviceStart, deviceLength, ipStart, ipLength] = batch.deviceAndIp.subarray(row * 4);
  const text = (start: number, length: number) => batch.textBytes(row).toString('utf8', start, start + length);
  return {
    cardId: batch.cardId(row),
    merchantId: batch.merchantId(row),
    paymentId: batch.paymentId(row),
    deviceId: text(deviceStart, deviceLength),
    ip: text(ipStart, ipLength),
    merchantHash: batch.merchantHash[row],
    amountMinor: batch.amountMinor[row],
    occurredAt: batch.eventTimeMs[row],
    country: batch.country[row],
    currency: batch.currency[row],
    mcc: (batch.kind[row] >>> KIND.mcc.shift) & KIND.mcc.mask,
    channel: (batch.kind[row] >>> KIND.channel.shift) & KIND.channel.mask,
    status: (batch.kind[row] >>> KIND.status.shift) & KIND.status.mask,
    latitude: batch.latitude[row],
    longitude: batch.longitude[row],
  };
}

const inPlace = new PaymentBatch(1, 0);
const copied = new PaymentBatch(1, 0);

/** The rows that the fast path and the strict one write for the same payment. */
export function rowsOfBothPaths(plain: PlainPayment, bytes: Buffer, payment: Payment) {
  inPlace.reset();
  inPlace.records.bytes = bytes;
  putPlaces(plain, bytes, inPlace, 0);
  copied.reset();
  putPayment(payment, copied, 0);
  return [rowOf(inPlace, 0), rowOf(copied, 0)] as const;
}
