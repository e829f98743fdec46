/** Owns the snapshot store over any object store as the contract's suite wants it: real source directories, kept contents spoilt. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { objectSnapshotStore } from '../../src/adapters/object-storage/snapshot-store.js';
import type { ObjectStore } from '../../src/stream/ports.js';
import type { SnapshotStoreUnderTest } from './snapshot-store.contract.js';

export async function writeFiles(directory: string, files: Record<string, string>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(path.join(directory, name), content);
}

export async function readFiles(directory: string): Promise<Record<string, string>> {
  const names = await readdir(directory);
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(path.join(directory, name), 'utf8')])),
  );
}

/** The object that holds a file's content in a snapshot. */
export async function contentOf(objects: ObjectStore, task: string, id: string, file: string): Promise<string> {
  const prefix = encodeURIComponent(task);
  const names = await objects.list(`${prefix}/snapshots/`);
  const manifest = await objects.get(
    String(names.find((name) => name.endsWith(`-${encodeURIComponent(id)}.manifest`))),
  );
  const { files } = JSON.parse(String(manifest).split('\n')[0] ?? '');
  return `${prefix}/contents/${files.find((f: { name: string }) => f.name === file).sha256}`;
}

/** `base`: an existing directory for the sources. */
/** Says when the store puts an object: a way to do something in the middle of a snapshot. */
export function beforePuts(objects: ObjectStore, before: (name: string) => Promise<void>): ObjectStore {
  const { place } = objects;
  return {
    place,
    put: async (name, bytes) => {
      await before(name);
      await objects.put(name, bytes);
    },
    putFile: (name, from) => objects.putFile(name, from),
    get: (name) => objects.get(name),
    getFile: (name, to) => objects.getFile(name, to),
    sizeOf: (name) => objects.sizeOf(name),
    list: (prefix) => objects.list(prefix),
    delete: (names) => objects.delete(names),
  };
}

export function snapshotStoreOver(objects: ObjectStore, base: string): SnapshotStoreUnderTest {
  let made = 0;
  return {
    store: objectSnapshotStore(objects),
    newDirectory: () => path.join(base, `directory-${made++}`),
    write: writeFiles,
    read: readFiles,
    spoil: async (task, id, file, content) => {
      const kept = await contentOf(objects, task, id, file);
      if (content === null) await objects.delete([kept]);
      else await objects.put(kept, Buffer.from(content));
    },
    keptBytes: async (task) => {
      const names = await objects.list(`${encodeURIComponent(task)}/contents/`);
      const sizes = await Promise.all(names.map((name) => objects.sizeOf(name)));
      return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0);
    },
  };
}
