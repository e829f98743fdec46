/**
 * Owns making a savepoint: a pipeline's whole state under a name, in a form that outlives layouts, partition counts and
 * builds. Each task's state is read from an image, so that the pipeline goes on meanwhile: every task is saved as of an
 * epoch of its own, with the offsets of that epoch. Neighbours: `task-image.ts`, `savepoints.ts` reads, `seed.ts` uses.
 *
 * V1 The manifest is put last: a savepoint without one is unfinished, and no reader takes it for whole.
 * V2 A name that is taken is never written over.
 * V3 Of two made at once under one name, each has files of its own (`attempt`), so whichever manifest stays is whole.
 */

import { StoppedError } from '../epoch/replay.js';
import { StreamError } from '../errors.js';
import type { Clock, ObjectStore } from '../ports.js';
import type { LayoutFields, StateLayout } from '../state/layout.js';
import { describeLayout } from '../state/layout-description.js';
import { STATE_PREFIX, STORED_HEAD_BYTES, stateVersionError } from '../state/stored-form.js';
import {
  encodeManifest,
  expectSavepointName,
  manifestName,
  partName,
  SAVEPOINT_FORMAT,
  type SavepointManifest,
  type SavepointSource,
  type SavepointTask,
} from './savepoint-manifest.js';
import { PartWriter } from './savepoint-parts.js';
import type { TaskImage } from './task-image.js';

/** A part is put once it has grown to this. */
const PART_BYTES = 16 * 1024 * 1024;

export interface SavepointParts {
  readonly name: string;
  /** Holds savepoints and nothing else. */
  readonly objects: ObjectStore;
  readonly pipeline: string;
  readonly pipelineVersion: string;
  readonly generation: number;
  readonly source: SavepointSource;
  readonly layout: StateLayout<LayoutFields>;
  /** The image of a source partition's task, 0 to `source.partitions` - 1. One at a time; it is closed here. */
  openImage(partition: number): Promise<TaskImage>;
  readonly clock: Clock;
  onProgress(message: string): void;
  shouldStop(): boolean;
  /** What an unfinished savepoint of this name left is removed and made anew; refused where left out. */
  readonly replaceUnfinished?: boolean;
  /** V3: random, of letters and digits. Left out where nobody else makes one of this name. */
  readonly attempt?: string;
  /** 16 MiB where left out. */
  readonly partBytes?: number;
}

/**
 * Saves every task. Errors: 'savepoint-name', 'savepoint-exists', 'savepoint-unfinished', StoppedError, state-version,
 * and those of images and the object store. After an error what was written stays, as an unfinished savepoint.
 */
export async function writeSavepoint(parts: SavepointParts): Promise<SavepointManifest> {
  const { name, objects, pipeline, pipelineVersion, generation, source, layout } = parts;
  expectSavepointName(name);
  await expectFree(parts);
  const tasks: SavepointTask[] = [];
  for (let partition = 0; partition < source.partitions; partition++) {
    const image = await parts.openImage(partition);
    try {
      tasks.push(await saveTask(image, partition, parts));
    } finally {
      await image.close();
    }
  }
  const manifest: SavepointManifest = {
    format: SAVEPOINT_FORMAT,
    name,
    pipeline,
    pipelineVersion,
    generation,
    createdAtMs: parts.clock.now(),
    source,
    layout: describeLayout(layout),
    tasks,
  };
  await objects.put(manifestName(name), encodeManifest(manifest)); // V1
  return manifest;
}

// V2
async function expectFree({ name, objects, replaceUnfinished }: SavepointParts): Promise<void> {
  const present = await objects.list(`${name}/`);
  if (present.length === 0) return;
  if (present.includes(manifestName(name))) {
    throw new StreamError(
      'savepoint-exists',
      `there is a savepoint ${name} in ${objects.place}; take another name, or delete that one first`,
    );
  }
  if (replaceUnfinished !== true) {
    throw new StreamError(
      'savepoint-unfinished',
      `savepoint ${name} in ${objects.place} is unfinished: it is being made, or making it was cut short. Take another name, or delete it first`,
    );
  }
  await objects.delete(present);
}

async function saveTask(image: TaskImage, partition: number, parts: SavepointParts): Promise<SavepointTask> {
  const { name, objects, layout } = parts;
  const { taskId, resume } = image;
  const writer = new PartWriter(
    objects,
    (part) => partName(name, taskId, part, parts.attempt ?? ''),
    parts.partBytes ?? PART_BYTES,
  );
  for await (const { key, value } of image.store.scan(STATE_PREFIX)) {
    if (parts.shouldStop()) throw new StoppedError();
    const stored = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    const version = stored.readUInt16LE(8);
    if (version !== layout.version) throw stateVersionError(`${taskId}: the state`, layout, version);
    await writer.add(key.subarray(1), stored.subarray(STORED_HEAD_BYTES));
  }
  await writer.finish();
  parts.onProgress(
    `${taskId}: ${writer.keys} keys as of epoch ${resume.epoch} (source offset ${resume.sourceOffset}) saved in ${writer.parts.length} files`,
  );
  return { taskId, partition, resume, keys: writer.keys, parts: writer.parts };
}
