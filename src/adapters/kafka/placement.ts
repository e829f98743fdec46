/**
 * Owns sorting records by the partition they go to. Keyed records go where Kafka's default partitioner puts them,
 * keyless ones go round. Neighbours: `transaction.ts` and `writer.ts` cut the lists into batches.
 */
import { partitionOfKey } from '../../stream/partitioning.js';
import type { OutputRecord } from '../../stream/records.js';
import { leaderOf, type Topics } from './topics.js';

/** Records of one partition, in order, `next` being the first not yet in a batch. */
export interface PartitionQueue {
  readonly topic: string;
  readonly partition: number;
  readonly records: OutputRecord[];
  next: number;
}

export class Placement {
  private round = 0;

  constructor(private readonly topics: Topics) {}

  /** One queue a partition, in order of first use. Errors: a topic or partition that does not exist. */
  async place(records: readonly OutputRecord[]): Promise<PartitionQueue[]> {
    const byTopic = new Map<string, PartitionQueue[]>();
    const queues: PartitionQueue[] = [];
    for (const record of records) {
      let ofTopic = byTopic.get(record.topic);
      if (ofTopic === undefined) {
        ofTopic = [];
        byTopic.set(record.topic, ofTopic);
      }
      // Known topics cost no promise: this runs once a record.
      const view = this.topics.remembered(record.topic) ?? (await this.topics.view(record.topic));
      const partition = record.partition ?? this.partitionOf(record, view.partitions);
      let queue = ofTopic[partition];
      if (queue === undefined) {
        leaderOf(view, partition);
        queue = { topic: record.topic, partition, records: [], next: 0 };
        ofTopic[partition] = queue;
        queues.push(queue);
      }
      queue.records.push(record);
    }
    return queues;
  }

  private partitionOf(record: OutputRecord, partitions: number): number {
    return record.key === null ? this.round++ % partitions : partitionOfKey(record.key, partitions);
  }
}
