/**
 * Owns the canonical payment in Avro (the reader schema) and the check of writer schemas: within bounds before the Avro
 * library sees them, then resolvable against the reader. Neighbours: `decode-avro-reader.ts` compiles what passed here;
 * `schemas/payment.avsc` is the same schema as a file, for producers.
 *
 * S1 A schema comes from outside: the library compiles it to code and walks it without bounds, so size, depth, number of
 *    types and every name are checked first.
 * S2 Logical types are not part of Avro's resolution, yet a time in microseconds is no time in milliseconds: that one
 *    is refused here.
 */
import avro from 'avsc';

const optional = (name: string, type: 'string' | 'double', doc: string, ...aliases: string[]) => ({
  name,
  type: ['null', type],
  default: null,
  ...(aliases.length > 0 && { aliases }),
  doc,
});

/** Writers may leave optional fields out, add fields of their own, and use the names in `aliases`. */
export const PAYMENT_AVRO = {
  type: 'record',
  name: 'Payment',
  namespace: 'fraud.payments',
  doc: 'One card payment. Money in minor units, time in ms since 1970.',
  fields: [
    { name: 'paymentId', type: 'string', aliases: ['payment_id'], doc: '1 to 64 bytes' },
    { name: 'cardId', type: 'string', aliases: ['card_id'], doc: 'A token, never a card number in clear' },
    { name: 'merchantId', type: 'string', aliases: ['merchant_id'], doc: '1 to 64 bytes' },
    { name: 'amountMinor', type: 'long', aliases: ['amount_minor'], doc: 'Minor units (cents), 0 to 10^12' },
    { name: 'currency', type: 'string', doc: 'ISO 4217, three capitals' },
    {
      name: 'occurredAt',
      type: { type: 'long', logicalType: 'timestamp-millis' },
      aliases: ['occurred_at'],
      doc: 'When the card was used',
    },
    optional('country', 'string', 'ISO 3166-1 alpha-2, two capitals'),
    optional('mcc', 'string', 'ISO 18245, four digits'),
    optional('channel', 'string', 'pos, ecom, atm, moto or other'),
    optional('status', 'string', 'requested, authorised, declined or reversed'),
    optional('deviceId', 'string', '1 to 64 bytes', 'device_id'),
    optional('ip', 'string', 'IPv4 or IPv6 address'),
    optional('latitude', 'double', 'Degrees, with longitude or not at all'),
    optional('longitude', 'double', 'Degrees, with latitude or not at all'),
  ],
} as const;

const readerType = avro.Type.forSchema(PAYMENT_AVRO as unknown as avro.Schema);

const MAX_TEXT = 64 * 1024;
const MAX_DEPTH = 32;
const MAX_TYPES = 1_000;
const NAME = /^\.?[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$/;

/** A writer schema that payments can be read with. */
export interface ReadableSchema {
  readonly writer: avro.types.RecordType;
  /** Reads one value of exactly these bytes, as the reader schema has it. Throws where they are not one. */
  readValue(bytes: Buffer): unknown;
}

/** Why a schema serves nobody, or does not serve us. */
export interface SchemaFault {
  readonly code: 'schema-unusable' | 'schema-incompatible';
  readonly reason: string;
}

/** The schema in `text`, or what is wrong with it. Never throws. */
export function readableSchema(text: string): ReadableSchema | SchemaFault {
  const unusable = (reason: string): SchemaFault => ({ code: 'schema-unusable', reason });
  const fault = schemaOutOfBounds(text);
  if (fault !== null) return unusable(fault);
  const schema: unknown = JSON.parse(text);
  let writer: avro.Type;
  try {
    writer = avro.Type.forSchema(schema as avro.Schema);
  } catch (error) {
    return unusable(`it is no Avro schema: ${reasonOf(error)}`);
  }
  const incompatible = (reason: string): SchemaFault => ({ code: 'schema-incompatible', reason });
  if (!(writer instanceof avro.types.RecordType)) return incompatible('it is no record');
  const unit = timeUnitFault(schema);
  if (unit !== null) return incompatible(unit);
  try {
    const resolver = readerType.createResolver(writer, { ignoreNamespaces: true } as object);
    return { writer, readValue: (bytes) => readerType.fromBuffer(bytes, resolver) as unknown };
  } catch (error) {
    return incompatible(reasonOf(error));
  }
}

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).slice(0, 200);

/** What keeps a schema from being given to the Avro library (S1), or null. */
export function schemaOutOfBounds(text: string): string | null {
  if (text.length > MAX_TEXT) return `it has ${text.length} characters, the limit is ${MAX_TEXT}`;
  try {
    return new BoundsCheck().fault(JSON.parse(text), 0);
  } catch {
    return 'it is not JSON';
  }
}

class BoundsCheck {
  private types = 0;

  /** What is out of bounds in a schema, or null. */
  fault(schema: unknown, depth: number): string | null {
    if (depth > MAX_DEPTH) return `it is nested over ${MAX_DEPTH} levels deep`;
    this.types += 1;
    if (this.types > MAX_TYPES) return `it has over ${MAX_TYPES} types`;
    if (typeof schema === 'string') return nameFault(schema);
    if (Array.isArray(schema)) return this.first(schema, (branch) => this.fault(branch, depth + 1));
    if (typeof schema !== 'object' || schema === null) return 'a type in it is neither text nor object';
    const { name, namespace, aliases, fields, items, values, symbols, type } = schema as Record<string, unknown>;
    for (const named of [name, namespace === '' ? undefined : namespace]) {
      const fault = named === undefined ? null : nameFault(named);
      if (fault !== null) return fault;
    }
    return (
      this.first(aliases, nameFault) ??
      this.first(symbols, nameFault) ??
      this.first(fields, (field) => this.fieldFault(field, depth)) ??
      this.first(
        [items, values, type].filter((inner) => inner !== undefined),
        (inner) => this.fault(inner, depth + 1),
      )
    );
  }

  private fieldFault(field: unknown, depth: number): string | null {
    if (typeof field !== 'object' || field === null) return 'a field in it is no object';
    const { name, type, aliases } = field as Record<string, unknown>;
    return nameFault(name) ?? this.first(aliases, nameFault) ?? this.fault(type, depth + 1);
  }

  private first(list: unknown, faultOf: (item: unknown) => string | null): string | null {
    if (list === undefined) return null;
    if (!Array.isArray(list)) return 'a list in it is none';
    for (const item of list) {
      const fault = faultOf(item);
      if (fault !== null) return fault;
    }
    return null;
  }
}

function nameFault(name: unknown): string | null {
  if (typeof name === 'string' && name.length <= 256 && NAME.test(name)) return null;
  return 'a name in it is not of letters, digits and underscores (at most 256)';
}

/** S2. */
function timeUnitFault(schema: unknown): string | null {
  const { fields } = schema as { readonly fields: readonly { readonly name: string; readonly type: unknown }[] };
  const time = fields.find(({ name }) => name === 'occurredAt' || name === 'occurred_at');
  const unit = time === undefined ? undefined : logicalTypeOf(time.type);
  if (unit === undefined || unit === 'timestamp-millis') return null;
  return `${time?.name} is ${String(unit).slice(0, 40)}; write it as timestamp-millis`;
}

function logicalTypeOf(type: unknown): unknown {
  for (let inner = type; typeof inner === 'object' && inner !== null; ) {
    const { logicalType, type: deeper } = inner as Record<string, unknown>;
    if (logicalType !== undefined) return logicalType;
    inner = deeper;
  }
  return undefined;
}
