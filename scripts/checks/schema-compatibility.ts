/**
 * Owns the check that what others read from our topics never breaks them: the schemas as they are against the ones that
 * were released. Run: `npm run -s schemas:check`. Neighbours: `schema-compatibility-{json,avro}.ts`
 * compare, `release-schemas.ts` releases, docs/ALERT-CONTRACT.md explains the rules. Tests hold `schemas/*` equal to
 * what the code makes, so the files are all that has to be looked at.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compareAvroSchemas } from './schema-compatibility-avro.ts';
import { compareJsonSchemas, type JsonSchema, type SchemaChange } from './schema-compatibility-json.ts';

/** What is promised to others and kept with each release. */
export const PROMISED = ['alert.schema.json', 'alert.avsc', 'label.schema.json', 'asyncapi.json'] as const;

export interface FileChange extends SchemaChange {
  readonly file: string;
}

export interface CompatibilityResult {
  /** The last release; null where there is none yet. */
  readonly against: string | null;
  readonly changes: readonly FileChange[];
}

/** What to do about a breaking change. */
export const WAY_OUT =
  'Take it back; or keep it beside the old form as a new optional field; or begin a new event type (fraud.alert.v2, ' +
  'with a schema URN of its own) in a topic of its own, and write both until consumers have moved.';

/** Compares `<directory>/*` with `<directory>/released/*`. */
export function checkSchemas(directory: string): CompatibilityResult {
  const versions = releasedVersions(directory);
  const against = versions.at(-1) ?? null;
  if (against === null) return { against, changes: [] };
  const changes = PROMISED.flatMap((file): readonly FileChange[] => {
    const changed = (change: SchemaChange): FileChange => ({ ...change, file });
    const after = readJson(join(directory, file));
    // Avro is compared with all of them: a field that goes and comes back as another would pass step by step.
    const compared = file === 'alert.avsc' ? versions : [against];
    return compared.flatMap((version) => {
      const before = readJson(join(directory, 'released', version, file));
      if (before === null) return [];
      if (after === null) return [changed({ kind: 'breaking', path: '', what: 'is missing' })];
      return compareFile(file, before, after).map((change) =>
        changed(version === against ? change : { ...change, what: `${change.what}, against ${version}` }),
      );
    });
  });
  return { against, changes };
}

function compareFile(file: string, before: JsonSchema, after: JsonSchema): readonly SchemaChange[] {
  if (file === 'alert.avsc') return compareAvroSchemas(before, after);
  return file === 'asyncapi.json' ? compareEvents(before, after) : compareJsonSchemas(before, after);
}

interface Events {
  readonly channels: Readonly<Record<string, { readonly address: string; readonly messages: object }>>;
  readonly components: { readonly messages: Readonly<Record<string, EventMessage>> };
}
interface EventMessage {
  readonly name: string;
  readonly contentType: string;
  readonly headers?: JsonSchema;
  readonly payload: JsonSchema;
  readonly bindings: unknown;
}

/** Compared by files of their own. */
const COMPARED_ELSEWHERE = new Set(['alert', 'label']);

/** Channels, message names, headers, keys, and the values that have no file of their own. */
export function compareEvents(beforeDocument: JsonSchema, afterDocument: JsonSchema): readonly SchemaChange[] {
  const [before, after] = [beforeDocument, afterDocument] as unknown as [Events, Events];
  const changes: SchemaChange[] = [];
  const breaking = (path: string, what: string) => changes.push({ kind: 'breaking', path, what });
  for (const [name, { address, messages }] of Object.entries(before.channels)) {
    const now = after.channels[name];
    if (now === undefined) breaking(`channels.${name}`, `was removed: consumers of ${address} wait for nothing`);
    else if (now.address !== address) breaking(`channels.${name}`, `was moved from ${address} to ${now.address}`);
    const others = Object.keys(now?.messages ?? {}).filter((message) => !(message in messages));
    for (const message of others)
      changes.push({ kind: 'minor', path: `channels.${name}.${message}`, what: 'is a new message' });
  }
  for (const [name, was] of Object.entries(before.components.messages)) {
    const is = after.components.messages[name];
    if (is === undefined) {
      breaking(`messages.${name}`, 'was removed');
      continue;
    }
    for (const part of ['name', 'contentType'] as const) {
      if (was[part] !== is[part]) breaking(`messages.${name}.${part}`, `was ${was[part]}, is ${is[part]}`);
    }
    const inside = (part: 'headers' | 'payload', path: string) => {
      const found = compareJsonSchemas(
        withComponents(beforeDocument, was[part]),
        withComponents(afterDocument, is[part]),
      );
      changes.push(...found.map((change) => ({ ...change, path: `${path}.${change.path}` })));
    };
    inside('headers', `messages.${name}.headers`);
    if (!COMPARED_ELSEWHERE.has(name)) inside('payload', `messages.${name}.payload`);
  }
  return changes;
}

const withComponents = ({ components }: JsonSchema, schema: JsonSchema = {}): JsonSchema => ({ ...schema, components });

/** Versions released, the oldest first. */
export function releasedVersions(directory: string): readonly string[] {
  const released = join(directory, 'released');
  if (!existsSync(released)) return [];
  const parts = (version: string) => version.split('.').map(Number);
  return readdirSync(released)
    .filter((name) => /^\d+\.\d+\.\d+$/.test(name))
    .sort((one, other) => {
      const [a, b] = [parts(one), parts(other)];
      return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
    });
}

function readJson(path: string): JsonSchema | null {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as JsonSchema) : null;
}

/** The lines that the check prints. */
export function describe({ against, changes }: CompatibilityResult): readonly string[] {
  if (against === null) return ['no schemas have been released yet: npm run schemas:release'];
  const line = ({ file, path, what }: FileChange) => `schemas/${file} ${path === '' ? '(whole)' : path}: ${what}`;
  const broken = changes.filter(({ kind }) => kind === 'breaking');
  const minor = changes.filter(({ kind }) => kind === 'minor');
  return [
    ...broken.map((change) => `BREAKS CONSUMERS  ${line(change)}`),
    ...(broken.length > 0 ? [WAY_OUT] : []),
    ...minor.map((change) => `needs a minor version  ${line(change)}`),
    `${broken.length} breaking and ${minor.length} other changes since the schemas of ${against}`,
  ];
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const result = checkSchemas(join(import.meta.dirname, '..', '..', 'schemas'));
  for (const text of describe(result)) console.log(text);
  process.exitCode = result.changes.some(({ kind }) => kind === 'breaking') ? 1 : 0;
}
