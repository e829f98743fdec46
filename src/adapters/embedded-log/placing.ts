/**
 * Owns how output records find topic and partition, and are packed into blocks: the common front of epochs and writers.
 * Neighbours: `writer.ts`, `epoch-log.ts`. Everything is copied here; callers may reuse their buffers at once.
 */
import { StreamError } from '../../stream/errors.js';
import { partitionOfKey } from '../../stream/partitioning.js';
import type { OutputRecord } from '../../stream/records.js';
import { packBlocks } from './block.js';
import type { Placement } from './commit-queue.js';
import { type LogStore, requirePartition, requireTopic, type TopicMeta } from './store.js';

/** Sorts records by partition and packs them. `keylessPartition` takes those with neither key nor partition, modulo. */
export function placeRecords(
  store: LogStore,
  records: readonly OutputRecord[],
  nowMs: number,
  keylessPartition: number,
): Placement[] {
  const topics = new Map<string, { readonly meta: TopicMeta; readonly partitions: (OutputRecord[] | undefined)[] }>();
  for (const record of records) {
    let topic = topics.get(record.topic);
    if (!topic) {
      topic = { meta: requireTopic(store, record.topic), partitions: [] };
      topics.set(record.topic, topic);
    }
    const { meta, partitions } = topic;
    checkSize(record.topic, (record.key?.length ?? 0) + (record.value?.length ?? 0), meta.maxRecordBytes);
    const partition = record.partition ?? defaultPartition(record.key, meta.partitions, keylessPartition);
    requirePartition(record.topic, meta, partition);
    const placed = partitions[partition];
    if (placed) placed.push(record);
    else partitions[partition] = [record];
  }
  const placements: Placement[] = [];
  for (const [topic, { meta, partitions }] of topics) {
    for (const [partition, placed] of partitions.entries()) {
      if (placed) placements.push({ topic, topicId: meta.id, partition, blocks: packBlocks(placed, nowMs) });
    }
  }
  return placements;
}

function defaultPartition(key: Buffer | null, partitions: number, keylessPartition: number): number {
  return key === null ? keylessPartition % partitions : partitionOfKey(key, partitions);
}

/** Refuses what is larger than the topic takes. */
export function checkSize(topic: string, sizeBytes: number, limitBytes: number): void {
  if (sizeBytes <= limitBytes) return;
  throw new StreamError(
    'record-too-large',
    `A record of ${sizeBytes} bytes for ${topic} is over the topic's limit of ${limitBytes}; raise maxRecordBytes or send less`,
  );
}
