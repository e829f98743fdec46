/**
 * Owns the source step of payments: records in, rows out, whatever the format. A format is a {@link PaymentDecoder}:
 * `decode-json.ts`, `decode-avro.ts`, and `decode-any.ts` for both on one topic. Neighbours: the task calls `decode`, alerts
 * call the decoder's `parse` when they need the whole payment.
 */
import { originOf } from '../../stream/pipeline/origin.js';
import type { Rejects, SourceStep } from '../../stream/pipeline/pipeline.js';
import type { RecordBatch } from '../../stream/records.js';
import { hash53 } from '../../stream/state/key-index.js';
import type { Payment } from './payment.js';
import { KIND, PaymentBatch } from './payment-batch.js';
import { FIELD, type PlainPayment } from './plain-payment.js';
import type { Refusal } from './refusal.js';
import { channelCode, countryCode, currencyCode, mccCode, statusCode } from './text-codes.js';

/** What a decoder did since it was made. One decoder serves one thread. */
export interface DecoderCounters {
  /** Payments that took the strict path instead of the fast one. */
  strict: number;
  /** Card numbers in clear replaced by tokens. */
  tokenised: number;
}

/** One message format. Must not throw on any bytes. */
export interface PaymentDecoder {
  readonly format: string;
  readonly counters: Readonly<DecoderCounters>;
  /** As {@link SourceStep.prepare}: for formats that need more than the record's own bytes. */
  prepare?(records: RecordBatch, stopping: () => boolean): Promise<void> | null;
  /** Fills row `row` of `batch` from record `index`, or says why it cannot; a refused row may be half filled. */
  decode(records: RecordBatch, index: number, batch: PaymentBatch, row: number): Refusal | null;
  /** The whole payment, for evidence. Throws {@link InvalidPaymentError}. */
  parse(value: Uint8Array): Payment;
}

export interface PaymentSource extends SourceStep<PaymentBatch> {
  readonly decoder: PaymentDecoder;
}

/** A source step that reads payments of one format from `topic`. `featureCount`: model inputs a row (0: none). */
export function paymentSource(options: {
  readonly topic: string;
  readonly decoder: PaymentDecoder;
  readonly featureCount?: number;
  /** A first stage has keyed the records, and tells in their headers where they lay before. */
  readonly isRekeyed?: boolean;
}): PaymentSource {
  const { topic, decoder, featureCount = 0, isRekeyed = false } = options;
  return {
    id: `payments-${decoder.format}`,
    topic,
    decoder,
    makeBatch: (capacity) => new PaymentBatch(capacity, featureCount),
    prepare: (records, stopping) => decoder.prepare?.(records, stopping) ?? null,
    ...(isRekeyed && { originOf }),
    decode(batch: PaymentBatch, records: RecordBatch, rejects: Rejects): void {
      batch.reset();
      let row = 0;
      for (let index = 0; index < records.count; index++) {
        const refusal = decoder.decode(records, index, batch, row);
        if (refusal !== null) {
          rejects.reject(index, refusal.code, refusal.message, refusal.details);
          continue;
        }
        batch.recordIndex[row] = index;
        row += 1;
      }
      batch.count = row;
    },
  };
}

/** Writes a payment to a row, its texts to the side buffer: for decoders that do not find them verbatim in the record. */
export function putPayment(payment: Payment, batch: PaymentBatch, row: number): void {
  batch.inSide[row] = 1;
  batch.keyStart[row] = batch.addSideText(payment.cardId);
  batch.keyLength[row] = batch.sideLength - batch.keyStart[row];
  batch.merchantStart[row] = batch.addSideText(payment.merchantId);
  batch.merchantLength[row] = batch.sideLength - batch.merchantStart[row];
  batch.paymentIdStart[row] = batch.addSideText(payment.paymentId);
  batch.paymentIdLength[row] = batch.sideLength - batch.paymentIdStart[row];
  batch.merchantHash[row] = hash53(batch.side, batch.merchantStart[row], batch.merchantLength[row]);
  batch.eventTimeMs[row] = payment.occurredAt;
  batch.amountMinor[row] = payment.amountMinor;
  const { deviceAndIp } = batch;
  const at = row * 4;
  deviceAndIp[at] = batch.addSideText(payment.deviceId ?? '');
  deviceAndIp[at + 1] = batch.sideLength - deviceAndIp[at];
  deviceAndIp[at + 2] = batch.addSideText(payment.ip ?? '');
  deviceAndIp[at + 3] = batch.sideLength - deviceAndIp[at + 2];
  batch.country[row] = countryCode(payment.country ?? '');
  batch.currency[row] = currencyCode(payment.currency);
  batch.kind[row] = kindOf(
    mccCode(payment.mcc ?? ''),
    channelCode(payment.channel ?? ''),
    statusCode(payment.status ?? ''),
  );
  batch.latitude[row] = payment.latitude ?? Number.NaN;
  batch.longitude[row] = payment.longitude ?? Number.NaN;
}

/** Writes a payment to a row whose texts lie in the record's own bytes, and stay there. */
export function putPlaces(plain: PlainPayment, bytes: Uint8Array, batch: PaymentBatch, row: number): void {
  const { start, length, number } = plain;
  batch.inSide[row] = 0;
  batch.keyStart[row] = start[FIELD.cardId];
  batch.keyLength[row] = length[FIELD.cardId];
  batch.merchantStart[row] = start[FIELD.merchantId];
  batch.merchantLength[row] = length[FIELD.merchantId];
  batch.paymentIdStart[row] = start[FIELD.paymentId];
  batch.paymentIdLength[row] = length[FIELD.paymentId];
  batch.merchantHash[row] = hash53(bytes, start[FIELD.merchantId], length[FIELD.merchantId]);
  batch.eventTimeMs[row] = number[FIELD.occurredAt];
  batch.amountMinor[row] = number[FIELD.amountMinor];
  batch.country[row] = plain.country;
  batch.currency[row] = plain.currency;
  batch.kind[row] = kindOf(plain.mcc, plain.channel, plain.status);
  const { deviceAndIp } = batch;
  const at = row * 4;
  deviceAndIp[at] = start[FIELD.deviceId];
  deviceAndIp[at + 1] = plain.has(FIELD.deviceId) ? length[FIELD.deviceId] : 0;
  deviceAndIp[at + 2] = start[FIELD.ip];
  deviceAndIp[at + 3] = plain.has(FIELD.ip) ? length[FIELD.ip] : 0;
  const located = plain.has(FIELD.latitude);
  batch.latitude[row] = located ? number[FIELD.latitude] : Number.NaN;
  batch.longitude[row] = located ? number[FIELD.longitude] : Number.NaN;
}

function kindOf(mcc: number, channel: number, status: number): number {
  return (mcc << KIND.mcc.shift) | (channel << KIND.channel.shift) | status;
}
