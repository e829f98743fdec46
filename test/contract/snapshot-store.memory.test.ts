/** The memory snapshot store keeps the contract, and carries a memory store from one directory to another. */
import { expect, it } from 'vitest';
import { memorySnapshotStore } from '../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { describeSnapshotStore } from './snapshot-store.contract.js';

describeSnapshotStore('memory', async () => {
  const disk = new MemoryDisk();
  const store = memorySnapshotStore(disk);
  let made = 0;
  return {
    store,
    newDirectory: () => `directory-${made++}`,
    write: async (directory, files) => {
      for (const [name, content] of Object.entries(files)) {
        disk.directory(directory).files.set(name, new TextEncoder().encode(content));
      }
    },
    read: async (directory) =>
      Object.fromEntries([...disk.directory(directory).files].map(([n, c]) => [n, Buffer.from(c).toString()])),
    spoil: async (task, id, file, content) =>
      store.spoil(task, id, file, content === null ? null : new TextEncoder().encode(content)),
    keptBytes: async (task) => store.keptBytes(task),
  };
});

it('a memory store goes through a snapshot store and opens elsewhere with the same entries', async () => {
  const disk = new MemoryDisk();
  const open = memoryStateStore({ disk });
  const snapshots = memorySnapshotStore(disk);
  const store = await open('here');
  const entry = { key: Uint8Array.of(0, 255), value: Uint8Array.of(1, 2, 3) };
  await store.writeBatch([entry]);
  await store.snapshot('staging');
  await snapshots.put('task-0', '1', 'staging');
  disk.remove('here');
  disk.remove('staging');
  await snapshots.restore('task-0', '1', 'there');
  expect(await (await open('there')).getMany([entry.key])).toEqual([entry.value]);
});
