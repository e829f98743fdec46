/**
 * Owns snapshots kept in memory, of directories on a {@link MemoryDisk}, with the ways in which kept data goes bad.
 * Neighbours: `memory-store.ts` has the disk; `src/adapters/object-storage` keeps real files under the same contract.
 */
import { createHash } from 'node:crypto';
import { CorruptDataError, StreamError } from '../errors.js';
import type { SnapshotStore } from '../ports.js';
import type { MemoryDisk } from './memory-store.js';

interface KeptFile {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** A snapshot store for tests, with ways to spoil what it keeps. Outlives a crash of the disk. */
export interface MemorySnapshotStore extends SnapshotStore {
  /** Loses (`null`) or replaces the kept content of one file of a snapshot, behind the store's back. */
  spoil(task: string, id: string, file: string, content: Uint8Array | null): void;
  /** What `list` gives, at once. */
  ids(task: string): readonly string[];
  /** Bytes kept for a task over all its snapshots. */
  keptBytes(task: string): number;
}

interface TaskSnapshots {
  /** By id, in the order of their making. */
  readonly manifests: Map<string, ReadonlyMap<string, KeptFile>>;
  /** By sha256. */
  readonly contents: Map<string, Uint8Array>;
}

export function memorySnapshotStore(disk: MemoryDisk): MemorySnapshotStore {
  const tasks = new Map<string, TaskSnapshots>();
  const ofTask = (task: string): TaskSnapshots => {
    let found = tasks.get(task);
    if (found === undefined) {
      found = { manifests: new Map(), contents: new Map() };
      tasks.set(task, found);
    }
    return found;
  };
  return {
    async put(task, id, directory) {
      const kept = ofTask(task);
      if (kept.manifests.has(id)) {
        throw new StreamError('snapshot-exists', `Snapshot ${id} of ${task} is kept already. Give a new id.`);
      }
      const manifest = new Map<string, KeptFile>();
      let sizeBytes = 0;
      let newBytes = 0;
      for (const [name, content] of disk.directory(directory).files) {
        const sha256 = checksum(content);
        if (!kept.contents.has(sha256)) {
          kept.contents.set(sha256, content.slice());
          newBytes += content.length;
        }
        sizeBytes += content.length;
        manifest.set(name, { sizeBytes: content.length, sha256 });
      }
      kept.manifests.set(id, manifest);
      return { sizeBytes, newBytes };
    },

    async restore(task, id, directory) {
      const kept = ofTask(task);
      const target = disk.directory(directory);
      if (target.files.size > 0 || target.entries !== null) {
        throw new StreamError(
          'snapshot-directory-not-empty',
          `Cannot restore ${task}/${id} into ${directory}: not empty.`,
        );
      }
      const restored = new Map<string, Uint8Array>();
      for (const [name, file] of manifestOf(kept, task, id)) {
        const content = kept.contents.get(file.sha256);
        const place = `${name} of snapshot ${id} of ${task}`;
        if (content === undefined) throw new CorruptDataError(`File ${place} is missing. Restore an older snapshot.`);
        if (checksum(content) !== file.sha256) {
          throw new CorruptDataError(`File ${place} does not match its checksum. Restore an older snapshot.`);
        }
        restored.set(name, content.slice());
      }
      for (const [name, content] of restored) target.files.set(name, content);
    },

    async list(task) {
      return [...ofTask(task).manifests.keys()];
    },

    ids: (task) => [...ofTask(task).manifests.keys()],

    async delete(task, id) {
      const kept = ofTask(task);
      kept.manifests.delete(id);
      const needed = new Set([...kept.manifests.values()].flatMap((files) => [...files.values()].map((f) => f.sha256)));
      for (const sha256 of kept.contents.keys()) if (!needed.has(sha256)) kept.contents.delete(sha256);
    },

    spoil(task, id, file, content) {
      const kept = ofTask(task);
      const entry = manifestOf(kept, task, id).get(file);
      if (entry === undefined) throw new StreamError('snapshot-unknown', `${task}/${id} has no file ${file}.`);
      if (content === null) kept.contents.delete(entry.sha256);
      else kept.contents.set(entry.sha256, content);
    },

    keptBytes(task) {
      return [...ofTask(task).contents.values()].reduce((sum, content) => sum + content.length, 0);
    },
  };
}

function manifestOf(kept: TaskSnapshots, task: string, id: string): ReadonlyMap<string, KeptFile> {
  const manifest = kept.manifests.get(id);
  if (manifest === undefined) throw new CorruptDataError(`Snapshot ${id} of ${task} is not kept here.`);
  return manifest;
}

function checksum(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
