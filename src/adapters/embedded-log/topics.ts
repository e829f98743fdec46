/**
 * Owns the control plane of the embedded log: making and deleting topics, ranges, progress of groups. Low rates, so each
 * change is one blocking LMDB transaction. Neighbours: `store.ts` holds the layout.
 */
import type { PartitionRange, TopicAdmin, TopicSpec } from '../../stream/ports.js';
import { blockKey, EMPTY_HEAD, headKey, putHead, readHead, removeBlock } from './partition-store.js';
import { type LogStore, readTopic, refresh, requireTopic, type TopicMeta, writeNow } from './store.js';

const DEFAULT_MAX_RECORD_BYTES = 8 * 1024 * 1024;
const NEXT_TOPIC_ID = Buffer.from('next topic id');

export class EmbeddedTopicAdmin implements TopicAdmin {
  constructor(
    private readonly store: LogStore,
    private readonly defaultRetentionMs: number,
    /** Called when waiting readers should look again. */
    private readonly changed: () => void,
  ) {}

  async ensure(specs: readonly TopicSpec[]): Promise<readonly string[]> {
    return this.change(() => specs.filter((spec) => this.makeIfMissing(spec)).map(({ name }) => name));
  }

  async partitionCount(topic: string): Promise<number | null> {
    refresh(this.store);
    return readTopic(this.store, topic)?.partitions ?? null;
  }

  async grow(topic: string, partitions: number): Promise<void> {
    this.change(() => {
      const { store } = this;
      const meta = requireTopic(store, topic);
      if (partitions <= meta.partitions) return;
      store.topics.put(Buffer.from(topic), Buffer.from(JSON.stringify({ ...meta, partitions })));
      for (let partition = meta.partitions; partition < partitions; partition++) {
        putHead(store, headKey(meta.id, partition), EMPTY_HEAD);
      }
    });
  }

  async names(): Promise<readonly string[]> {
    refresh(this.store);
    return [...this.store.topics.getKeys()].map((key) => Buffer.from(key).toString()).sort();
  }

  async ranges(topic: string): Promise<readonly PartitionRange[]> {
    refresh(this.store);
    const { id, partitions } = requireTopic(this.store, topic);
    return Array.from({ length: partitions }, (_, partition) => {
      const { start, end } = readHead(this.store, headKey(id, partition)) ?? EMPTY_HEAD;
      return { partition, start, end, writtenEnd: end };
    });
  }

  async identity(topic: string): Promise<string> {
    refresh(this.store);
    return `${this.store.logId}.${requireTopic(this.store, topic).id}`;
  }

  async delete(names: readonly string[]): Promise<void> {
    this.change(() => {
      for (const name of names) this.deleteTopic(name);
    });
  }

  async publishProgress(group: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    this.change(() => {
      const progress = new Map([...this.readProgress(group, topic), ...offsets]);
      this.store.meta.put(progressKey(group, topic), Buffer.from(JSON.stringify([...progress])));
    });
  }

  async progress(group: string, topic: string): Promise<ReadonlyMap<number, number>> {
    refresh(this.store);
    return this.readProgress(group, topic);
  }

  /** One process runs tasks on a directory, and its lock tells who; there are no groups. */
  async groupMembers(): Promise<readonly string[]> {
    return [];
  }

  async groupClaims(): Promise<readonly (string | null)[]> {
    return [];
  }

  async close(): Promise<void> {}

  private readProgress(group: string, topic: string): Map<number, number> {
    const bytes = this.store.meta.getBinary(progressKey(group, topic));
    return new Map<number, number>(bytes ? JSON.parse(bytes.toString()) : []);
  }

  private change<T>(apply: () => T): T {
    const result = writeNow(this.store, apply);
    this.changed();
    return result;
  }

  private makeIfMissing(spec: TopicSpec): boolean {
    const { store } = this;
    if (readTopic(store, spec.name)) return false;
    const id = Number(store.meta.getBinary(NEXT_TOPIC_ID)?.toString() ?? '1');
    const topic: TopicMeta = {
      id,
      partitions: spec.partitions,
      cleanup: spec.cleanup,
      maxRecordBytes: spec.maxRecordBytes ?? DEFAULT_MAX_RECORD_BYTES,
      retentionMs: spec.retentionMs ?? this.defaultRetentionMs,
    };
    store.meta.put(NEXT_TOPIC_ID, Buffer.from(String(id + 1)));
    store.topics.put(Buffer.from(spec.name), Buffer.from(JSON.stringify(topic)));
    for (let partition = 0; partition < spec.partitions; partition++) {
      putHead(store, headKey(id, partition), EMPTY_HEAD);
    }
    return true;
  }

  private deleteTopic(name: string): void {
    const { store } = this;
    const topic = readTopic(store, name);
    if (!topic) return;
    store.topics.remove(Buffer.from(name));
    for (let partition = 0; partition < topic.partitions; partition++) store.heads.remove(headKey(topic.id, partition));
    const range = { start: blockKey(topic.id, 0, 0), end: blockKey(topic.id + 1, 0, 0) };
    for (const key of [...store.facts.getKeys(range)].map((found) => Buffer.from(found))) removeBlock(store, key);
  }
}

function progressKey(group: string, topic: string): Buffer {
  return Buffer.from(`progress\0${group}\0${topic}`);
}
