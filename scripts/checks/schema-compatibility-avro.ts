/**
 * Owns comparing Avro schemas with avsc's own resolver, both ways: each released version can be read by the present one,
 * and the present one by each released (what registries call FULL_TRANSITIVE). Neighbour: `schema-compatibility.ts`.
 */
import avsc from 'avsc';
import type { SchemaChange } from './schema-compatibility-json.ts';

type AvroType = avsc.Type & {
  readonly fields?: readonly { readonly name: string; readonly type: AvroType; defaultValue(): unknown }[];
  readonly itemsType?: AvroType;
  readonly valuesType?: AvroType;
  readonly types?: readonly AvroType[];
};

/** What keeps either of them from reading the other. */
export function compareAvroSchemas(before: unknown, after: unknown): readonly SchemaChange[] {
  const [old, present] = [before, after].map((schema) => avsc.Type.forSchema(schema as avsc.Schema) as AvroType);
  return [
    ...obstacles(old, present, '').map((it) => breaking(it, 'consumers that stay can’t read what is written now')),
    ...obstacles(present, old, '').map((it) => breaking(it, 'consumers that move can’t read what is in the topic')),
  ];
}

interface Obstacle {
  readonly path: string;
  readonly what: string;
}

const breaking = ({ path, what }: Obstacle, who: string): SchemaChange => ({
  kind: 'breaking',
  path,
  what: `${what}: ${who} (Avro)`,
});

/** Where the reader can't read what the writer writes: as deep as can be told. */
function obstacles(reader: AvroType, writer: AvroType, path: string): readonly Obstacle[] {
  const reason = whyUnreadable(reader, writer);
  if (reason === null) return [];
  const deeper = insides(reader, writer, path);
  return deeper.length > 0 ? deeper : [{ path, what: reason }];
}

function insides(readerGiven: AvroType, writerGiven: AvroType, path: string): readonly Obstacle[] {
  const [reader, writer] = [withoutNull(readerGiven), withoutNull(writerGiven)];
  if (reader.fields !== undefined && writer.fields !== undefined) {
    return reader.fields.flatMap((field): readonly Obstacle[] => {
      const at = path === '' ? field.name : `${path}.${field.name}`;
      const written = writer.fields?.find(({ name }) => name === field.name);
      if (written !== undefined) return obstacles(field.type, written.type, at);
      return field.defaultValue() === undefined
        ? [{ path: at, what: 'has no default and is missing on one side' }]
        : [];
    });
  }
  if (reader.itemsType && writer.itemsType) return obstacles(reader.itemsType, writer.itemsType, `${path}[]`);
  if (reader.valuesType && writer.valuesType) return obstacles(reader.valuesType, writer.valuesType, `${path}{}`);
  return [];
}

function withoutNull(type: AvroType): AvroType {
  const others = type.types?.filter(({ typeName }) => typeName !== 'null') ?? [];
  return others.length === 1 ? others[0] : type;
}

function whyUnreadable(reader: AvroType, writer: AvroType): string | null {
  try {
    reader.createResolver(writer);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
