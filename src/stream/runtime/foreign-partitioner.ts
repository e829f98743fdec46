/**
 * Owns knowing other producers' partitioners by their work, for a message that names the cure. Neighbour:
 * `source-keys.ts` asks once, when a task stops. Not on any hot path.
 */
import { crc32 } from 'node:zlib';
import { hash32 } from '../state/key-index.js';

interface Partitioner {
  readonly name: string;
  partitionOf(key: Buffer, partitions: number): number;
}

const PARTITIONERS: readonly Partitioner[] = [
  {
    // librdkafka's `consistent` and `consistent_random`.
    name: "it is librdkafka's CRC32; set partitioner=murmur2_random there (confluent-kafka, kcat, rdkafka)",
    partitionOf: (key, partitions) => crc32(key) % partitions,
  },
  {
    // Sarama's NewHashPartitioner: the remainder of a signed number, its sign dropped.
    name: "it is FNV-1a, as Sarama's; use a murmur2 partitioner there",
    partitionOf: (key, partitions) => Math.abs(hash32(key, 0, key.length) % partitions),
  },
  {
    // kafka-go's Hash balancer, and others that count without a sign.
    name: "it is FNV-1a, as kafka-go's Hash; use its Murmur2Balancer",
    partitionOf: (key, partitions) => (hash32(key, 0, key.length) >>> 0) % partitions,
  },
];

/** Fewer keys than this prove nothing. */
const ENOUGH_KEYS = 8;

/** Whose work it is that all of `keys` lie on `partition`, in words; null where none of those known would do that. */
export function foreignPartitioner(keys: readonly Buffer[], partition: number, partitions: number): string | null {
  if (keys.length < ENOUGH_KEYS) return null;
  const found = PARTITIONERS.find(({ partitionOf }) => keys.every((key) => partitionOf(key, partitions) === partition));
  return found?.name ?? null;
}
