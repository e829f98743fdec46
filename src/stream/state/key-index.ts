/**
 * Owns the byte-keyed hash index: key bytes to slot, open addressing with linear probing, no object and no string a
 * key. Measured: a Map keyed by string cost 3.5 µs a payment more, for the string and its hash.
 * Neighbours: `keyed-state.ts` (cards), the enrichment cache (merchants).
 */

/** FNV-1a over bytes, 32 bits (signed). Source: Fowler, Noll, Vo; offset basis 0x811c9dc5, prime 0x01000193. */
export function hash32(bytes: Uint8Array, start: number, length: number): number {
  let hash = 0x811c9dc5 | 0;
  for (let i = start, end = start + length; i < end; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash;
}

/**
 * A 53-bit hash of bytes as a float, never 0: FNV-1a for the low 32 bits, a second multiplier for 21 more.
 * For equality of texts in state, where the words themselves are not kept: 1 million texts collide with p ≈ 6e-5.
 */
export function hash53(bytes: Uint8Array, start: number, length: number): number {
  let low = 0x811c9dc5 | 0;
  let high = 0x9e3779b9 | 0;
  for (let i = start, end = start + length; i < end; i++) {
    const byte = bytes[i];
    low = Math.imul(low ^ byte, 0x01000193);
    high = Math.imul(high ^ byte, 0x85ebca6b);
    high ^= high >>> 15;
  }
  const hash = (high & 0x1fffff) * 4294967296 + (low >>> 0);
  return hash === 0 ? 1 : hash;
}

/** Longest key in bytes. Longer ones are refused where they enter (decoders), not here. */
export const MAX_KEY_BYTES = 64;

export class KeyIndex {
  private readonly table: Int32Array;
  private readonly mask: number;
  private readonly keys: Buffer;
  private readonly lengths: Uint8Array;
  private readonly hashes: Int32Array;

  /** Room for `capacity` keys of up to {@link MAX_KEY_BYTES}; the table is kept at most half full. */
  constructor(readonly capacity: number) {
    let size = 1024;
    while (size < capacity * 2) size *= 2;
    this.table = new Int32Array(size).fill(-1);
    this.mask = size - 1;
    this.keys = Buffer.alloc(capacity * MAX_KEY_BYTES);
    this.lengths = new Uint8Array(capacity);
    this.hashes = new Int32Array(capacity);
  }

  /** The slot of a key, or -1. `hash` is `hash32` of the same bytes. */
  find(bytes: Uint8Array, start: number, length: number, hash: number): number {
    const { table, mask, keys, hashes, lengths } = this;
    let place = (hash ^ (hash >>> 15)) & mask;
    for (;;) {
      const slot = table[place];
      if (slot < 0) return -1;
      if (hashes[slot] === hash && lengths[slot] === length) {
        const key = slot * MAX_KEY_BYTES;
        let i = 0;
        while (i < length && keys[key + i] === bytes[start + i]) i++;
        if (i === length) return slot;
      }
      place = (place + 1) & mask;
    }
  }

  /** Binds a free slot to a key that is not in the index. */
  insert(slot: number, bytes: Uint8Array, start: number, length: number, hash: number): void {
    if (length > MAX_KEY_BYTES) throw new RangeError(`a key of ${length} bytes is over the limit of ${MAX_KEY_BYTES}`);
    const { table, mask, keys } = this;
    const key = slot * MAX_KEY_BYTES;
    for (let i = 0; i < length; i++) keys[key + i] = bytes[start + i];
    this.lengths[slot] = length;
    this.hashes[slot] = hash;
    let place = (hash ^ (hash >>> 15)) & mask;
    while (table[place] >= 0) place = (place + 1) & mask;
    table[place] = slot;
  }

  /** Frees a slot's binding; later entries of the probe chain move up, so that no tombstones are left. */
  remove(slot: number): void {
    const { table, mask, hashes } = this;
    const hash = hashes[slot];
    let hole = (hash ^ (hash >>> 15)) & mask;
    while (table[hole] !== slot) hole = (hole + 1) & mask;
    table[hole] = -1;
    let next = hole;
    for (;;) {
      next = (next + 1) & mask;
      const other = table[next];
      if (other < 0) return;
      const home = (hashes[other] ^ (hashes[other] >>> 15)) & mask;
      const staysPut = hole <= next ? hole < home && home <= next : hole < home || home <= next;
      if (staysPut) continue;
      table[hole] = other;
      table[next] = -1;
      hole = next;
    }
  }

  /** The key of a bound slot, as a view: valid until the slot is bound anew. */
  key(slot: number): Buffer {
    const start = slot * MAX_KEY_BYTES;
    return this.keys.subarray(start, start + this.lengths[slot]);
  }

  keyLength(slot: number): number {
    return this.lengths[slot];
  }

  hash(slot: number): number {
    return this.hashes[slot];
  }

  /** Forgets every key. */
  clear(): void {
    this.table.fill(-1);
  }
}
