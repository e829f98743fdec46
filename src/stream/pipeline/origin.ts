/**
 * Owns the headers that tell where a record lay before it was given another key. Neighbours: `repartition.ts` writes
 * them; dead letters and evidence of the pipeline that reads the records next name that place.
 */
import type { RecordBatch, RecordHeader } from '../records.js';

export const ORIGIN_HEADERS = {
  topic: 'origin.topic',
  partition: 'origin.partition',
  offset: 'origin.offset',
} as const;

const NAMES: ReadonlySet<string> = new Set(Object.values(ORIGIN_HEADERS));

export interface Origin {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** Writes the headers of one source partition's records. */
export class OriginHeaders {
  private readonly topic: RecordHeader;
  private readonly partition: RecordHeader;

  constructor(source: { readonly topic: string; readonly partition: number }) {
    this.topic = [ORIGIN_HEADERS.topic, Buffer.from(source.topic)];
    this.partition = [ORIGIN_HEADERS.partition, Buffer.from(String(source.partition))];
  }

  /** The record's own headers as they came, less any of these names, which would be somebody else's word; then ours. */
  behind(records: RecordBatch, index: number): RecordHeader[] {
    const headers = records.headers(index).filter(([name]) => !NAMES.has(name));
    headers.push(this.topic, this.partition, [
      ORIGIN_HEADERS.offset,
      Buffer.from(String(records.offset[index]), 'latin1'),
    ]);
    return headers;
  }
}

/** The headers that tell of a place. */
export function originHeaders({ topic, partition, offset }: Origin): RecordHeader[] {
  return [
    [ORIGIN_HEADERS.topic, Buffer.from(topic)],
    [ORIGIN_HEADERS.partition, Buffer.from(String(partition))],
    [ORIGIN_HEADERS.offset, Buffer.from(String(offset))],
  ];
}

/** Where a record came from that {@link OriginHeaders} wrote; null where it did not. */
export function originOf(records: RecordBatch, index: number): Origin | null {
  const headers = new Map(records.headers(index));
  const topic = headers.get(ORIGIN_HEADERS.topic);
  const partition = headers.get(ORIGIN_HEADERS.partition);
  const offset = headers.get(ORIGIN_HEADERS.offset);
  if (topic === undefined || partition === undefined || offset === undefined) return null;
  return { topic: topic.toString(), partition: Number(partition.toString()), offset: Number(offset.toString()) };
}
