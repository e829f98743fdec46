/**
 * Owns the savepoints that an object store holds: which there are, whether they are whole, what is in them, removing
 * them. Neighbours: `savepoint.ts` makes them, `savepoint-manifest.ts` and `savepoint-parts.ts` have their form.
 */
import { CorruptDataError, StreamError } from '../errors.js';
import type { ObjectStore } from '../ports.js';
import {
  decodeManifest,
  expectSavepointName,
  manifestName,
  type SavepointManifest,
  type SavepointTask,
  type StoredManifest,
} from './savepoint-manifest.js';
import { readPart, type SavepointEntry } from './savepoint-parts.js';

/** A savepoint as a list shows it. */
export type SavepointSummary =
  | {
      readonly state: 'whole';
      readonly name: string;
      readonly pipeline: string;
      readonly pipelineVersion: string;
      readonly generation: number;
      readonly createdAtMs: number;
      readonly partitions: number;
      /** The state layout, by name and version. */
      readonly layout: { readonly name: string; readonly version: number };
      readonly keys: number;
      readonly sizeBytes: number;
    }
  /** It is being made, or making it was cut short. */
  | { readonly state: 'unfinished'; readonly name: string; readonly files: number }
  /** Its manifest cannot be read. */
  | { readonly state: 'corrupt'; readonly name: string; readonly problem: string };

/** What became of one file of a savepoint. */
export interface CheckedPart {
  readonly name: string;
  readonly taskId: string;
  readonly keys: number;
  readonly sizeBytes: number;
  /** What is wrong with it, naming it; null: nothing. */
  readonly problem: string | null;
}

export interface SavepointCheck {
  readonly manifest: SavepointManifest;
  readonly parts: readonly CheckedPart[];
  /** Files that no manifest speaks of: harmless leftovers. */
  readonly unknown: readonly string[];
  readonly isWhole: boolean;
}

export class Savepoints {
  /** `objects` holds savepoints and nothing else. */
  constructor(private readonly objects: ObjectStore) {}

  /** All of them by name, unfinished ones too. */
  async list(): Promise<readonly SavepointSummary[]> {
    const files = new Map<string, number>();
    for (const object of await this.objects.list('')) {
      const slash = object.indexOf('/');
      if (slash > 0) files.set(object.slice(0, slash), (files.get(object.slice(0, slash)) ?? 0) + 1);
    }
    const summaries: SavepointSummary[] = [];
    for (const [name, count] of files) summaries.push(await this.summary(name, count));
    return summaries;
  }

  /**
   * Errors: 'savepoint-name', 'savepoint-missing', 'savepoint-unfinished', {@link CorruptDataError}: each names it and
   * the place.
   */
  async read(name: string): Promise<StoredManifest> {
    expectSavepointName(name);
    const { objects } = this;
    const bytes = await objects.get(manifestName(name));
    if (bytes !== null) return decodeManifest(bytes, name, objects.place);
    if ((await objects.list(`${name}/`)).length > 0) {
      throw new StreamError(
        'savepoint-unfinished',
        `savepoint ${name} in ${objects.place} is unfinished: it is being made, or making it was cut short. Take another, or make it anew`,
      );
    }
    throw new StreamError('savepoint-missing', `there is no savepoint ${name} in ${objects.place}`);
  }

  /** Reads every file of it. Errors as {@link read}; bad files are in the result. */
  async verify(name: string): Promise<SavepointCheck> {
    const { manifest } = await this.read(name);
    const parts: CheckedPart[] = [];
    for (const task of manifest.tasks) {
      for (const part of task.parts) {
        const { keys, sizeBytes } = part;
        parts.push({ name: part.name, taskId: task.taskId, keys, sizeBytes, problem: await this.problemOf(part) });
      }
    }
    const known = new Set([manifestName(name), ...parts.map((part) => part.name)]);
    const unknown = (await this.objects.list(`${name}/`)).filter((object) => !known.has(object));
    return { manifest, parts, unknown, isWhole: parts.every(({ problem }) => problem === null) };
  }

  /** Removes it, whole or not: the manifest first, so that no half of it is taken for whole. Returns how many files. */
  async delete(name: string): Promise<number> {
    expectSavepointName(name);
    const objects = await this.objects.list(`${name}/`);
    const manifest = manifestName(name);
    if (objects.length === 0) {
      throw new StreamError('savepoint-missing', `there is no savepoint ${name} in ${this.objects.place}`);
    }
    if (objects.includes(manifest)) await this.objects.delete([manifest]);
    await this.objects.delete(objects.filter((object) => object !== manifest));
    return objects.length;
  }

  /** A task's keys and whole values, a file at a time; views into one buffer each. Errors: {@link CorruptDataError}. */
  async *entries(task: SavepointTask): AsyncIterable<readonly SavepointEntry[]> {
    for (const part of task.parts) yield await readPart(this.objects, part);
  }

  private async summary(name: string, files: number): Promise<SavepointSummary> {
    const bytes = await this.objects.get(manifestName(name));
    if (bytes === null) return { state: 'unfinished', name, files };
    try {
      return whole(decodeManifest(bytes, name, this.objects.place).manifest);
    } catch (error) {
      if (!(error instanceof CorruptDataError)) throw error;
      return { state: 'corrupt', name, problem: error.message };
    }
  }

  private async problemOf(part: SavepointTask['parts'][number]): Promise<string | null> {
    try {
      await readPart(this.objects, part);
      return null;
    } catch (error) {
      if (!(error instanceof CorruptDataError)) throw error;
      return error.message;
    }
  }
}

function whole({ tasks, source, layout, ...manifest }: SavepointManifest): SavepointSummary {
  const { name, pipeline, pipelineVersion, generation, createdAtMs } = manifest;
  return {
    state: 'whole',
    name,
    pipeline,
    pipelineVersion,
    generation,
    createdAtMs,
    partitions: source.partitions,
    layout: { name: layout.name, version: layout.version },
    keys: tasks.reduce((sum, { keys }) => sum + keys, 0),
    sizeBytes: tasks.reduce((sum, { parts }) => sum + parts.reduce((bytes, part) => bytes + part.sizeBytes, 0), 0),
  };
}
