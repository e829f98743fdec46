/**
 * Owns committing epochs to Kafka and reading a task's state log back: one Kafka transaction an epoch, on the outputs'
 * partitions and one state-log partition. Connections are the log's own, so tasks do not wait for one another.
 * Neighbours: `transaction.ts` speaks the transaction protocol, `state-log.ts` reads, `placement.ts` sorts records.
 *
 * After any rejected commit nothing more is committed until `fence` has succeeded (I3); a commit whose outcome is
 * known to be "no" for good (a record too large, a missing ACL) rejects with that reason, any doubt as doubt.
 */
import { CommitDoubtfulError, FencedError, StreamError } from '../../stream/errors.js';
import type { CommitReceipt, EpochLog, EpochWrites } from '../../stream/ports.js';
import type { OutputRecord } from '../../stream/records.js';
import type { OutgoingBatch } from './delivery.js';
import { KafkaError, told } from './errors.js';
import { deleteRecordsBefore, type Leaders, offsetOf } from './leader.js';
import type { PartitionQueue, Placement } from './placement.js';
import { committedRange, readCommitted, type StateLogPlace } from './state-log.js';
import type { Transaction } from './transaction.js';

export interface EpochLogParts {
  readonly taskId: string;
  readonly stateLog: StateLogPlace;
  readonly leaders: Leaders;
  readonly transaction: Transaction;
  readonly placement: Placement;
  readonly maxRecordBytes: number;
  /** Wall clock, ms since 1970: the time of state-log records. */
  readonly now: () => number;
}

/** A commit failed for a reason that fencing again cannot cure, and that proves that nothing was committed. */
const DEFINITE: ReadonlySet<string> = new Set(['record-too-large', 'kafka-denied', 'kafka-topic-missing']);

export class KafkaEpochLog implements EpochLog {
  readonly maxRecordBytes: number;
  private state: 'unfenced' | 'idle' | 'committing' | 'closed' = 'unfenced';
  /** Behind the last commit's marker: readers of this log wait until it is visible. */
  private committedTo = 0;

  constructor(private readonly parts: EpochLogParts) {
    this.maxRecordBytes = parts.maxRecordBytes;
  }

  async fence(): Promise<void> {
    if (this.state === 'committing') throw this.commitRefused('a commit is under way');
    this.state = 'unfenced';
    await this.parts.transaction.takeOver();
    this.state = 'idle';
  }

  async commit(writes: EpochWrites): Promise<CommitReceipt> {
    if (this.state === 'committing') throw this.commitRefused('another one is under way');
    if (this.state !== 'idle') throw this.commitRefused('fence() has not succeeded since the last failure');
    this.state = 'committing';
    try {
      const receipt = await this.commitOnce(writes);
      this.committedTo = Math.max(this.committedTo, receipt.nextStateLogOffset);
      this.state = 'idle';
      return receipt;
    } catch (error) {
      this.state = 'unfenced';
      throw await this.rejected(error);
    }
  }

  async stateLogRange(): Promise<{ readonly start: number; readonly end: number }> {
    return committedRange(this.parts.leaders, this.parts.stateLog, this.committedTo);
  }

  async readStateLog(
    fromOffset: number,
    onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
  ): Promise<number> {
    const range = await this.stateLogRange();
    return readCommitted(this.parts.leaders, this.parts.stateLog, fromOffset, range, onRecord);
  }

  async truncateStateLog(offset: number): Promise<void> {
    const { topic, partition } = this.parts.stateLog;
    await deleteRecordsBefore(this.parts.leaders, topic, partition, offset);
  }

  async close(): Promise<void> {
    this.state = 'closed';
    await this.parts.leaders.links.close();
  }

  private async commitOnce(writes: EpochWrites): Promise<CommitReceipt> {
    const { transaction, placement } = this.parts;
    const own = this.stateLogRecords(writes.stateLog);
    const queues = await placement.place([...own, ...writes.outputs]);
    // A broker refuses to end a transaction that never began (48).
    if (queues.length === 0) return this.receiptWithoutStateLog();
    const delivered = await transaction.deliver(queues);
    const placed = own.length === 0 ? null : await this.placeOf(queues[0], delivered.get(queues[0]) ?? []);
    await transaction.commit();
    if (placed === null) return this.receiptWithoutStateLog();
    // The commit marker takes one offset behind the last record.
    return { firstStateLogOffset: placed.first, nextStateLogOffset: placed.last + 2 };
  }

  private stateLogRecords(values: readonly Buffer[]): OutputRecord[] {
    const { topic, partition } = this.parts.stateLog;
    const timestampMs = this.parts.now();
    return values.map((value) => {
      if (value.length > this.maxRecordBytes) {
        throw new KafkaError(
          'record-too-large',
          `A state-log value of ${value.length} bytes for ${topic}-${partition} is over the limit of ${this.maxRecordBytes}; raise the topic's max.message.bytes or send less`,
        );
      }
      return { topic, partition, key: null, value, headers: [], timestampMs };
    });
  }

  /** First and last offset of the state-log records, before the marker is written. */
  private async placeOf(
    queue: PartitionQueue,
    batches: readonly OutgoingBatch[],
  ): Promise<{ first: number; last: number }> {
    const count = queue.records.length;
    const first = batches[0]?.baseOffset ?? -1;
    const newest = batches.at(-1);
    if (first >= 0 && newest !== undefined && newest.baseOffset >= 0) {
      return { first, last: newest.baseOffset + newest.count - 1 };
    }
    // A batch sent twice was recognised without its offset. Only this task writes here, so it is the last thing there.
    const end = await offsetOf(this.parts.leaders, queue.topic, queue.partition, 'written-end');
    return { first: end - count, last: end - 1 };
  }

  private async receiptWithoutStateLog(): Promise<CommitReceipt> {
    const { end } = await this.stateLogRange();
    return { firstStateLogOffset: end, nextStateLogOffset: end };
  }

  private async rejected(error: unknown): Promise<Error> {
    if (error instanceof FencedError) return error;
    const reason = told(error, 'commit', `task ${this.parts.taskId}`);
    if (reason instanceof StreamError && DEFINITE.has(reason.code)) {
      await this.parts.transaction.abort();
      return reason;
    }
    return new CommitDoubtfulError(
      `Whether the epoch of task ${this.parts.taskId} committed is not known (${reason.message}); fence and read the state log`,
      { cause: reason },
    );
  }

  private commitRefused(why: string): StreamError {
    return new StreamError('commit-refused', `Task ${this.parts.taskId} may not commit now: ${why}`);
  }
}
