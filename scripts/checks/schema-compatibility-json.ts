/**
 * Owns comparing two versions of a JSON Schema with the eyes of consumers. Pure. Neighbours: `schema-compatibility.ts`
 * says which files, `schema-compatibility-avro.ts` does the same for Avro.
 *
 * Records of all versions lie in a topic side by side, and consumers move to a new schema when they like. So both must
 * hold: what is written now is valid by the schema of before (consumers that stayed), and what was written before is
 * valid by the schema of now (consumers that moved, and read from the beginning).
 * Allowed: further optional fields; further symbols and forms, which consumers are told to expect. Refused: all else.
 */

export interface SchemaChange {
  /** `breaking` is refused; `minor` needs a minor version; `none` of them is reported where only words changed. */
  readonly kind: 'breaking' | 'minor';
  /** Where in the data: `evidence.payment.channel`, `rules[]`, `features{}`. Empty: the whole. */
  readonly path: string;
  readonly what: string;
}

export type JsonSchema = { readonly [keyword: string]: unknown };

/** Words for people and for tools that do not check. */
const WORDS = new Set([
  'description',
  'title',
  '$schema',
  '$comment',
  'examples',
  '$defs',
  'definitions',
  'components',
]);
/** Looked at one by one below. */
const LOOKED_AT = new Set('type enum const properties required items additionalProperties oneOf anyOf'.split(' '));
const LIMITS = new Set([
  'pattern',
  'format',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'minLength',
  'maxLength',
  'minItems',
  'maxItems',
  'minProperties',
  'maxProperties',
  'propertyNames',
  '$id',
]);

/** Every change that consumers could feel, in the order of the fields. Empty where none could. */
export function compareJsonSchemas(before: JsonSchema, after: JsonSchema): readonly SchemaChange[] {
  const comparison = new Comparison(before, after);
  comparison.compare(before, after, '');
  return comparison.changes;
}

class Comparison {
  readonly changes: SchemaChange[] = [];
  /** Pairs that are being looked at: a schema may refer to itself. */
  private readonly open = new Set<string>();

  private readonly beforeRoot: JsonSchema;
  private readonly afterRoot: JsonSchema;

  constructor(beforeRoot: JsonSchema, afterRoot: JsonSchema) {
    this.beforeRoot = beforeRoot;
    this.afterRoot = afterRoot;
  }

  compare(beforeGiven: JsonSchema, afterGiven: JsonSchema, path: string): void {
    const pair = `${beforeGiven.$ref ?? ''} ${afterGiven.$ref ?? ''}`;
    if (pair !== ' ' && this.open.has(pair)) return;
    this.open.add(pair);
    const before = plainForm(resolve(this.beforeRoot, beforeGiven));
    const after = plainForm(resolve(this.afterRoot, afterGiven));
    if (this.sameTypes(before, after, path)) {
      this.symbols(before, after, path);
      this.limits(before, after, path);
      this.forms(before, after, path);
      this.fields(before, after, path);
      this.insides(before, after, path);
    }
    this.open.delete(pair);
  }

  private breaking(path: string, what: string): void {
    this.changes.push({ kind: 'breaking', path, what });
  }

  private sameTypes(before: PlainForm, after: PlainForm, path: string): boolean {
    const added = after.types.filter((type) => !before.types.includes(type));
    const removed = before.types.filter((type) => !after.types.includes(type));
    if (added.includes('null')) this.breaking(path, 'may be null now: consumers that stay do not expect it');
    if (removed.includes('null')) this.breaking(path, 'may not be null any more: records with null are in the topic');
    const [were, are] = [removed, added].map((types) => types.filter((type) => type !== 'null').join(', '));
    if (were === '' && are === '') return true;
    if (are === '') this.breaking(path, `can't be ${were} any more, as it is in records that are in the topic`);
    else if (were === '') this.breaking(path, `can be ${are} too now: consumers that stay do not expect it`);
    else this.breaking(path, `was ${were} and is ${are} now`);
    return false;
  }

  private symbols({ symbols: before }: PlainForm, { symbols: after }: PlainForm, path: string): void {
    if (before === null && after !== null) this.breaking(path, 'has symbols alone now: other values are in the topic');
    if (before !== null && after === null) this.breaking(path, 'can be any value now, not only the symbols');
    if (before === null || after === null) return;
    for (const symbol of before.filter((one) => !after.includes(one))) {
      this.breaking(path, `lost or renamed the symbol ${symbol}: records in the topic have it, consumers look for it`);
    }
    for (const symbol of after.filter((one) => !before.includes(one))) {
      this.changes.push({ kind: 'minor', path, what: `has the new symbol ${symbol}` });
    }
  }

  private limits(before: PlainForm, after: PlainForm, path: string): void {
    const keywords = new Set([...Object.keys(before.schema), ...Object.keys(after.schema)]);
    for (const keyword of keywords) {
      if (WORDS.has(keyword) || LOOKED_AT.has(keyword)) continue;
      const [was, is] = [before.schema[keyword], after.schema[keyword]].map((value) => JSON.stringify(value) ?? 'none');
      if (was === is) continue;
      const what = LIMITS.has(keyword)
        ? `has another ${keyword}`
        : `has another ${keyword}, which this check can't judge`;
      this.breaking(path, `${what}: was ${was}, is ${is}`);
    }
  }

  /** A choice between objects that a constant tells apart. */
  private forms(before: PlainForm, after: PlainForm, path: string): void {
    const [were, are] = [before, after].map(({ schema }, index) =>
      formsByName(index === 0 ? this.beforeRoot : this.afterRoot, schema),
    );
    for (const [name, form] of were) {
      const now = are.get(name);
      if (now === undefined) this.breaking(`${path}<${name}>`, 'has gone: records in the topic have this form');
      else this.compare(form, now, `${path}<${name}>`);
    }
    for (const name of are.keys()) {
      if (were.has(name)) continue;
      if (were.size === 0) this.breaking(`${path}<${name}>`, 'is a choice now');
      else this.changes.push({ kind: 'minor', path: `${path}<${name}>`, what: 'is a new form' });
    }
  }

  private fields(before: PlainForm, after: PlainForm, path: string): void {
    const at = (field: string) => (path === '' ? field : `${path}.${field}`);
    for (const [field, was] of Object.entries(before.fields)) {
      const is = after.fields[field];
      if (is === undefined) {
        this.breaking(at(field), 'was removed or renamed');
        continue;
      }
      const [wasRequired, isRequired] = [before.required.includes(field), after.required.includes(field)];
      if (wasRequired && !isRequired) this.breaking(at(field), 'was required and may be missing now');
      if (!wasRequired && isRequired) this.breaking(at(field), 'is required now: records without it are in the topic');
      this.compare(was, is, at(field));
    }
    for (const field of Object.keys(after.fields)) {
      if (before.fields[field] !== undefined) continue;
      if (after.required.includes(field))
        this.breaking(at(field), 'is new and required: records without it are in the topic; make it optional');
      else if (before.schema.additionalProperties === false)
        this.breaking(at(field), 'is new where no further fields were allowed: consumers that stay refuse it');
      else this.changes.push({ kind: 'minor', path: at(field), what: 'is a new field' });
    }
  }

  private insides(before: PlainForm, after: PlainForm, path: string): void {
    for (const [keyword, mark] of [
      ['items', '[]'],
      ['additionalProperties', '{}'],
    ] as const) {
      const [was, is] = [before.schema[keyword], after.schema[keyword]];
      if (isSchema(was) && isSchema(is)) this.compare(was, is, path + mark);
      else if (JSON.stringify(was ?? true) !== JSON.stringify(is ?? true)) {
        this.breaking(path + mark, `has another ${keyword}: was ${JSON.stringify(was)}, is ${JSON.stringify(is)}`);
      }
    }
  }
}

/** A schema with null taken out of its choices and its constants made a list. */
interface PlainForm {
  readonly schema: JsonSchema;
  readonly types: readonly string[];
  readonly symbols: readonly string[] | null;
  readonly fields: Readonly<Record<string, JsonSchema>>;
  readonly required: readonly string[];
}

function plainForm({ schema, nullable }: { schema: JsonSchema; nullable: boolean }): PlainForm {
  const own = Array.isArray(schema.type) ? (schema.type as string[]) : schema.type === undefined ? [] : [schema.type];
  const types = [...own.map(String), ...(nullable ? ['null'] : [])];
  const values = Array.isArray(schema.enum) ? schema.enum : schema.const === undefined ? null : [schema.const];
  return {
    schema,
    types,
    symbols: values?.map((value) => JSON.stringify(value)) ?? null,
    fields: (schema.properties ?? {}) as Readonly<Record<string, JsonSchema>>,
    required: (schema.required ?? []) as readonly string[],
  };
}

/** Follows references, and takes null out of `anyOf`, keeping what stands beside them. */
function resolve(root: JsonSchema, given: JsonSchema): { schema: JsonSchema; nullable: boolean } {
  if (typeof given.$ref === 'string') {
    const { $ref, ...beside } = given;
    const target = $ref
      .slice(2)
      .split('/')
      .reduce<unknown>((at, part) => (isSchema(at) ? at[part] : undefined), root);
    if (!isSchema(target)) throw new Error(`${$ref} is not in the schema`);
    const resolved = resolve(root, target);
    return { ...resolved, schema: { ...resolved.schema, ...beside } };
  }
  const choice = given.anyOf;
  if (!Array.isArray(choice)) return { schema: given, nullable: false };
  const { anyOf: _, ...beside } = given;
  const others = choice.filter((part) => isSchema(part) && part.type !== 'null');
  if (others.length !== 1) return { schema: given, nullable: false };
  const inner = resolve(root, others[0] as JsonSchema);
  return { schema: { ...inner.schema, ...beside }, nullable: inner.nullable || others.length < choice.length };
}

/** The forms of a choice by their constants, else their places; empty where there is no choice. */
function formsByName(root: JsonSchema, { oneOf, anyOf }: JsonSchema): Map<string, JsonSchema> {
  const choice = oneOf ?? anyOf;
  if (!Array.isArray(choice)) return new Map();
  return new Map(
    choice.filter(isSchema).map((form, index) => {
      const fields = Object.entries((resolve(root, form).schema.properties ?? {}) as Record<string, JsonSchema>);
      const named = fields.flatMap(([field, node]) => (node.const === undefined ? [] : [`${field}=${node.const}`]));
      return [named.join(',') || String(index), form] as const;
    }),
  );
}

const isSchema = (value: unknown): value is JsonSchema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
