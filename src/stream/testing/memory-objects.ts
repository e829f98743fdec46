/**
 * Owns an object store in memory for tests, with the ways in which kept objects go bad. Files are those of the real
 * disk. Neighbours: `src/adapters/object-storage` keeps objects in directories and S3 under the same contract.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { checkObjectName } from '../object-names.js';
import type { ObjectStore } from '../ports.js';

export interface MemoryObjects extends ObjectStore {
  /** Loses (`null`) or replaces an object behind the store's back. */
  spoil(name: string, bytes: Buffer | null): void;
  /** Runs before each `put` and `putFile`: throw to make it fail, wait to make it slow. */
  beforePut: (name: string) => void | Promise<void>;
  /** Names of everything kept, sorted. */
  readonly names: readonly string[];
}

export function memoryObjects(place = 'memory'): MemoryObjects {
  const kept = new Map<string, Buffer>();
  const names = () => [...kept.keys()].sort((a, b) => (a < b ? -1 : 1));
  const store: MemoryObjects = {
    place,
    beforePut: () => {},
    get names() {
      return names();
    },
    async put(name, bytes) {
      await store.beforePut(name);
      kept.set(checkObjectName(name), Buffer.from(bytes));
    },
    async putFile(name, path) {
      await store.beforePut(name);
      kept.set(checkObjectName(name), await readFile(path));
    },
    async get(name) {
      const bytes = kept.get(name);
      return bytes === undefined ? null : Buffer.from(bytes);
    },
    async getFile(name, path) {
      const bytes = kept.get(name);
      if (bytes === undefined) return false;
      await writeFile(path, bytes, { flag: 'wx' });
      return true;
    },
    sizeOf: async (name) => kept.get(name)?.length ?? null,
    list: async (prefix) => names().filter((name) => name.startsWith(prefix)),
    async delete(gone) {
      for (const name of gone) kept.delete(name);
    },
    spoil(name, bytes) {
      if (bytes === null) kept.delete(name);
      else kept.set(name, Buffer.from(bytes));
    },
  };
  return store;
}
