/**
 * Owns the rule that gives a key its partition: Kafka's default partitioner, so that any producer which keys payments
 * by card and leaves partitioning alone agrees with us. Neighbours: writers use it to place records.
 */

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;
const ROTATION = 24;

/**
 * Kafka's murmur2 of `bytes[start..start+length)`, as a signed 32-bit number.
 * Source: `org.apache.kafka.common.utils.Utils.murmur2` (MurmurHash 2 by Austin Appleby, 32 bit, Kafka's seed).
 */
export function murmur2(bytes: Uint8Array, start = 0, length = bytes.length - start): number {
  let hash = SEED ^ length;
  const words = length >>> 2;
  let at = start;
  for (let word = 0; word < words; word++, at += 4) {
    let k = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    k = Math.imul(k, MULTIPLIER);
    k ^= k >>> ROTATION;
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(k, MULTIPLIER);
  }
  const tail = length & 3;
  if (tail > 0) {
    if (tail === 3) hash ^= bytes[at + 2] << 16;
    if (tail >= 2) hash ^= bytes[at + 1] << 8;
    hash = Math.imul(hash ^ bytes[at], MULTIPLIER);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, MULTIPLIER);
  return hash ^ (hash >>> 15);
}

/** The partition, 0..partitions-1, that Kafka's default partitioner gives to a key. */
export function partitionOfKey(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}
