/** Owns the tests of the byte-keyed hash index: it behaves as a Map does, through any inserts and removes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hash32, hash53, KeyIndex, MAX_KEY_BYTES } from '../../../src/stream/state/key-index.js';

const CAPACITY = 600;

/** Keys of which many share their place in the table: what linear probing must get right. */
function crowdedKeys(count: number): Buffer[] {
  const keys: Buffer[] = [];
  for (let i = 0; keys.length < count; i++) {
    const key = Buffer.from(`k${i}`);
    const hash = hash32(key, 0, key.length);
    const place = (hash ^ (hash >>> 15)) & 2047;
    // The table of 600 keys has 2,048 places; these clusters run over its end as well.
    if (place > 2040 || place < 4) keys.push(key);
  }
  return keys;
}

describe('a key index', () => {
  const keys = crowdedKeys(120);
  it.each([
    ['crowded keys', keys],
    ['keys of any length', [0, 1, 2, 5, 63, 64].map((n) => Buffer.alloc(n, n))],
  ])('finds what a Map would find, with %s', (_, universe) => {
    fc.assert(
      fc.property(fc.array(fc.nat(universe.length - 1), { maxLength: 300, size: 'max' }), (steps) => {
        const index = new KeyIndex(CAPACITY);
        const model = new Map<string, number>();
        const free = Array.from({ length: CAPACITY }, (_unused, slot) => slot);
        for (const step of steps) {
          const key = universe[step];
          const text = key.toString('hex');
          const bound = model.get(text);
          if (bound === undefined) {
            const slot = free.pop() as number;
            index.insert(slot, key, 0, key.length, hash32(key, 0, key.length));
            model.set(text, slot);
          } else {
            index.remove(bound);
            model.delete(text);
            free.push(bound);
          }
        }
        for (const key of universe) {
          const slot = index.find(key, 0, key.length, hash32(key, 0, key.length));
          expect(slot).toBe(model.get(key.toString('hex')) ?? -1);
          if (slot >= 0) expect(index.key(slot)).toEqual(key);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('tells keys apart whose hashes are the same', () => {
    const index = new KeyIndex(8);
    const [a, b] = [Buffer.from('aa'), Buffer.from('bb')];
    index.insert(0, a, 0, 2, 42);
    index.insert(1, b, 0, 2, 42);
    expect([index.find(a, 0, 2, 42), index.find(b, 0, 2, 42)]).toEqual([0, 1]);
    expect(index.find(Buffer.from('aab'), 0, 3, 42)).toBe(-1);
    index.remove(0);
    expect([index.find(a, 0, 2, 42), index.find(b, 0, 2, 42)]).toEqual([-1, 1]);
  });

  it('takes keys out of the middle of a buffer, and keeps a copy', () => {
    const index = new KeyIndex(8);
    const around = Buffer.from('..card..');
    const hash = hash32(around, 2, 4);
    index.insert(3, around, 2, 4, hash);
    around.fill(0);
    expect(index.find(Buffer.from('card'), 0, 4, hash)).toBe(3);
    expect([index.key(3).toString(), index.keyLength(3), index.hash(3)]).toEqual(['card', 4, hash]);
  });

  it('fills up to its capacity, and is empty once cleared', () => {
    const index = new KeyIndex(700);
    const all = Array.from({ length: 700 }, (_, i) => Buffer.from(`card-${i}`));
    for (const [slot, key] of all.entries()) index.insert(slot, key, 0, key.length, hash32(key, 0, key.length));
    for (const [slot, key] of all.entries()) expect(index.find(key, 0, key.length, index.hash(slot))).toBe(slot);
    index.clear();
    expect(all.every((key, slot) => index.find(key, 0, key.length, index.hash(slot)) === -1)).toBe(true);
  });

  it('refuses a key over the limit', () => {
    const long = Buffer.alloc(MAX_KEY_BYTES + 1);
    expect(() => new KeyIndex(8).insert(0, long, 0, long.length, 1)).toThrow(/over the limit of 64/);
  });
});

describe('hashes', () => {
  it('are those of FNV-1a', () => {
    expect(hash32(Buffer.from('a'), 0, 1) >>> 0).toBe(0xe40c292c);
    expect(hash32(Buffer.from('foobar'), 0, 6) >>> 0).toBe(0xbf9cf968);
    expect(hash32(Buffer.from('xfoobarx'), 1, 6) >>> 0).toBe(0xbf9cf968);
  });

  it('of 53 bits are whole numbers above 0 that tell texts apart', () => {
    const seen = new Set<number>();
    for (let i = 0; i < 20_000; i++) {
      const text = Buffer.from(`merchant-${i}`);
      const hash = hash53(text, 0, text.length);
      expect(Number.isSafeInteger(hash) && hash > 0).toBe(true);
      seen.add(hash);
    }
    expect(seen.size).toBe(20_000);
  });
});
