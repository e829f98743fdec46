/**
 * Owns topics on which payments come in Avro and in JSON side by side: the first byte tells them apart, as a framed
 * message begins with zero and no JSON does. Neighbours: `decode-json.ts`, `decode-avro.ts`.
 */
import { AVRO_MAGIC } from './decode-avro.js';
import type { PaymentDecoder } from './payment-source.js';

export function anyDecoder(json: PaymentDecoder, avro: PaymentDecoder): PaymentDecoder {
  return {
    format: 'auto',
    get counters() {
      return {
        strict: json.counters.strict + avro.counters.strict,
        tokenised: json.counters.tokenised + avro.counters.tokenised,
      };
    },
    prepare: (records, stopping) => avro.prepare?.(records, stopping) ?? null,
    decode(records, index, batch, row) {
      const isAvro = records.valueLength[index] > 0 && records.bytes[records.valueStart[index]] === AVRO_MAGIC;
      return (isAvro ? avro : json).decode(records, index, batch, row);
    },
    parse: (value) => (value[0] === AVRO_MAGIC ? avro : json).parse(value),
  };
}
