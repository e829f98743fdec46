/**
 * Owns epoch commits on the in-memory log: fencing by generation, atomic appends, and commits that go wrong on command.
 * Neighbours: `memory-log.ts` shares the partitions, the generations and the faults between all backends opened.
 */
import { CommitDoubtfulError, FencedError, OffsetOutOfRangeError, StreamError } from '../errors.js';
import type { CommitReceipt, EpochLog, EpochWrites } from '../ports.js';
import type { MemoryPartition } from './memory-partition.js';

/**
 * How a commit goes wrong. `before`: not applied, outcome reported unknown. `after`: applied, outcome reported unknown.
 * `late`: outcome reported unknown, and applied only when somebody fences this task next, as a transaction is that its
 * broker had prepared. `fenced`: a later owner appears out of nowhere.
 */
export type CommitFault = 'before' | 'after' | 'late' | 'fenced';

/** What epoch logs of one task share over all backends of one memory log. */
export interface MemoryTask {
  generation: number;
  /** A commit in doubt that the next fence completes. */
  prepared: (() => void) | null;
}

/** What an epoch log needs from the log it belongs to. */
export interface MemoryCommitEnvironment {
  stateLogLimit(): number;
  partitionFor(topic: string, partition: number | undefined, key: Buffer | null): MemoryPartition;
  recordLimit(topic: string): number;
  /** Takes the fault that the next commit of this task is to meet, if any. */
  takeFault(taskId: string): CommitFault | null;
  /** Resolves when a commit may take effect: at once, or when a test lets it. */
  commitGate(): Promise<void>;
  now(): number;
}

export class MemoryEpochLog implements EpochLog {
  readonly maxRecordBytes: number;
  private generation: number | null = null;
  private committing = false;

  constructor(
    private readonly taskId: string,
    private readonly task: MemoryTask,
    private readonly stateLog: MemoryPartition,
    private readonly log: MemoryCommitEnvironment,
  ) {
    this.maxRecordBytes = log.stateLogLimit();
  }

  async fence(): Promise<void> {
    this.generation = null;
    await Promise.resolve();
    this.task.prepared?.();
    this.task.prepared = null;
    this.generation = ++this.task.generation;
  }

  async commit(writes: EpochWrites): Promise<CommitReceipt> {
    const generation = this.generation;
    if (generation === null || this.committing) {
      const why = this.committing ? 'another one is under way' : 'fence() has not succeeded since the last failure';
      throw new StreamError('commit-refused', `Task ${this.taskId} may not commit now: ${why}`);
    }
    this.committing = true;
    try {
      await this.log.commitGate();
      return this.apply(generation, writes);
    } catch (error) {
      // Only if nobody fenced anew meanwhile: this failure says nothing about the generation that came after. // I3
      if (this.generation === generation) this.generation = null;
      throw error;
    } finally {
      this.committing = false;
    }
  }

  async stateLogRange(): Promise<{ start: number; end: number }> {
    return { start: this.stateLog.start, end: this.stateLog.end };
  }

  async readStateLog(
    fromOffset: number,
    onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
  ): Promise<number> {
    await Promise.resolve();
    const { topic, partition, start, end } = this.stateLog;
    if (fromOffset < start || fromOffset > end) {
      throw new OffsetOutOfRangeError(
        `State log ${topic}/${partition} of task ${this.taskId} holds ${start} to ${end}, not ${fromOffset}`,
      );
    }
    for (const record of this.stateLog.slice(fromOffset, Number.POSITIVE_INFINITY)) {
      if (record.offset >= end) break;
      const lent = Buffer.from(record.value ?? Buffer.alloc(0));
      const settled = onRecord(lent, record.offset, record.offset + 1);
      if (settled instanceof Promise) await settled;
      // The buffer was lent until then; who kept it shall notice here, not on a real log.
      lent.fill(0xdd);
    }
    return end;
  }

  async truncateStateLog(offset: number): Promise<void> {
    this.stateLog.truncate(offset);
  }

  async close(): Promise<void> {
    this.generation = null;
  }

  private apply(generation: number, writes: EpochWrites): CommitReceipt {
    const fault = this.log.takeFault(this.taskId);
    if (fault === 'fenced') this.task.generation++;
    if (generation !== this.task.generation) {
      throw new FencedError(`Task ${this.taskId} has a later owner; this one must stop and drop what it holds`);
    }
    const appends = this.placeAll(writes);
    if (fault === 'before') {
      for (const [partition, records] of appends) partition.appendGap(records.length + 1);
      wakeAll(appends);
      throw this.doubt();
    }
    if (fault === 'late') {
      this.task.prepared = () => appendAll(appends);
      throw this.doubt();
    }
    const firstStateLogOffset = this.stateLog.end;
    appendAll(appends);
    if (fault === 'after') throw this.doubt();
    return { firstStateLogOffset, nextStateLogOffset: this.stateLog.end };
  }

  private doubt(): CommitDoubtfulError {
    return new CommitDoubtfulError(`Whether the epoch of task ${this.taskId} committed is not known; fence and look`);
  }

  /** Finds every record its partition and checks sizes, so that nothing is appended if something is wrong. */
  private placeAll(writes: EpochWrites): Appends {
    const appends: Appends = new Map();
    const place = (partition: MemoryPartition, record: PlacedRecord) => {
      const records = appends.get(partition);
      if (records) records.push(record);
      else appends.set(partition, [record]);
    };
    for (const record of writes.outputs) {
      const limit = this.log.recordLimit(record.topic);
      const size = (record.key?.length ?? 0) + (record.value?.length ?? 0);
      if (size > limit) throw tooLarge(record.topic, size, limit);
      const { key, value, headers, timestampMs } = record;
      place(this.log.partitionFor(record.topic, record.partition, key), {
        key: key && Buffer.from(key),
        value: value && Buffer.from(value),
        headers: headers.map(([name, bytes]) => [name, Buffer.from(bytes)] as const),
        timestampMs,
      });
    }
    for (const value of writes.stateLog) {
      if (value.length > this.maxRecordBytes) throw tooLarge(this.stateLog.topic, value.length, this.maxRecordBytes);
      place(this.stateLog, { key: null, value: Buffer.from(value), headers: [], timestampMs: this.log.now() });
    }
    return appends;
  }
}

type PlacedRecord = Parameters<MemoryPartition['append']>[0];
type Appends = Map<MemoryPartition, PlacedRecord[]>;

/** Appends to every partition, each followed by its commit marker's gap, and only then wakes readers. */
function appendAll(appends: Appends): void {
  for (const [partition, records] of appends) {
    for (const record of records) partition.append(record);
    partition.appendGap(1);
  }
  wakeAll(appends);
}

function wakeAll(appends: Appends): void {
  for (const partition of appends.keys()) partition.wake();
}

/** Says which topic refused a record for its size. */
export function tooLarge(topic: string, sizeBytes: number, limitBytes: number): StreamError {
  return new StreamError(
    'record-too-large',
    `A record of ${sizeBytes} bytes for ${topic} is over the topic's limit of ${limitBytes}; raise maxRecordBytes or send less`,
  );
}
