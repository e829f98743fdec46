/**
 * Owns making values of a JSON Schema for property tests, as far as zod writes schemas here: so a field added to a schema
 * is in the tests at once. What it does not know of throws.
 */
import fc from 'fast-check';

interface Node {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Node>>;
  readonly type?: string | readonly string[];
  readonly enum?: readonly string[];
  readonly const?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
  readonly required?: readonly string[];
  readonly items?: Node;
  readonly minItems?: number;
  readonly anyOf?: readonly Node[];
  readonly oneOf?: readonly Node[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
}

/** As far as Avro's long is exact in avsc, and a date is one: beyond any time, amount or offset that there is. */
const WHOLE = 2 ** 52;

/** Any value that the schema allows and JSON can carry. */
export function valuesOf(schema: unknown): fc.Arbitrary<unknown> {
  const root = schema as Node;
  const arbitrary = (node: Node): fc.Arbitrary<unknown> => {
    if (node.$ref !== undefined) {
      const definition = root.$defs?.[node.$ref.slice('#/$defs/'.length)];
      if (definition === undefined) throw new Error(`${node.$ref} is not in the schema`);
      return arbitrary(definition);
    }
    const choice = node.anyOf ?? node.oneOf;
    if (choice !== undefined) return fc.oneof(...choice.map(arbitrary));
    if (node.const !== undefined) return fc.constant(node.const);
    if (node.enum !== undefined) return fc.constantFrom(...node.enum);
    if (Array.isArray(node.type)) return fc.oneof(...node.type.map((type: string) => arbitrary({ ...node, type })));
    if (node.properties !== undefined) {
      const required = [...(node.required ?? [])];
      const entries = Object.entries(node.properties).map(([field, part]) => [field, arbitrary(part)] as const);
      return fc.record(Object.fromEntries(entries), { requiredKeys: required as never });
    }
    return plain(node, arbitrary);
  };
  return arbitrary(root).map((value) => JSON.parse(JSON.stringify(value)) as unknown);
}

function plain(node: Node, arbitrary: (node: Node) => fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const { minimum: min, maximum: max, minLength = 0, maxLength = 40 } = node;
  const bounds = { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) };
  switch (node.type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer({ min: Math.max(min ?? -WHOLE, -WHOLE), max: Math.min(max ?? WHOLE, WHOLE) });
    case 'number':
      return fc.double({ ...bounds, noNaN: true, noDefaultInfinity: true });
    case 'string':
      if (node.pattern !== undefined) return fc.stringMatching(new RegExp(node.pattern));
      // Halved, since a grapheme may be several characters.
      return fc
        .string({ unit: 'grapheme', minLength, maxLength: Math.ceil(maxLength / 2) })
        .filter((text) => text.length >= minLength && text.length <= maxLength);
    case 'array':
      return fc.array(arbitrary(node.items ?? {}), { minLength: node.minItems ?? 0, maxLength: 4 });
    case 'object':
      if (typeof node.additionalProperties === 'object') {
        const names = fc.string({ minLength: 1, maxLength: 12 }).filter((name) => name !== '__proto__');
        return fc.dictionary(names, arbitrary(node.additionalProperties), { maxKeys: 5 });
      }
  }
  throw new Error(`no values are known for ${JSON.stringify(node)}`);
}
