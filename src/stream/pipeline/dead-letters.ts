/**
 * Owns the dead letter: the form in which a refused record goes to the dead-letter topic (raw key and bytes as they
 * came, what was wrong and where it came from in the headers), and the limits past which the line stops instead of
 * draining a topic there. Neighbours: the task turns a source's rejects into these; `cli` lists and replays them.
 */
import { StreamError } from '../errors.js';
import type { OutputRecord, RecordBatch } from '../records.js';
import type { DeadLetterLimits } from './pipeline.js';

/** Names of a dead letter's headers. */
export const DEAD_LETTER_HEADERS = {
  code: 'error.code',
  message: 'error.message',
  topic: 'source.topic',
  partition: 'source.partition',
  offset: 'source.offset',
  timestamp: 'source.timestamp',
  pipeline: 'pipeline.version',
} as const;

/** Longest error message kept in a header, in characters. */
const MAX_MESSAGE = 500;

export interface DeadLetterPlace {
  readonly deadLetterTopic: string;
  readonly sourceTopic: string;
  readonly partition: number;
  readonly pipelineVersion: string;
}

/** The record to write: the raw key and value of `records[index]`, byte for byte (copied: the batch is reused). */
export function deadLetter(
  records: RecordBatch,
  index: number,
  code: string,
  message: string,
  place: DeadLetterPlace,
  nowMs: number,
): OutputRecord {
  const key = records.key(index);
  const value = records.value(index);
  return {
    topic: place.deadLetterTopic,
    key: key === null ? null : Buffer.from(key),
    value: value === null ? null : Buffer.from(value),
    headers: [
      [DEAD_LETTER_HEADERS.code, Buffer.from(code)],
      [DEAD_LETTER_HEADERS.message, Buffer.from(message.slice(0, MAX_MESSAGE))],
      [DEAD_LETTER_HEADERS.topic, Buffer.from(place.sourceTopic)],
      [DEAD_LETTER_HEADERS.partition, Buffer.from(String(place.partition))],
      [DEAD_LETTER_HEADERS.offset, Buffer.from(String(records.offset[index]))],
      [DEAD_LETTER_HEADERS.timestamp, Buffer.from(String(records.timestampMs[index]))],
      [DEAD_LETTER_HEADERS.pipeline, Buffer.from(place.pipelineVersion)],
    ],
    timestampMs: nowMs,
  };
}

/** Watches the share of refused records. Windows are counted in records, so a replay stops at the same place. */
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
    this.countRuns(records, rejected);
    this.windowRecords += records.count;
    this.windowRejected += rejected.length;
    if (this.windowRecords < this.limits.shareWindow) return;
    const share = this.windowRejected / this.windowRecords;
    if (share > this.limits.share) {
      this.stop(records, rejected, `${Math.round(share * 100)} % of the last ${this.windowRecords} records`);
    }
    this.windowRecords = 0;
    this.windowRejected = 0;
  }

  private countRuns(
    records: RecordBatch,
    rejected: readonly { readonly recordIndex: number; readonly code: string }[],
  ): void {
    let previous = -1;
    for (const { recordIndex } of rejected) {
      this.inARow = recordIndex === previous + 1 ? this.inARow + 1 : 1;
      previous = recordIndex;
      if (this.inARow > this.limits.burst) this.stop(records, rejected, `${this.inARow} records in a row`);
    }
    if (previous !== records.count - 1) this.inARow = 0;
  }

  private stop(records: RecordBatch, rejected: readonly { readonly code: string }[], what: string): never {
    const codes = new Map<string, number>();
    for (const { code } of rejected) codes.set(code, (codes.get(code) ?? 0) + 1);
    const listed = [...codes].sort((a, b) => b[1] - a[1]).map(([code, count]) => `${code} × ${count}`);
    throw new StreamError(
      'dead-letter-limit',
      `${what} could not be processed (near offset ${records.fromOffset}; ${listed.slice(0, 3).join(', ')}). ` +
        'The task stops so that the topic is not drained into dead letters. Mend the producer or the decoder, ' +
        'or raise dead-letters.burst / dead-letters.share if this is expected',
    );
  }
}
