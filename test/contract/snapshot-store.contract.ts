/**
 * Owns what every `SnapshotStore` must do. An adapter's test file says how to make and read directories of its kind
 * and how to spoil what is kept, then calls {@link describeSnapshotStore}.
 */
import { beforeEach, describe, expect, it } from 'vitest';
import { CorruptDataError } from '../../src/stream/errors.js';
import type { SnapshotStore } from '../../src/stream/ports.js';

export interface SnapshotStoreUnderTest {
  readonly store: SnapshotStore;
  /** A directory, not made yet, that nobody used before. */
  newDirectory(): string;
  /** Writes the files into the directory, making it where missing. */
  write(directory: string, files: Record<string, string>): Promise<void>;
  read(directory: string): Promise<Record<string, string>>;
  /** Changes (or loses, where null) the kept content of one file behind the store's back. */
  spoil(task: string, id: string, file: string, content: string | null): Promise<void>;
  /** Bytes of file contents kept for a task. */
  keptBytes(task: string): Promise<number>;
}

export function describeSnapshotStore(name: string, make: () => Promise<SnapshotStoreUnderTest>): void {
  describe(`snapshot store: ${name}`, () => {
    let bench: SnapshotStoreUnderTest;
    const written = async (files: Record<string, string>): Promise<string> => {
      const directory = bench.newDirectory();
      await bench.write(directory, files);
      return directory;
    };
    const restored = async (task: string, id: string): Promise<Record<string, string>> => {
      const directory = bench.newDirectory();
      await bench.store.restore(task, id, directory);
      return bench.read(directory);
    };

    beforeEach(async () => {
      bench = await make();
    });

    it('gives back what was put, empty files too, after the source is gone', async () => {
      const files = { '000012.sst': 'a'.repeat(5_000), CURRENT: 'MANIFEST-5\n', empty: '' };
      const sizes = await bench.store.put('task-0', 'checkpoint-1', await written(files));
      expect(sizes).toEqual({ sizeBytes: 5_011, newBytes: 5_011 });
      expect(await restored('task-0', 'checkpoint-1')).toEqual(files);
    });

    it('sends only what is not kept yet', async () => {
      const first = { '000012.sst': 'a'.repeat(5_000), CURRENT: 'one' };
      const second = { '000012.sst': 'a'.repeat(5_000), '000013.sst': 'b'.repeat(700), CURRENT: 'two' };
      await bench.store.put('task-0', '1', await written(first));
      const sizes = await bench.store.put('task-0', '2', await written(second));
      expect(sizes).toEqual({ sizeBytes: 5_703, newBytes: 703 });
      expect(await restored('task-0', '1')).toEqual(first);
      expect(await restored('task-0', '2')).toEqual(second);
    });

    it('never takes a file for another of the same name and size', async () => {
      const before = { '000012.sst': 'a'.repeat(5_000) };
      const after = { '000012.sst': 'b'.repeat(5_000) };
      await bench.store.put('task-0', '1', await written(before));
      const sizes = await bench.store.put('task-0', '2', await written(after));
      expect(sizes.newBytes).toBe(5_000);
      expect(await restored('task-0', '1')).toEqual(before);
      expect(await restored('task-0', '2')).toEqual(after);
    });

    it('lists the ids of a task alone, oldest first, whatever their names', async () => {
      expect(await bench.store.list('task-0')).toEqual([]);
      for (const id of ['z', 'a', '10', '9']) await bench.store.put('task-0', id, await written({ f: id }));
      await bench.store.put('task-00', 'other', await written({ f: 'x' }));
      expect(await bench.store.list('task-0')).toEqual(['z', 'a', '10', '9']);
      expect(await bench.store.list('task-00')).toEqual(['other']);
    });

    it('takes task names and ids of any text', async () => {
      const [task, id] = ['fraud/payments:0', '../savepoint before ünïcode.json'];
      await bench.store.put(task, id, await written({ f: 'x' }));
      expect(await bench.store.list(task)).toEqual([id]);
      expect(await restored(task, id)).toEqual({ f: 'x' });
    });

    it('refuses a second snapshot under the same id', async () => {
      await bench.store.put('task-0', '1', await written({ f: 'x' }));
      await expect(bench.store.put('task-0', '1', await written({ f: 'y' }))).rejects.toMatchObject({
        code: 'snapshot-exists',
      });
      expect(await restored('task-0', '1')).toEqual({ f: 'x' });
    });

    it('deletes what no other snapshot of the task needs, and only that', async () => {
      await bench.store.put('task-0', '1', await written({ shared: 's'.repeat(1_000), own: 'o'.repeat(300) }));
      await bench.store.put('task-0', '2', await written({ shared: 's'.repeat(1_000), mine: 'm'.repeat(20) }));
      await bench.store.put('task-1', '1', await written({ own: 'o'.repeat(300) }));
      await bench.store.delete('task-0', '1');
      expect(await bench.store.list('task-0')).toEqual(['2']);
      expect(await bench.keptBytes('task-0')).toBe(1_020);
      expect(await restored('task-0', '2')).toEqual({ shared: 's'.repeat(1_000), mine: 'm'.repeat(20) });
      expect(await restored('task-1', '1')).toEqual({ own: 'o'.repeat(300) });
      await bench.store.delete('task-0', '2');
      expect(await bench.keptBytes('task-0')).toBe(0);
    });

    it('takes deleting what is not there as done', async () => {
      await bench.store.delete('task-0', 'never there');
      await bench.store.put('task-0', '1', await written({ f: 'x' }));
      await bench.store.delete('task-0', 'never there');
      expect(await bench.store.list('task-0')).toEqual(['1']);
    });

    it('keeps order when an id is deleted and newer ones come', async () => {
      for (const id of ['c', 'b', 'a']) await bench.store.put('task-0', id, await written({ f: id }));
      await bench.store.delete('task-0', 'a');
      await bench.store.put('task-0', '0', await written({ f: '0' }));
      expect(await bench.store.list('task-0')).toEqual(['c', 'b', '0']);
    });

    it.each([
      ['changed, same length', 'X'.repeat(5_000)],
      ['cut short', 'a'.repeat(4_999)],
      ['missing', null],
    ])('refuses to restore a file that is %s, names it, and leaves the directory empty', async (_, content) => {
      const files = { '000011.sst': 'ok', '000012.sst': 'a'.repeat(5_000), CURRENT: 'x' };
      await bench.store.put('task-0', '1', await written(files));
      await bench.spoil('task-0', '1', '000012.sst', content);
      const directory = bench.newDirectory();
      const refused = bench.store.restore('task-0', '1', directory);
      await expect(refused).rejects.toBeInstanceOf(CorruptDataError);
      await expect(refused).rejects.toThrow(/000012\.sst/);
      expect(await bench.read(directory)).toEqual({});
    });

    it('restores an older snapshot into the same directory after the newest was refused', async () => {
      await bench.store.put('task-0', '1', await written({ f: 'one' }));
      await bench.store.put('task-0', '2', await written({ f: 'two' }));
      await bench.spoil('task-0', '2', 'f', null);
      const directory = bench.newDirectory();
      await expect(bench.store.restore('task-0', '2', directory)).rejects.toBeInstanceOf(CorruptDataError);
      await bench.store.restore('task-0', '1', directory);
      expect(await bench.read(directory)).toEqual({ f: 'one' });
    });

    it('sends a file again when the kept one was lost', async () => {
      const files = { '000012.sst': 'a'.repeat(5_000) };
      await bench.store.put('task-0', '1', await written(files));
      await bench.spoil('task-0', '1', '000012.sst', null);
      const sizes = await bench.store.put('task-0', '2', await written(files));
      expect(sizes.newBytes).toBe(5_000);
      expect(await restored('task-0', '2')).toEqual(files);
    });

    it('says which snapshot is not kept', async () => {
      const refused = bench.store.restore('task-0', 'checkpoint-7', bench.newDirectory());
      await expect(refused).rejects.toBeInstanceOf(CorruptDataError);
      await expect(refused).rejects.toThrow(/checkpoint-7/);
    });

    it('refuses to restore over other files', async () => {
      await bench.store.put('task-0', '1', await written({ f: 'x' }));
      const directory = await written({ precious: 'y' });
      await expect(bench.store.restore('task-0', '1', directory)).rejects.toMatchObject({
        code: 'snapshot-directory-not-empty',
      });
      expect(await bench.read(directory)).toEqual({ precious: 'y' });
    });
  });
}
