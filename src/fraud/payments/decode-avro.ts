/**
 * Owns payments written in Avro with a schema registry: a zero byte, the schema's id (4 bytes, big-endian), the value
 * (Confluent's wire format). Several writer schemas are read side by side, each resolved against the canonical one.
 * Two paths give the same verdict and values, as for JSON: the compiled reader for plain payments, whose texts stay in
 * the record, and the strict one (the Avro library's resolver, then `validate-payment.ts`) for everything else.
 * Neighbours: `decode-avro-reader.ts`, `decode-avro-schema.ts`, `schema-source.ts`, `schema-wait.ts`.
 *
 * A1 `decode` never waits: `prepare` has seen to it that every id of the batch has an outcome, and pins these to the batch,
 *    since a bounded cache may forget them until it is decoded.
 * A2 Every refusal says which schema, in words and as a detail of the dead letter.
 */
import { isUtf8 } from 'node:buffer';
import { DEAD_LETTER_HEADERS } from '../../stream/pipeline/dead-letters.js';
import type { RecordBatch } from '../../stream/records.js';
import type { TokeniseCard } from './card-token.js';
import { AvroReader, READ } from './decode-avro-reader.js';
import { readableSchema } from './decode-avro-schema.js';
import { PAYMENT_LIMITS, type Payment } from './payment.js';
import type { PaymentBatch } from './payment-batch.js';
import { type PaymentDecoder, putPayment, putPlaces } from './payment-source.js';
import { FIRST_NUMBER } from './plain-payment.js';
import { InvalidPaymentError, Refusal, type RefusalCode } from './refusal.js';
import type { SchemaSource } from './schema-source.js';
import { type SchemaPatience, SchemaWait } from './schema-wait.js';
import { validatePayment } from './validate-payment.js';

export interface AvroDecoderOptions {
  readonly schemas: SchemaSource;
  readonly patience: SchemaPatience;
  /** Replaces card numbers in clear; without it, messages that hold one are refused (`pan-in-clear`). */
  readonly tokenise?: TokeniseCard;
}

/** The first byte of a framed message; no JSON begins with it. */
export const AVRO_MAGIC = 0;
const FRAME_BYTES = 5;
const MAX_ID = 0x7fff_ffff;
/** Compiled readers kept: so many writer schemas at once are read at full speed. */
const MAX_READERS = 256;

/** Why nothing of a schema can be read. */
class SchemaRefusal {
  constructor(
    readonly code: RefusalCode,
    readonly message: string,
  ) {}
}
type Outcome = AvroReader | SchemaRefusal;

export function avroDecoder(options: AvroDecoderOptions): PaymentDecoder {
  return new AvroDecoder(options);
}

class AvroDecoder implements PaymentDecoder {
  readonly format = 'avro';
  readonly counters = { strict: 0, tokenised: 0 };
  /** By schema id, in the order of their making. Refusals of schemas are kept as well: they cannot change. */
  private readonly outcomes = new Map<number, Outcome>();
  private readonly pins = new WeakMap<RecordBatch, ReadonlyMap<number, Outcome>>();
  private readonly wait: SchemaWait;
  private readonly tokenise: TokeniseCard | null;
  /** Most records are of the schema that the one before was of. */
  private lastId = -1;
  private lastReader: AvroReader | null = null;

  constructor(private readonly options: AvroDecoderOptions) {
    const { schemas, patience, tokenise } = options;
    this.wait = new SchemaWait(schemas, patience);
    this.tokenise =
      tokenise === undefined
        ? null
        : (digits) => {
            this.counters.tokenised += 1;
            return tokenise(digits);
          };
  }

  prepare(records: RecordBatch, stopping: () => boolean): Promise<void> | null {
    const ids = new Set<number>();
    let isKnown = true;
    let lastId = -1;
    for (let index = 0; index < records.count; index++) {
      const id = schemaIdAt(records, index);
      if (id < 0 || id === lastId) continue;
      lastId = id;
      ids.add(id);
      isKnown &&= this.known(id) !== null;
    }
    this.pins.delete(records);
    return isKnown ? null : this.getReady(records, ids, stopping);
  }

  private async getReady(records: RecordBatch, ids: ReadonlySet<number>, stopping: () => boolean): Promise<void> {
    const pinned = new Map<number, Outcome>();
    const missing: number[] = [];
    for (const id of ids) {
      const outcome = this.known(id);
      if (outcome === null) missing.push(id);
      else pinned.set(id, outcome);
    }
    await this.wait.get(missing, stopping, (id) => {
      const outcome = this.known(id);
      if (outcome !== null) pinned.set(id, outcome);
    });
    this.pins.set(records, pinned); // A1
  }

  decode(records: RecordBatch, index: number, batch: PaymentBatch, row: number): Refusal | null {
    const length = records.valueLength[index];
    if (length < 0) return new Refusal('null-value', 'the record has no value');
    if (length > PAYMENT_LIMITS.maxBytes) return tooLarge(length);
    const id = schemaIdAt(records, index);
    if (id < 0) return notFramed(length, records.bytes[records.valueStart[index]]);
    const reader = id === this.lastId && this.lastReader !== null ? this.lastReader : this.readerOf(id, records);
    if (reader instanceof SchemaRefusal) return refusal(reader.code, reader.message, id);
    this.lastId = id;
    this.lastReader = reader;
    const start = records.valueStart[index] + FRAME_BYTES;
    const verdict = reader.read(records.bytes, start, start + length - FRAME_BYTES);
    if (verdict === READ.plain) {
      putPlaces(reader, records.bytes, batch, row);
      return null;
    }
    this.counters.strict += 1;
    const payment = strictly(reader, verdict, start, id, this.tokenise);
    if (payment instanceof Refusal) return payment;
    putPayment(payment, batch, row);
    return null;
  }

  /** The schema must be known: it is for every record that was decoded here. */
  parse(value: Uint8Array): Payment {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
    const payment = this.parseFramed(bytes);
    if (payment instanceof Refusal) throw new InvalidPaymentError(payment);
    return payment;
  }

  private parseFramed(bytes: Buffer): Payment | Refusal {
    if (bytes.length > PAYMENT_LIMITS.maxBytes) return tooLarge(bytes.length);
    if (bytes.length < FRAME_BYTES || bytes[0] !== AVRO_MAGIC) return notFramed(bytes.length, bytes[0]);
    const id = bytes.readUInt32BE(1);
    const reader = this.readerOf(id, null);
    if (reader instanceof SchemaRefusal) return refusal(reader.code, reader.message, id);
    const verdict = reader.read(bytes, FRAME_BYTES, bytes.length);
    return strictly(reader, verdict, FRAME_BYTES, id, this.options.tokenise ?? null);
  }

  private readerOf(id: number, records: RecordBatch | null): Outcome {
    const pinned = records === null ? undefined : this.pins.get(records)?.get(id);
    return pinned ?? this.known(id) ?? UNAVAILABLE;
  }

  /** What is known of a schema now; null where it must be asked for. */
  private known(id: number): Outcome | null {
    const outcome = this.outcomes.get(id);
    if (outcome !== undefined) return outcome;
    // Registries count in int32; some answer others by an error that looks like an outage.
    if (id > MAX_ID) return UNKNOWN;
    const answer = this.options.schemas.peek(id);
    if (answer === null) return null;
    // May be registered yet: what the source remembers of it runs out.
    if (answer.kind === 'unknown') return UNKNOWN;
    const made = answer.kind === 'unusable' ? unusable('schema-unusable', answer.reason) : compile(answer.text);
    this.outcomes.set(id, made);
    if (this.outcomes.size > MAX_READERS) {
      const [oldest] = this.outcomes.keys();
      this.outcomes.delete(oldest);
    }
    return made;
  }
}

const UNKNOWN = new SchemaRefusal(
  'schema-unknown',
  'the schema registry knows no such schema; was it written with another registry?',
);
const UNAVAILABLE = new SchemaRefusal('schema-unavailable', 'the schema registry could not be asked for this schema');

function compile(text: string): Outcome {
  const schema = readableSchema(text);
  return 'code' in schema ? unusable(schema.code, schema.reason) : new AvroReader(schema);
}

const unusable = (code: RefusalCode, reason: string) =>
  new SchemaRefusal(code, `the message's schema cannot be read as a payment: ${reason}`);

/** The schema's id of a framed record, or -1. */
function schemaIdAt(records: RecordBatch, index: number): number {
  if (records.valueLength[index] < FRAME_BYTES) return -1;
  const start = records.valueStart[index];
  const { bytes } = records;
  if (bytes[start] !== AVRO_MAGIC) return -1;
  return (bytes[start + 1] * 256 + bytes[start + 2]) * 65_536 + bytes[start + 3] * 256 + bytes[start + 4];
}

/** The strict path, for a value that `reader` has just read. */
function strictly(
  reader: AvroReader,
  verdict: number,
  start: number,
  id: number,
  tokenise: TokeniseCard | null,
): Payment | Refusal {
  if (verdict === READ.malformed) return refusal('malformed-avro', reader.fault, id);
  if (verdict === READ.beyondPrecision) return refusal('out-of-range', reader.fault, id);
  for (let field = 0; field < FIRST_NUMBER; field++) {
    const text = reader.textAt(field);
    if (text !== null && !isUtf8(text)) return refusal('not-utf8', `a text of ${text.length} bytes is not UTF-8`, id);
  }
  let value: unknown;
  try {
    value = reader.object(start);
  } catch (error) {
    return refusal('malformed-avro', error instanceof Error ? error.message.slice(0, 200) : 'it cannot be read', id);
  }
  const payment = validatePayment(value, tokenise);
  return payment instanceof Refusal ? refusal(payment.code, payment.message, id) : payment;
}

/** A2. */
function refusal(code: RefusalCode, message: string, id: number): Refusal {
  return new Refusal(code, `${message} (schema ${id})`, { [DEAD_LETTER_HEADERS.schemaId]: String(id) });
}

const tooLarge = (length: number) =>
  new Refusal('too-large', `the value has ${length} bytes, the limit is ${PAYMENT_LIMITS.maxBytes}`);

function notFramed(length: number, first: number): Refusal {
  const found = length < FRAME_BYTES ? `it has ${length} bytes` : `it begins with byte ${first}`;
  return new Refusal(
    'malformed-framing',
    `the value is not framed by a schema registry's serializer (a zero byte, a schema id of 4 bytes, the value): ${found}`,
  );
}
