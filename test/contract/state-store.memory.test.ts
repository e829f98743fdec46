/** The memory store keeps the contract, and what simulations need beside it: crashes, faults, removal. */
import { describe, expect, it } from 'vitest';
import { MemoryDisk, memoryStateStore } from '../../src/stream/testing/memory-store.js';
import { describeStateStore } from './state-store.contract.js';

describeStateStore('memory', memoryStateStore());

const key = Uint8Array.of(1);
const value = Uint8Array.of(2);

describe('the memory disk', () => {
  it('keeps what was acknowledged through a crash, and kills the handle', async () => {
    const disk = new MemoryDisk();
    const open = memoryStateStore({ disk });
    const store = await open('task-0');
    await store.writeBatch([{ key, value }]);
    disk.crash();
    await expect(store.writeBatch([{ key, value: null }])).rejects.toMatchObject({ code: 'state-store-closed' });
    expect(await (await open('task-0')).getMany([key])).toEqual([value]);
  });

  it('lets no zombie write: opening again kills the handle before', async () => {
    const open = memoryStateStore();
    const zombie = await open('task-0');
    const owner = await open('task-0');
    await expect(zombie.writeBatch([{ key, value }])).rejects.toMatchObject({ code: 'state-store-closed' });
    expect(await owner.getMany([key])).toEqual([null]);
  });

  it('loses a batch whole that a crash overtakes', async () => {
    const disk = new MemoryDisk();
    let release = () => {};
    const fault = (operation: string) =>
      operation === 'writeBatch' ? new Promise<void>((resolve) => (release = resolve)) : undefined;
    const store = await memoryStateStore({ disk, fault })('task-0');
    const writing = store.writeBatch([{ key, value }]);
    disk.crash();
    release();
    await expect(writing).rejects.toMatchObject({ code: 'state-store-closed' });
    expect(await (await memoryStateStore({ disk })('task-0')).getMany([key])).toEqual([null]);
  });

  it('forgets a directory that was removed', async () => {
    const disk = new MemoryDisk();
    const open = memoryStateStore({ disk });
    await (await open('task-0')).writeBatch([{ key, value }]);
    disk.remove('task-0');
    expect(await (await open('task-0')).getMany([key])).toEqual([null]);
  });
});
