/**
 * Owns the alert in Avro: its schema, made from the JSON Schema that zod makes, and the way between the two forms. The
 * topic carries JSON; this is for consumers that convert and register. Neighbours: `alert-schema.ts` owns the fields,
 * `schemas/alert.avsc` keeps the result, `scripts/checks/schema-compatibility.ts` compares it with released ones.
 *
 * A1 Whatever may be missing or null is a union with null, null first and by default: it can be added and removed.
 * A2 Every enum has UNKNOWN for its default, so that readers of today read the symbols of tomorrow.
 * A3 A choice between objects is ONE record with the fields of all of them: a union's new branch would not be readable.
 */
import { StreamError } from '../../stream/errors.js';
import type { Alert } from './alert.js';
import { alertJsonSchema } from './alert-schema.js';

/** What this file understands of JSON Schema: what zod writes for the alert. */
interface JsonNode {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, JsonNode>>;
  readonly description?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly properties?: Readonly<Record<string, JsonNode>>;
  readonly additionalProperties?: JsonNode | boolean;
  readonly required?: readonly string[];
  readonly items?: JsonNode;
  readonly anyOf?: readonly JsonNode[];
  readonly oneOf?: readonly JsonNode[];
}

export type AvroSchema = string | readonly AvroSchema[] | { readonly [property: string]: unknown };

/** Reads a form of JSON as a form of Avro: the schema, and the two directions for values. */
interface AvroForm {
  readonly schema: AvroSchema;
  toAvro(value: unknown): unknown;
  fromAvro(value: unknown): unknown;
}

const NAMESPACE = 'fraud.alert.v1';
const UNKNOWN = 'UNKNOWN';

/** The schema of `schemas/alert.avsc`. */
export function alertAvroSchema(): AvroSchema {
  const { schema } = makeForm();
  return { namespace: NAMESPACE, ...(schema as object) };
}

/** The alert as a value of that schema, fields unknown to it left out. */
export const alertToAvro = (alert: Alert): unknown => makeForm().toAvro(alert);

/** Back again. A symbol that this version does not know is the text `UNKNOWN`, as the reader's schema has it. */
export const alertFromAvro = (value: unknown): unknown => makeForm().fromAvro(value);

function makeForm(): AvroForm {
  const root: JsonNode = alertJsonSchema();
  return new FormMaker(root.$defs ?? {}).form(root, 'Alert');
}

class FormMaker {
  /** Avro writes a named type out once, and by its name from then on. */
  private readonly written = new Set<string>();

  constructor(private readonly definitions: Readonly<Record<string, JsonNode>>) {}

  /** `name` is for the types that have none of their own. */
  form(given: JsonNode, name: string): AvroForm {
    const { node, ownName } = this.resolve(given, name);
    const nullable = withoutNull(node);
    if (nullable !== null) return orNull(this.form(nullable, ownName));
    if (node.oneOf !== undefined) return this.choice(ownName, node.oneOf, node.description);
    const texts = textsOf(node);
    if (texts.length > 0) return this.enumeration(ownName, texts, node.description);
    if (node.properties !== undefined) return this.record(ownName, node, node.description);
    if (typeof node.additionalProperties === 'object') return mapOf(this.form(node.additionalProperties, ownName));
    if (node.items !== undefined) return arrayOf(this.form(node.items, ownName));
    const primitive = PRIMITIVES[String(node.type)];
    if (primitive === undefined) throw unsupported(ownName, node);
    return { schema: primitive, toAvro: same, fromAvro: same };
  }

  private resolve(node: JsonNode, name: string): { node: JsonNode; ownName: string } {
    if (node.$ref === undefined) return { node, ownName: name };
    const ownName = node.$ref.slice(node.$ref.lastIndexOf('/') + 1);
    const definition = this.definitions[ownName];
    if (definition === undefined) throw unsupported(name, node);
    return { node: definition, ownName };
  }

  /** A3. Back in JSON, a value has the fields of the one object that its constants name. */
  private choice(name: string, variants: readonly JsonNode[], doc: string | undefined): AvroForm {
    const form = this.record(name, merged(variants, name), doc);
    const fromAvro = (value: unknown) => {
      const whole = form.fromAvro(value) as Readonly<Record<string, unknown>>;
      const own = variants.find((variant) => isVariant(variant, whole));
      if (own === undefined) return whole;
      const fields = Object.keys(own.properties ?? {});
      // Null was taken for left out where another object lacks the field.
      const required = fields.filter((field) => field in whole || own.required?.includes(field) === true);
      return Object.fromEntries(required.map((field) => [field, whole[field] ?? null]));
    };
    return { ...form, fromAvro };
  }

  private record(name: string, node: JsonNode, doc: string | undefined): AvroForm {
    const isNew = !this.written.has(name);
    this.written.add(name);
    const fields = Object.entries(node.properties ?? {}).map(([field, value]) => {
      const form = this.form(value, name + capital(field));
      const isRequired = node.required?.includes(field) === true;
      return { name: field, doc: value.description ?? innerDoc(value), form: isRequired ? form : orNull(form) };
    });
    const schema = {
      type: 'record',
      name,
      ...(doc === undefined ? {} : { doc }),
      fields: fields.map(({ name, doc, form }) => ({
        name,
        ...(doc === undefined ? {} : { doc }),
        type: form.schema,
        ...(isOptional(form.schema) ? { default: null } : {}), // A1
      })),
    };
    const each = (value: unknown, change: (form: AvroForm, part: unknown) => unknown) => {
      const from = value as Readonly<Record<string, unknown>>;
      return Object.fromEntries(fields.map(({ name, form }) => [name, change(form, from[name])]));
    };
    // Null where JSON leaves out: whether a field is left out or null is the JSON Schema's to say, never both.
    const leftOut = new Set(fields.flatMap((f) => (node.required?.includes(f.name) === true ? [] : [f.name])));
    return {
      schema: isNew ? schema : name,
      toAvro: (value) => each(value, (form, part) => form.toAvro(part ?? null)),
      fromAvro: (value) => {
        const entries = Object.entries(each(value, (form, part) => form.fromAvro(part)));
        return Object.fromEntries(entries.filter(([field, part]) => part !== null || !leftOut.has(field)));
      },
    };
  }

  private enumeration(name: string, texts: readonly string[], doc: string | undefined): AvroForm {
    const symbols = new Map(texts.map((text) => [text, text.replaceAll('-', '_')]));
    const back = new Map([...symbols].map(([text, symbol]) => [symbol, text]));
    const hyphens = texts.some((text) => text.includes('-')) ? ['JSON writes hyphens for the underscores'] : [];
    const words = [...(doc === undefined ? [] : [doc]), ...hyphens].join('. ');
    const schema = {
      type: 'enum',
      name,
      ...(words === '' ? {} : { doc: words }),
      symbols: [...symbols.values(), UNKNOWN],
      default: UNKNOWN, // A2
    };
    const isNew = !this.written.has(name);
    this.written.add(name);
    return {
      schema: isNew ? schema : name,
      toAvro: (text) => symbols.get(String(text)) ?? UNKNOWN,
      fromAvro: (symbol) => back.get(String(symbol)) ?? symbol,
    };
  }
}

const PRIMITIVES: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'boolean',
  integer: 'long',
  number: 'double',
};

const same = (value: unknown): unknown => value;
const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
const isOptional = (schema: AvroSchema) => Array.isArray(schema) && schema[0] === 'null';

function orNull(form: AvroForm): AvroForm {
  if (isOptional(form.schema)) return form;
  return {
    schema: ['null', form.schema],
    toAvro: (value) => (value === null ? null : form.toAvro(value)),
    fromAvro: (value) => (value === null ? null : form.fromAvro(value)),
  };
}

function mapOf(form: AvroForm): AvroForm {
  const each = (value: unknown, change: (part: unknown) => unknown) =>
    Object.fromEntries(Object.entries(value as object).map(([key, part]) => [key, change(part)]));
  return {
    schema: { type: 'map', values: form.schema },
    toAvro: (value) => each(value, form.toAvro),
    fromAvro: (value) => each(value, form.fromAvro),
  };
}

function arrayOf(form: AvroForm): AvroForm {
  return {
    schema: { type: 'array', items: form.schema },
    toAvro: (value) => (value as unknown[]).map(form.toAvro),
    fromAvro: (value) => (value as unknown[]).map(form.fromAvro),
  };
}

/** The form without null where null is allowed; null where it is not. */
function withoutNull(node: JsonNode): JsonNode | null {
  if (node.anyOf?.length === 2 && node.anyOf[1].type === 'null') return node.anyOf[0];
  if (!Array.isArray(node.type) || !node.type.includes('null')) return null;
  const types = node.type.filter((type) => type !== 'null');
  return types.length === 1 ? { ...node, type: types[0] } : null;
}

/** The description of what may be null, which zod writes inside. */
const innerDoc = (node: JsonNode) => node.anyOf?.[0].description;

/** A3: one object with the properties of all; what is not in each of them is not required. The constants become an enum. */
function merged(variants: readonly JsonNode[], name: string): JsonNode {
  const properties: Record<string, JsonNode> = {};
  for (const variant of variants) {
    for (const [field, node] of Object.entries(variant.properties ?? {})) {
      const known = properties[field];
      if (known === undefined) properties[field] = node;
      else if (known.enum !== undefined || known.const !== undefined) properties[field] = joined(known, node);
      else if (JSON.stringify(known) !== JSON.stringify(node)) throw unsupported(`${name}.${field}`, node);
    }
  }
  const required = Object.keys(properties).filter((field) =>
    variants.every((variant) => variant.required?.includes(field) === true),
  );
  return { properties, required };
}

const isVariant = (variant: JsonNode, value: Readonly<Record<string, unknown>>): boolean =>
  Object.entries(variant.properties ?? {}).every(
    ([field, node]) => node.const === undefined || node.const === value[field],
  );

function joined(one: JsonNode, other: JsonNode): JsonNode {
  const { const: _, ...rest } = one;
  return { ...rest, enum: [...new Set([...textsOf(one), ...textsOf(other)])] };
}

const textsOf = (node: JsonNode): readonly string[] => node.enum ?? (node.const === undefined ? [] : [node.const]);

function unsupported(name: string, node: JsonNode): StreamError {
  return new StreamError(
    'avro-form-unsupported',
    `${name} has a form that the Avro schema can't be made from: ${JSON.stringify(node).slice(0, 200)}. ` +
      'Teach alert-avro.ts that form, or describe the field in one that it knows',
  );
}
