/**
 * Owns the dead letter: the form in which a refused record goes to the dead-letter topic (raw key and bytes as they
 * came, what was wrong and where it came from in the headers), and the limits past which the line stops instead of
 * draining a topic there. Neighbours: the task turns a source's rejects into these; `cli` lists and replays them.
 */
import { StreamError } from '../errors.js';
import type { OutputRecord, RecordBatch, RecordHeader } from '../records.js';
import type { Origin } from './origin.js';
import type { DeadLetterLimits, RejectDetails } from './pipeline.js';

/** Names of a dead letter's headers. */
export const DEAD_LETTER_HEADERS = {
  code: 'error.code',
  message: 'error.message',
  topic: 'source.topic',
  partition: 'source.partition',
  offset: 'source.offset',
  timestamp: 'source.timestamp',
  pipeline: 'pipeline.version',
  /** Only where the message names the schema it was written with: the registry's id. */
  schemaId: 'schema.id',
  /** Only where a dead letter is spread over several records: this one's number from 0, and how many there are. */
  part: 'part.index',
  parts: 'part.count',
  /** Only where the key was too large for a record's key: so many first bytes of the (joined) value are the key. */
  keyBytes: 'key.bytes',
  /** With `keyBytes`, where the value was null and not empty. */
  nullValue: 'value.null',
} as const;

/**
 * Bytes of a value in one dead letter. With headers it stays under the 1,048,588 that a Kafka topic takes unless told
 * otherwise: a source may hold larger messages (its limit counts them compressed), and none must stop the pipeline.
 */
const PART_BYTES = 900_000;
const MAX_KEY_BYTES = 64 * 1024;

/** Longest error message kept in a header, in characters. */
const MAX_MESSAGE = 500;

export interface DeadLetterPlace {
  readonly deadLetterTopic: string;
  readonly sourceTopic: string;
  readonly partition: number;
  readonly pipelineVersion: string;
  /** Where the record lay before a first stage gave it another key: named in the place of the above. */
  readonly origin?: Origin;
}

/**
 * The records to write: the raw key and value of `records[index]`, byte for byte (copied: the batch is reused). One
 * record, but for messages of over {@link PART_BYTES}, which are cut into numbered parts that lie in one partition.
 */
export function deadLetters(
  records: RecordBatch,
  index: number,
  code: string,
  message: string,
  place: DeadLetterPlace,
  nowMs: number,
  details: RejectDetails = {},
): OutputRecord[] {
  const key = records.key(index);
  const value = records.value(index);
  const here = { topic: place.sourceTopic, partition: place.partition, offset: records.offset[index] };
  const { topic, partition, offset } = place.origin ?? here;
  const headers: RecordHeader[] = [
    [DEAD_LETTER_HEADERS.code, Buffer.from(code)],
    [DEAD_LETTER_HEADERS.message, Buffer.from(message.slice(0, MAX_MESSAGE))],
    [DEAD_LETTER_HEADERS.topic, Buffer.from(topic)],
    [DEAD_LETTER_HEADERS.partition, Buffer.from(String(partition))],
    [DEAD_LETTER_HEADERS.offset, Buffer.from(String(offset))],
    [DEAD_LETTER_HEADERS.timestamp, Buffer.from(String(records.timestampMs[index]))],
    [DEAD_LETTER_HEADERS.pipeline, Buffer.from(place.pipelineVersion)],
    ...Object.entries(details).map(([name, text]): RecordHeader => [name, Buffer.from(text.slice(0, MAX_MESSAGE))]),
  ];
  const whole = { topic: place.deadLetterTopic, headers, timestampMs: nowMs };
  if (key !== null && key.length > MAX_KEY_BYTES) {
    headers.push([DEAD_LETTER_HEADERS.keyBytes, Buffer.from(String(key.length))]);
    if (value === null) headers.push([DEAD_LETTER_HEADERS.nullValue, Buffer.from('true')]);
    return inParts({ ...whole, key: null }, Buffer.concat([key, value ?? Buffer.alloc(0)]));
  }
  const copiedKey = key === null ? null : Buffer.from(key);
  if (value === null || value.length <= PART_BYTES) {
    return [{ ...whole, key: copiedKey, value: value === null ? null : Buffer.from(value) }];
  }
  return inParts({ ...whole, key: copiedKey }, Buffer.from(value));
}

function inParts(whole: Omit<OutputRecord, 'value'>, value: Buffer): OutputRecord[] {
  const count = Math.max(1, Math.ceil(value.length / PART_BYTES));
  // Records without a key would be spread over the partitions; parts lie together.
  const partition = whole.key === null ? { partition: 0 } : {};
  return Array.from({ length: count }, (_, part) => ({
    ...whole,
    ...partition,
    value: value.subarray(part * PART_BYTES, (part + 1) * PART_BYTES),
    headers: [
      ...whole.headers,
      [DEAD_LETTER_HEADERS.part, Buffer.from(String(part))] as const,
      [DEAD_LETTER_HEADERS.parts, Buffer.from(String(count))] as const,
    ],
  }));
}

/** Puts a dead letter's parts together again. `parts` are the values in the order of their numbers. */
export function joinParts(
  parts: readonly Buffer[],
  headers: ReadonlyMap<string, string>,
): { readonly key: Buffer | null; readonly value: Buffer | null } {
  const joined = Buffer.concat(parts);
  const keyBytes = headers.get(DEAD_LETTER_HEADERS.keyBytes);
  if (keyBytes === undefined) return { key: null, value: joined };
  const isNull = headers.get(DEAD_LETTER_HEADERS.nullValue) === 'true';
  return { key: joined.subarray(0, Number(keyBytes)), value: isNull ? null : joined.subarray(Number(keyBytes)) };
}

/**
 * Watches the share of refused records. Runs and windows are counted record by record, so the line stops at the same
 * record wherever batches were cut. A restart begins to count anew, at the offset that was committed.
 */
export class DeadLetterGuard {
  private inARow = 0;
  private windowRecords = 0;
  private windowRejected = 0;

  constructor(private readonly limits: DeadLetterLimits) {}

  /**
   * Takes note of a batch: `rejected` are record indexes in order. Throws {@link StreamError} 'dead-letter-limit' when
   * a limit is passed; the batch is not processed then, and nothing of it is lost.
   */
  observe(records: RecordBatch, rejected: readonly { readonly recordIndex: number; readonly code: string }[]): void {
    const { burst, shareWindow } = this.limits;
    let next = 0;
    for (let index = 0; index < records.count; index++) {
      this.windowRecords += 1;
      if (next < rejected.length && rejected[next].recordIndex === index) {
        while (next < rejected.length && rejected[next].recordIndex === index) next++;
        this.inARow += 1;
        this.windowRejected += 1;
        if (this.inARow > burst) this.stop(records, index, rejected, `${this.inARow} records in a row`);
      } else {
        this.inARow = 0;
      }
      if (this.windowRecords >= shareWindow) this.endWindow(records, index, rejected);
    }
  }

  private endWindow(records: RecordBatch, index: number, rejected: readonly { readonly code: string }[]): void {
    const share = this.windowRejected / this.windowRecords;
    if (share > this.limits.share) {
      this.stop(records, index, rejected, `${Math.round(share * 100)} % of the last ${this.windowRecords} records`);
    }
    this.windowRecords = 0;
    this.windowRejected = 0;
  }

  private stop(
    records: RecordBatch,
    index: number,
    rejected: readonly { readonly code: string }[],
    what: string,
  ): never {
    const codes = new Map<string, number>();
    for (const { code } of rejected) codes.set(code, (codes.get(code) ?? 0) + 1);
    const listed = [...codes].sort((a, b) => b[1] - a[1]).map(([code, count]) => `${code} × ${count}`);
    throw new StreamError(
      'dead-letter-limit',
      `${what} could not be processed (up to offset ${records.offset[index]}; in this batch ${listed.slice(0, 3).join(', ')}). ` +
        'The task stops so that the topic is not drained into dead letters. Mend the producer or the decoder, ' +
        'or raise deadLetters.burst / deadLetters.share if this is expected',
    );
  }
}
