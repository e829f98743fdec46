/**
 * Owns what every `ObjectStore` must do. An adapter's test file makes an empty one and calls {@link describeObjectStore}.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ObjectStore } from '../../src/stream/ports.js';

const MIB = 1024 * 1024;

export function describeObjectStore(name: string, make: () => Promise<ObjectStore>): void {
  describe(`object store: ${name}`, () => {
    let objects: ObjectStore;
    let directory = '';

    beforeEach(async () => {
      directory = await mkdtemp(path.join(tmpdir(), 'objects-'));
      objects = await make();
    });
    afterEach(() => rm(directory, { recursive: true, force: true }));

    const fileOf = async (bytes: Buffer): Promise<string> => {
      const file = path.join(directory, 'source');
      await writeFile(file, bytes);
      return file;
    };
    const brought = async (object: string): Promise<Buffer> => {
      const file = path.join(directory, 'brought');
      expect(await objects.getFile(object, file)).toBe(true);
      return readFile(file);
    };

    it('gives back the bytes that were put, and their size', async () => {
      await objects.put('a/b', Buffer.from('bytes'));
      expect((await objects.get('a/b'))?.toString()).toBe('bytes');
      expect(await objects.sizeOf('a/b')).toBe(5);
      expect((await brought('a/b')).toString()).toBe('bytes');
    });

    it('keeps its own copy of the bytes', async () => {
      const bytes = Buffer.from('before');
      await objects.put('a', bytes);
      bytes.write('after!');
      expect((await objects.get('a'))?.toString()).toBe('before');
    });

    it('keeps an empty object', async () => {
      await objects.put('empty', Buffer.alloc(0));
      await objects.putFile('empty-file', await fileOf(Buffer.alloc(0)));
      expect(await objects.get('empty')).toEqual(Buffer.alloc(0));
      expect(await objects.sizeOf('empty-file')).toBe(0);
      expect(await brought('empty-file')).toEqual(Buffer.alloc(0));
    });

    it('gives back large objects and large files whole, whatever the parts they travel in', async () => {
      const bytes = Buffer.alloc(12 * MIB + 17);
      for (let at = 0; at + 4 <= bytes.length; at += 4_093) bytes.writeUInt32LE(at, at);
      await objects.putFile('large/file', await fileOf(bytes));
      await objects.put('large/bytes', bytes);
      expect(await objects.sizeOf('large/file')).toBe(bytes.length);
      expect((await objects.get('large/file'))?.equals(bytes)).toBe(true);
      expect((await brought('large/bytes')).equals(bytes)).toBe(true);
    });

    it('gives back an object of exactly one part, and of one byte more', async () => {
      for (const size of [5 * MIB, 5 * MIB + 1]) {
        const bytes = Buffer.alloc(size, 7);
        await objects.put('part', bytes);
        expect((await objects.get('part'))?.equals(bytes)).toBe(true);
      }
    });

    it('says that there is no such object, and leaves no file', async () => {
      const file = path.join(directory, 'none');
      expect(await objects.get('no/such')).toBeNull();
      expect(await objects.sizeOf('no/such')).toBeNull();
      expect(await objects.getFile('no/such', file)).toBe(false);
      await expect(readFile(file)).rejects.toMatchObject({ code: 'ENOENT' });
    });

    it('puts a new object in the place of the old one', async () => {
      await objects.put('a', Buffer.from('a long one'));
      await objects.put('a', Buffer.from('short'));
      expect((await objects.get('a'))?.toString()).toBe('short');
      await objects.putFile('a', await fileOf(Buffer.from('file')));
      expect((await objects.get('a'))?.toString()).toBe('file');
    });

    it('lists all names that begin with a prefix, sorted, whether it ends at a slash or not', async () => {
      for (const name of ['t/b/2', 't/b/10', 't/a', 't-2/a', 'tasks', 't/B', 'u'])
        await objects.put(name, Buffer.from('x'));
      expect(await objects.list('t/')).toEqual(['t/B', 't/a', 't/b/10', 't/b/2']);
      expect(await objects.list('t')).toEqual(['t-2/a', 't/B', 't/a', 't/b/10', 't/b/2', 'tasks']);
      expect(await objects.list('t/b/1')).toEqual(['t/b/10']);
      expect(await objects.list('nothing/')).toEqual([]);
      expect(await objects.list('')).toHaveLength(7);
    });

    it('deletes what it is told to, and takes what is not there as done', async () => {
      for (const name of ['a/1', 'a/2', 'b']) await objects.put(name, Buffer.from('x'));
      await objects.delete(['a/1', 'never/there']);
      await objects.delete([]);
      expect(await objects.list('')).toEqual(['a/2', 'b']);
      await objects.delete(['a/2']);
      await objects.put('a/3', Buffer.from('x'));
      expect(await objects.list('a/')).toEqual(['a/3']);
    });

    it('takes names of escaped text as they are', async () => {
      const name = `${encodeURIComponent('fraud/payments:0 ünïcode')}/it's(1)!~@=+,-._`;
      await objects.put(name, Buffer.from('x'));
      expect(await objects.list('')).toEqual([name]);
      expect((await objects.get(name))?.toString()).toBe('x');
    });

    it.each(['', '/a', 'a//b', 'a/', '../a', 'a/../b', 'a/./b', '.hidden', 'a b', 'ü', 'a\\b', 'x'.repeat(201)])(
      'refuses the name %j',
      async (bad) => {
        await expect(objects.put(bad, Buffer.from('x'))).rejects.toMatchObject({ code: 'object-name' });
        expect(await objects.list('')).toEqual([]);
      },
    );

    it('keeps what many put at once', async () => {
      const names = Array.from({ length: 40 }, (_, i) => `many/${String(i).padStart(2, '0')}/x`);
      await Promise.all(names.map((name) => objects.put(name, Buffer.from(name))));
      expect(await objects.list('many/')).toEqual(names);
      const all = await Promise.all(names.map((name) => objects.get(name)));
      expect(all.map(String)).toEqual(names);
    });

    it('shows a reader one whole object or the other while a name is put anew', async () => {
      const [ones, twos] = [Buffer.alloc(300_000, 1), Buffer.alloc(200_000, 2)];
      await objects.put('a', ones);
      let ended = false;
      const writing = (async () => {
        for (let i = 0; i < 20; i++) await objects.put('a', i % 2 === 0 ? twos : ones);
        ended = true;
      })();
      while (!ended) {
        const seen = await objects.get('a');
        expect(seen?.equals(ones) || seen?.equals(twos)).toBe(true);
      }
      await writing;
    });

    it('names its place', () => {
      expect(objects.place).not.toBe('');
    });
  });
}
