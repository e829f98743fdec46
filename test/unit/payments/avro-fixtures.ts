/** Writer schemas, values in them, and a decoder over a registry in memory, for the tests of payments in Avro. */
import avro from 'avsc';
import { avroDecoder } from '../../../src/fraud/payments/decode-avro.js';
import { PAYMENT_AVRO } from '../../../src/fraud/payments/decode-avro-schema.js';
import { PaymentBatch } from '../../../src/fraud/payments/payment-batch.js';
import type { PaymentDecoder } from '../../../src/fraud/payments/payment-source.js';
import type { Refusal } from '../../../src/fraud/payments/refusal.js';
import type { SchemaPatience } from '../../../src/fraud/payments/schema-wait.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { MemoryRegistry } from '../../support/memory-registry.js';
import { recordsOf } from './fixtures.js';

type Field = Readonly<Record<string, unknown>> & { readonly name: string };
const CANONICAL = PAYMENT_AVRO.fields as readonly Field[];
const REQUIRED = ['paymentId', 'cardId', 'merchantId', 'amountMinor', 'currency', 'occurredAt'];

export const recordSchema = (fields: readonly object[], rest: object = {}) => ({
  type: 'record',
  name: 'Payment',
  namespace: 'fraud.payments',
  fields,
  ...rest,
});

export const only = (...names: string[]) => CANONICAL.filter(({ name }) => names.includes(name));
export const required = only(...REQUIRED);
/** The canonical fields but for these. */
export const without = (...names: string[]) => CANONICAL.filter(({ name }) => !names.includes(name));
export const CANONICAL_SCHEMA = recordSchema(CANONICAL);

/** Frames a value as a registry's serializer does. */
export function framed(id: number, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(id, 1);
  return Buffer.concat([head, body]);
}

export const bodyOf = (schema: object, value: object): Buffer =>
  avro.Type.forSchema(schema as avro.Schema).toBuffer(value);

/** A whole number as Avro writes it (zigzag, base 128). */
export function varint(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return Buffer.from([...bytes, Number(rest)]);
}

export const patience: SchemaPatience = {
  waitMs: 60_000,
  onUnavailable: 'stop',
  clock: systemClock,
  warn: () => {},
};

export class AvroWorld {
  readonly registry = new MemoryRegistry();
  readonly decoder: PaymentDecoder;

  constructor(options: { readonly tokenise?: (digits: string) => string } & Partial<SchemaPatience> = {}) {
    const { tokenise, ...rest } = options;
    this.decoder = avroDecoder({
      schemas: this.registry.source({ askAgainMs: 0 }),
      patience: { ...patience, ...rest },
      ...(tokenise !== undefined && { tokenise }),
    });
  }

  /** Registers the schema and writes a value in it. */
  write(schema: object, value: object): Buffer {
    return framed(this.registry.register(schema), bodyOf(schema, value));
  }

  /** Decodes messages as a task does; what became of each. */
  async decode(
    ...values: (Buffer | null)[]
  ): Promise<{ readonly batch: PaymentBatch; readonly refusals: (Refusal | null)[] }> {
    const records = recordsOf(values);
    const batch = new PaymentBatch(values.length, 0);
    Object.assign(batch, { records });
    await this.decoder.prepare?.(records, () => false);
    const refusals = values.map((_, index) => this.decoder.decode(records, index, batch, index));
    batch.count = values.length;
    return { batch, refusals };
  }

  async codes(...values: (Buffer | null)[]): Promise<(string | null)[]> {
    return (await this.decode(...values)).refusals.map((refusal) => refusal?.code ?? null);
  }
}
