/**
 * Owns what a savepoint says of itself: `<name>/manifest.json`, written last, so that a savepoint without one is
 * unfinished. Neighbours: `savepoint.ts` writes it, `savepoints.ts` reads it, `state/migration.ts` describes layouts.
 */
import { createHash } from 'node:crypto';
import { CorruptDataError, StreamError } from '../errors.js';
import type { LayoutDescription } from '../state/layout-description.js';
import type { ResumePoint } from '../state/stored-form.js';

export const SAVEPOINT_FORMAT = 'savepoint-1';

/** The source that a savepoint's offsets belong to. */
export interface SavepointSource {
  readonly topic: string;
  /** Of this very topic (`TopicAdmin.identity`): offsets mean nothing in another one of that name. */
  readonly identity: string;
  readonly partitions: number;
}

/** A file of keys and whole values. */
export interface SavepointPart {
  /** The object's whole name. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly keys: number;
}

/** One task's share of a savepoint. */
export interface SavepointTask {
  readonly taskId: string;
  readonly partition: number;
  /** What the values reflect. Epoch -1: the task never committed anything. */
  readonly resume: ResumePoint;
  readonly keys: number;
  readonly parts: readonly SavepointPart[];
}

export interface SavepointManifest {
  readonly format: typeof SAVEPOINT_FORMAT;
  readonly name: string;
  readonly pipeline: string;
  readonly pipelineVersion: string;
  /** Of the pipeline, when it was made. */
  readonly generation: number;
  /** Wall clock when it was complete, ms since 1970. */
  readonly createdAtMs: number;
  readonly source: SavepointSource;
  readonly layout: LayoutDescription;
  /** One a source partition, in their order. */
  readonly tasks: readonly SavepointTask[];
}

/** A savepoint's manifest as it was read. */
export interface StoredManifest {
  readonly manifest: SavepointManifest;
  /** Its checksum: no other savepoint has it, of whatever name. */
  readonly id: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$/;
const LONGEST_NAME = 100;

/** Errors: 'savepoint-name' where a name cannot be one (names become names of files and objects). */
export function expectSavepointName(name: string): void {
  if (NAME.test(name) && name.length <= LONGEST_NAME) return;
  throw new StreamError(
    'savepoint-name',
    `${JSON.stringify(name)} cannot name a savepoint: use letters, digits, '-', '_' and '.' between them, ${LONGEST_NAME} at most`,
  );
}

export const manifestName = (savepoint: string): string => `${savepoint}/manifest.json`;

/** `attempt` tells apart the parts of two that make a savepoint of one name at once. Empty: only one does. */
export const partName = (savepoint: string, taskId: string, part: number, attempt: string): string =>
  `${savepoint}/parts/${taskId}-${String(part).padStart(5, '0')}${attempt === '' ? '' : `-${attempt}`}`;

export function encodeManifest(manifest: SavepointManifest): Buffer {
  return Buffer.from(`${JSON.stringify({ ...manifest, checksum: checksumOf(manifest) }, null, 2)}\n`);
}

/** Over the JSON without spaces: names keep their order when it is read and written again. */
function checksumOf(manifest: object): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}

/** Errors: {@link CorruptDataError} naming the object. */
export function decodeManifest(bytes: Buffer, name: string, place: string): StoredManifest {
  const object = `${manifestName(name)} in ${place}`;
  let written: Partial<SavepointManifest> & { readonly checksum?: string };
  try {
    written = JSON.parse(bytes.toString('utf8')) as typeof written;
  } catch (cause) {
    throw new CorruptDataError(`${object} cannot be read; take another savepoint`, { cause });
  }
  const { checksum, ...manifest } = written;
  if (manifest.format !== SAVEPOINT_FORMAT) {
    throw new CorruptDataError(`${object} is of form ${manifest.format}, this build reads ${SAVEPOINT_FORMAT}`);
  }
  if (checksum === undefined || checksumOf(manifest) !== checksum || manifest.name !== name) {
    throw new CorruptDataError(`${object} does not match its checksum or its name; take another savepoint`);
  }
  return { manifest: manifest as SavepointManifest, id: checksum };
}
