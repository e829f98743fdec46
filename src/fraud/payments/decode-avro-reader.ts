/**
 * Owns reading Avro values of one writer schema: a list of steps compiled from it walks the bytes once, notes where the
 * payment's texts lie and what its numbers are, and passes over everything else. It makes no string, no object and no
 * copy. Neighbours: `decode-avro.ts` calls it for each message; `decode-avro-schema.ts` says which schemas come here;
 * the Avro library, by way of its resolver, decides whatever is not plainly valid.
 *
 * Invariants
 * 1. Bytes that are not exactly one value of the schema are refused here, so the library, which walks without bounds
 *    (a block of a billion empty items, one of negative size), never sees them.
 * 2. What is read and plainly valid, the library and `validate-payment.ts` read and accept too, with the same values. A
 *    property test holds both together.
 *
 * Measured: 0.22 µs a payment of required fields (59 bytes), 0.39 µs with every field; docs/PAYMENT-FORMATS.md.
 */
import type { Type, types } from 'avsc';
import { PAYMENT_AVRO, type ReadableSchema } from './decode-avro-schema.js';
import { PAYMENT_LIMITS } from './payment.js';
import { bit, FIELD, FIRST_NUMBER, PlainPayment } from './plain-payment.js';

const KIND = { nothing: 0, text: 1, int: 2, long: 3, float: 4, double: 5, other: 6 } as const;

/** One field of the writer's record. */
interface Step {
  readonly name: string;
  /** Number of the payment's field that it fills; -1 where we have none. */
  readonly field: number;
  readonly isUnion: boolean;
  /** By branch; of a type that is no union, the one kind. */
  readonly kinds: readonly number[];
  readonly types: readonly Type[];
}

/** What a value turned out to be. */
export const READ = { plain: 0, unsure: 1, malformed: 2, beyondPrecision: 3 } as const;

const { maxIdBytes } = PAYMENT_LIMITS;
const MAX_DEPTH = 64;
const TWO_28 = 2 ** 28;

/** Reader of one writer schema. Holds the last value's fields; serves one thread. */
export class AvroReader extends PlainPayment {
  /** Where and why reading stopped, after `malformed` or `beyondPrecision`. */
  fault = '';
  private readonly steps: readonly Step[];
  private bytes: Buffer = Buffer.alloc(0);
  private at = 0;
  private end = 0;
  private isSound = true;
  /** False once a text is too long, or not printable ASCII. */
  private isPlain = true;
  private unsafe = '';
  /** How many values may still be passed over: a value of n bytes needs about n, a bomb more. */
  private budget = 0;

  constructor(private readonly schema: ReadableSchema) {
    super();
    this.steps = schema.writer.fields.map((field) => stepOf(field));
  }

  /** Reads the value in `bytes[start, end)`; returns one of {@link READ}. */
  read(bytes: Buffer, start: number, end: number): number {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    this.present = 0;
    this.isSound = true;
    this.isPlain = true;
    this.unsafe = '';
    this.budget = 256 + 4 * (end - start);
    const { steps } = this;
    for (let i = 0; i < steps.length; i++) {
      this.readField(steps[i]);
      if (!this.isSound || this.at > end) return this.stopped(steps[i].name, start);
    }
    if (this.at !== end) {
      this.fault = `${end - this.at} bytes are left over after the value`;
      return READ.malformed;
    }
    if (this.unsafe !== '') {
      this.fault = `${this.unsafe} is a whole number beyond 2^53`;
      return READ.beyondPrecision;
    }
    return this.isPlain && this.isPlainlyValid(bytes) ? READ.plain : READ.unsure;
  }

  /** The last value read, as an object of the reader schema. Only after `unsure` or `plain`. */
  object(start: number): unknown {
    return this.schema.readValue(this.bytes.subarray(start, this.end));
  }

  /** The place of a text of the last value, or null where the field is absent. */
  textAt(field: number): Buffer | null {
    if (!this.has(field)) return null;
    return this.bytes.subarray(this.start[field], this.start[field] + this.length[field]);
  }

  private stopped(name: string, start: number): number {
    const place = Math.min(this.at, this.end) - start;
    const what = this.budget < 0 ? 'holds more values than its bytes can carry' : 'is cut off or broken';
    this.fault = `the value ${what}, at field ${name}, byte ${place} of ${this.end - start}`;
    return READ.malformed;
  }

  private readField(step: Step): void {
    const branch = step.isUnion ? this.readIndex(step.kinds.length) : 0;
    if (!this.isSound) return;
    const { field } = step;
    switch (step.kinds[branch]) {
      case KIND.nothing:
        return;
      case KIND.text:
        this.readText(field);
        return;
      case KIND.int:
        this.takeNumber(field, step.name, this.readInt());
        return;
      case KIND.long:
        this.takeNumber(field, step.name, this.readLong());
        return;
      case KIND.float:
        this.at += 4;
        if (field >= 0 && this.at <= this.end) this.takeNumber(field, step.name, this.bytes.readFloatLE(this.at - 4));
        return;
      case KIND.double:
        this.at += 8;
        if (field >= 0 && this.at <= this.end) this.takeNumber(field, step.name, this.bytes.readDoubleLE(this.at - 8));
        return;
      default:
        this.skip(step.types[branch], 0);
    }
  }

  private takeNumber(field: number, name: string, value: number): void {
    if (field < 0) return;
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) this.unsafe = name;
    this.number[field] = value + 0; // -0 becomes 0
    this.present |= bit(field);
  }

  private readText(field: number): void {
    const length = this.readLength();
    const start = this.at;
    const end = start + length;
    this.at = end;
    if (field < 0 || end > this.end) return;
    this.start[field] = start;
    this.length[field] = length;
    this.present |= bit(field);
    if (length > maxIdBytes) {
      this.isPlain = false;
      return;
    }
    const { bytes } = this;
    for (let i = start; i < end; i++) {
      const byte = bytes[i];
      if (byte < 0x20 || byte > 0x7e) {
        this.isPlain = false;
        return;
      }
    }
  }

  /** Passes over a value of any type. */
  private skip(type: Type, depth: number): void {
    this.budget -= 1;
    if (this.budget < 0 || depth > MAX_DEPTH) {
      this.isSound = false;
      return;
    }
    switch (type.typeName) {
      case 'null':
        return;
      case 'boolean':
        this.at += 1;
        return;
      case 'int':
      case 'long':
        this.readLong();
        return;
      case 'float':
        this.at += 4;
        return;
      case 'double':
        this.at += 8;
        return;
      case 'bytes':
      case 'string':
        this.skipBytes();
        return;
      case 'enum':
        this.readIndex((type as types.EnumType).symbols.length);
        return;
      case 'fixed':
        this.at += (type as types.FixedType).size;
        return;
      case 'array':
        this.skipBlocks((type as types.ArrayType).itemsType, false, depth);
        return;
      case 'map':
        this.skipBlocks((type as types.MapType).valuesType, true, depth);
        return;
      case 'union:unwrapped':
      case 'union:wrapped': {
        const branches = (type as types.UnwrappedUnionType).types;
        const branch = this.readIndex(branches.length);
        if (this.isSound) this.skip(branches[branch], depth + 1);
        return;
      }
      case 'record':
      case 'error':
        for (const field of (type as types.RecordType).fields) {
          if (!this.isSound || this.at > this.end) return;
          this.skip(field.type, depth + 1);
        }
        return;
      default:
        this.isSound = false;
    }
  }

  /** Blocks of an array or a map: a count and so many items, or a negative count, a size in bytes, and the items. */
  private skipBlocks(items: Type, withKeys: boolean, depth: number): void {
    for (;;) {
      const count = this.readLong();
      if (count === 0 || !this.isSound || this.at > this.end) return;
      if (count < 0) {
        this.skipBytes();
        this.budget -= 1;
        if (this.budget < 0) this.isSound = false;
        continue;
      }
      for (let i = 0; i < count; i++) {
        if (withKeys) this.skipBytes();
        this.skip(items, depth + 1);
        if (!this.isSound || this.at > this.end) return;
      }
    }
  }

  private skipBytes(): void {
    const length = this.readLength();
    this.at += length;
  }

  /** A union's branch or an enum's symbol. */
  private readIndex(count: number): number {
    const index = this.readLong();
    if (index >= 0 && index < count) return index;
    this.isSound = false;
    return 0;
  }

  /** A length of bytes that lie within the value. */
  private readLength(): number {
    const length = this.readLong();
    if (length >= 0 && length <= this.end - this.at) return length;
    this.isSound = false;
    return 0;
  }

  private readInt(): number {
    const value = this.readLong();
    if ((value | 0) !== value) this.isSound = false;
    return value;
  }

  /**
   * A zigzag varint of up to ten bytes (Avro 1.11, "Binary Encoding"). Exact up to 2^53; beyond that a whole number that
   * is no safe integer.
   */
  private readLong(): number {
    const { bytes } = this;
    let at = this.at;
    let byte = bytes[at++];
    let low = byte & 0x7f;
    let shift = 7;
    while ((byte & 0x80) !== 0 && shift < 28) {
      byte = bytes[at++];
      low |= (byte & 0x7f) << shift;
      shift += 7;
    }
    if ((byte & 0x80) === 0) {
      this.at = at;
      return (low >>> 1) ^ -(low & 1);
    }
    let high = 0;
    let scale = 1;
    for (let more = 0; (byte & 0x80) !== 0; more++) {
      if (more === 6 || at >= this.end) {
        this.isSound = false;
        return 0;
      }
      byte = bytes[at++];
      high += (byte & 0x7f) * scale;
      scale *= 128;
    }
    this.at = at;
    // The number is (high * 2^28 + low) / 2, its sign the lowest bit.
    const magnitude = high * (TWO_28 / 2) + (low >>> 1);
    return (low & 1) === 0 ? magnitude : -magnitude - 1;
  }
}

/** Payment field by every name that a writer may give it. */
const FIELD_BY_NAME: ReadonlyMap<string, number> = new Map(
  PAYMENT_AVRO.fields.flatMap((field) =>
    [field.name, ...('aliases' in field ? (field.aliases ?? []) : [])].map(
      (name) => [name, FIELD[field.name as keyof typeof FIELD]] as const,
    ),
  ),
);

function stepOf(field: types.Field): Step {
  const { name, type } = field;
  const isUnion = type.typeName.startsWith('union:');
  const branches = isUnion ? (type as types.UnwrappedUnionType).types : [type];
  const target = FIELD_BY_NAME.get(name) ?? -1;
  return { name, field: target, isUnion, kinds: branches.map((branch) => kindOf(branch, target)), types: branches };
}

function kindOf(type: Type, field: number): number {
  const isText = field < 0 || field < FIRST_NUMBER;
  switch (type.typeName) {
    case 'null':
      return KIND.nothing;
    case 'string':
    case 'bytes':
      return isText ? KIND.text : KIND.other;
    case 'int':
      return KIND.int;
    case 'long':
      return KIND.long;
    case 'float':
      return KIND.float;
    case 'double':
      return KIND.double;
    default:
      return KIND.other;
  }
}
