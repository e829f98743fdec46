/**
 * Owns what every `StateStore` must do, whatever keeps its bytes. Each adapter's test file calls
 * {@link describeStateStore} with its own way to open; what only one adapter promises is tested in that file.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { OpenStateStore, StateStore } from '../../src/stream/ports.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | null): string | null => (value === null ? null : new TextDecoder().decode(value));
const texts = (values: readonly (Uint8Array | null)[]): (string | null)[] => values.map(text);
const put = (key: string, value: string) => ({ key: bytes(key), value: bytes(value) });

async function scanned(store: StateStore, prefix: Uint8Array): Promise<[string, string | null][]> {
  const found: [string, string | null][] = [];
  for await (const { key, value } of store.scan(prefix)) found.push([Buffer.from(key).toString('latin1'), text(value)]);
  return found;
}

export function describeStateStore(name: string, open: OpenStateStore): void {
  describe(`state store: ${name}`, () => {
    let base = '';
    const opened: StateStore[] = [];
    const at = (directory: string): string => path.join(base, directory);
    const openAt = async (directory: string): Promise<StateStore> => {
      const store = await open(at(directory));
      opened.push(store);
      return store;
    };

    beforeEach(async () => {
      base = await mkdtemp(path.join(tmpdir(), 'state-store-'));
    });
    afterEach(async () => {
      for (const store of opened.splice(0)) await store.close();
      await rm(base, { recursive: true, force: true });
    });

    it('gives values in the order of the keys asked for, null where absent', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('one', '1'), put('two', '2'), put('three', '3')]);
      const keys = ['three', 'nothing', 'one', 'two', 'one'].map(bytes);
      expect(texts(await store.getMany(keys))).toEqual(['3', null, '1', '2', '1']);
    });

    it('answers no keys with no values, and takes an empty batch', async () => {
      const store = await openAt('a');
      await store.writeBatch([]);
      expect(await store.getMany([])).toEqual([]);
    });

    it('keeps order over many more keys than one read takes', async () => {
      const store = await openAt('a');
      const entries = Array.from({ length: 10_000 }, (_, i) => put(`key-${i}`, `value-${i}`));
      await store.writeBatch(entries);
      const asked = Array.from({ length: 12_345 }, (_, i) => (i * 7919) % 11_000);
      const values = texts(await store.getMany(asked.map((i) => bytes(`key-${i}`))));
      expect(values).toEqual(asked.map((i) => (i < 10_000 ? `value-${i}` : null)));
    });

    it('tells an empty value from an absent one', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('empty', '')]);
      const [empty, absent] = await store.getMany([bytes('empty'), bytes('absent')]);
      expect(empty).toHaveLength(0);
      expect(absent).toBeNull();
    });

    it('keeps keys and values of any bytes apart', async () => {
      const store = await openAt('a');
      const keys = [[0], [0, 0], [0, 255], [255], [255, 255], [128, 10, 0, 13]].map((k) => Uint8Array.from(k));
      await store.writeBatch(keys.map((key, i) => ({ key, value: Uint8Array.from([i, 0, 255, ...key]) })));
      const values = await store.getMany(keys);
      expect(values.map((v) => [...(v ?? [])])).toEqual(keys.map((key, i) => [i, 0, 255, ...key]));
    });

    it('reads views into larger buffers by their own bounds', async () => {
      const store = await openAt('a');
      const shared = Buffer.from('....keyvalue....');
      await store.writeBatch([{ key: shared.subarray(4, 7), value: shared.subarray(7, 12) }]);
      expect(texts(await store.getMany([bytes('key')]))).toEqual(['value']);
    });

    it('applies a batch in its order: a later entry for the same key wins, null deletes', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('k', 'old'), put('gone', 'x'), put('kept', 'y')]);
      await store.writeBatch([
        put('k', 'first'),
        { key: bytes('gone'), value: null },
        put('k', 'last'),
        { key: bytes('never there'), value: null },
      ]);
      expect(texts(await store.getMany(['k', 'gone', 'kept'].map(bytes)))).toEqual(['last', null, 'y']);
    });

    it('holds nothing of the caller: buffers are reused after writeBatch, and returned bytes may be written to', async () => {
      const store = await openAt('a');
      const key = Buffer.from('key-1');
      const value = Buffer.from('value-1');
      await store.writeBatch([{ key, value }]);
      key.write('key-2');
      value.write('value-2');
      await store.writeBatch([{ key, value }]);
      const keys = [bytes('key-1'), bytes('key-2')];
      const [first] = await store.getMany(keys);
      first?.fill(0);
      key.fill(0);
      value.fill(0);
      expect(texts(await store.getMany(keys))).toEqual(['value-1', 'value-2']);
    });

    it('scans a prefix in byte order and nothing beyond it', async () => {
      const store = await openAt('a');
      const keys = ['a', 'b', 'b\u0000', 'b\u0001x', 'bz', 'b\u00ff', 'b\u00ff\u00ff', 'c', 'B'];
      await store.writeBatch(keys.map((key, i) => ({ key: Buffer.from(key, 'latin1'), value: bytes(`${i}`) })));
      const found = await scanned(store, bytes('b'));
      expect(found).toEqual([
        ['b', '1'],
        ['b\u0000', '2'],
        ['b\u0001x', '3'],
        ['bz', '4'],
        ['b\u00ff', '5'],
        ['b\u00ff\u00ff', '6'],
      ]);
    });

    it('scans a prefix given as a Buffer, time and again, and leaves it as it is', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('a', '0'), put('b1', '1'), put('c', '2')]);
      const prefix = Buffer.from('b');
      expect(await scanned(store, prefix)).toEqual([['b1', '1']]);
      expect(await scanned(store, prefix)).toEqual([['b1', '1']]);
      expect(prefix.toString()).toBe('b');
    });

    it('scans everything for an empty prefix, and to the end for a prefix of 0xff', async () => {
      const store = await openAt('a');
      const keys = ['\u0000', 'm', '\u00ff', '\u00ff\u00ff', '\u00ff\u00ffa'];
      await store.writeBatch(keys.map((key) => ({ key: Buffer.from(key, 'latin1'), value: bytes('v') })));
      expect((await scanned(store, new Uint8Array(0))).map(([key]) => key)).toEqual(keys);
      expect((await scanned(store, Uint8Array.of(255, 255))).map(([key]) => key)).toEqual(keys.slice(3));
      expect(await scanned(store, bytes('zz'))).toEqual([]);
    });

    it('scans the store as it was when the scan began, over many pages, and can be left early', async () => {
      const store = await openAt('a');
      const key = (i: number) => `k${String(i).padStart(6, '0')}`;
      await store.writeBatch(Array.from({ length: 3_000 }, (_, i) => put(key(i), 'before')));
      let seen = 0;
      for await (const entry of store.scan(bytes('k'))) {
        if (seen === 0) await store.writeBatch([put(key(2_999), 'after'), { key: bytes(key(2_998)), value: null }]);
        expect(Buffer.from(entry.key).toString()).toBe(key(seen));
        expect(text(entry.value)).toBe('before');
        seen++;
      }
      expect(seen).toBe(3_000);
      for await (const entry of store.scan(bytes('k'))) {
        expect(text(entry.value)).toBe('before');
        break;
      }
    });

    it('finds everything again after closing and reopening', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('k', 'v'), put('gone', 'x')]);
      await store.writeBatch([{ key: bytes('gone'), value: null }]);
      await store.close();
      const again = await openAt('a');
      expect(texts(await again.getMany(['k', 'gone'].map(bytes)))).toEqual(['v', null]);
    });

    it('keeps two open stores apart', async () => {
      const [a, b] = [await openAt('a'), await openAt('b')];
      await Promise.all([a.writeBatch([put('k', 'of a')]), b.writeBatch([put('k', 'of b')])]);
      const read = await Promise.all([a.getMany([bytes('k')]), b.getMany([bytes('k')])]);
      expect(read.map(texts)).toEqual([['of a'], ['of b']]);
    });

    it('answers many overlapping reads and writes, each rightly', async () => {
      const store = await openAt('a');
      await Promise.all(Array.from({ length: 40 }, (_, i) => store.writeBatch([put(`k${i}`, `v${i}`)])));
      const reads = Array.from({ length: 40 }, (_, i) => store.getMany([bytes(`k${i}`), bytes(`k${39 - i}`)]));
      const all = await Promise.all(reads);
      expect(all.map(texts)).toEqual(Array.from({ length: 40 }, (_, i) => [`v${i}`, `v${39 - i}`]));
    });

    it('refuses use after close, and closing twice is harmless', async () => {
      const store = await openAt('a');
      await store.close();
      await store.close();
      await expect(store.getMany([bytes('k')])).rejects.toMatchObject({ code: 'state-store-closed' });
      await expect(store.writeBatch([put('k', 'v')])).rejects.toMatchObject({ code: 'state-store-closed' });
      await expect(store.snapshot(at('late'))).rejects.toMatchObject({ code: 'state-store-closed' });
    });

    it('takes a snapshot that opens as a store of its own', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('k', 'then')]);
      await store.snapshot(at('copy'));
      await store.writeBatch([put('k', 'now'), put('new', 'x')]);
      const copy = await openAt('copy');
      expect(texts(await copy.getMany(['k', 'new'].map(bytes)))).toEqual(['then', null]);
      await copy.writeBatch([put('k', 'changed in the copy')]);
      expect(texts(await store.getMany(['k', 'new'].map(bytes)))).toEqual(['now', 'x']);
    });

    it('refuses to write a snapshot over another', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('k', 'v')]);
      await store.snapshot(at('copy'));
      await expect(store.snapshot(at('copy'))).rejects.toMatchObject({ code: 'snapshot-directory-not-empty' });
      expect(texts(await store.getMany([bytes('k')]))).toEqual(['v']);
    });

    it('takes snapshots under live writes: all acknowledged before is in, no batch is torn', async () => {
      const store = await openAt('a');
      const keys = Array.from({ length: 100 }, (_, i) => bytes(`key-${i}`));
      let acknowledged = 0;
      let stop = false;
      const writer = (async () => {
        for (let generation = 1; !stop; generation++) {
          const value = new Uint8Array(500);
          new DataView(value.buffer).setUint32(0, generation);
          await store.writeBatch(keys.map((key) => ({ key, value })));
          acknowledged = generation;
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      try {
        for (let round = 0; round < 4; round++) {
          await new Promise((resolve) => setTimeout(resolve, 50));
          const before = acknowledged;
          await store.snapshot(at(`copy-${round}`));
          const after = acknowledged + 1; // one batch may be on its way
          const copy = await openAt(`copy-${round}`);
          const values = await copy.getMany(keys);
          const generations = new Set(values.map((v) => v && new DataView(v.buffer, v.byteOffset).getUint32(0)));
          expect(generations.size).toBe(1);
          const [generation] = [...generations];
          expect(generation).toBeGreaterThanOrEqual(before);
          expect(generation).toBeLessThanOrEqual(after);
        }
      } finally {
        stop = true;
        await writer;
      }
      expect(acknowledged).toBeGreaterThan(4);
    });

    it('serves two snapshots asked for at once, one after the other', async () => {
      const store = await openAt('a');
      await store.writeBatch([put('k', 'v')]);
      await Promise.all([
        store.snapshot(at('copy-1')),
        store.snapshot(at('copy-2')),
        store.writeBatch([put('k', 'w')]),
      ]);
      for (const directory of ['copy-1', 'copy-2']) {
        const copy = await openAt(directory);
        expect(['v', 'w']).toContain(text((await copy.getMany([bytes('k')]))[0]));
      }
    });
  });
}
