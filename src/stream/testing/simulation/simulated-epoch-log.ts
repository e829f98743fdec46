/**
 * Owns the client's side of epoch commits on the simulated log: requests that are repeated until a deadline, and doubt
 * past it. It promises what the port {@link EpochLog} does, and no more.
 */
import { CommitDoubtfulError, FencedError, OffsetOutOfRangeError, StreamError } from '../../errors.js';
import type { CommitReceipt, EpochLog, EpochWrites } from '../../ports.js';
import type { OutputRecord } from '../../records.js';
import type { RemoteStep } from './faults.js';
import { RefusedError, type SimulatedLog } from './simulated-log.js';
import { type Fetched, NotInLogError, type SimulatedPartition } from './simulated-partition.js';
import { NoAnswerError, RetriableError, type SimulatedProcess } from './simulated-process.js';

const REQUEST_TIMEOUT_MS = 200;
const COMMIT_DEADLINE_MS = 900;
/** Long enough for every simulated trouble to pass: giving up before would only start the task anew. */
const PATIENCE_MS = 120_000;
const RETRY_AFTER_MS = 7;
/** The sixth byte of a state-log record says what it is: 2 a checkpoint's pointer, 3 a seed, 4 a seal. */
const STEP_OF_KIND: readonly (RemoteStep | undefined)[] = [
  undefined,
  undefined,
  'end-epoch-with-pointer',
  'end-epoch-with-seed',
  'end-epoch-with-seal',
];

export interface EpochLogPlace {
  readonly taskId: string;
  readonly ownerId: string;
  readonly stateLog: SimulatedPartition;
  readonly maxRecordBytes: number;
  /** Entries that one fetch of the state log looks at. */
  readonly fetchLimit: () => number;
}

export class SimulatedEpochLog implements EpochLog {
  readonly maxRecordBytes: number;
  private producerEpoch: number | null = null;
  private committing = false;

  constructor(
    private readonly process: SimulatedProcess,
    private readonly log: SimulatedLog,
    private readonly place: EpochLogPlace,
  ) {
    this.maxRecordBytes = place.maxRecordBytes;
  }

  async fence(): Promise<void> {
    this.producerEpoch = null;
    this.producerEpoch = await this.persist('fence', () => this.log.fence(this.place.ownerId));
  }

  async commit(writes: EpochWrites): Promise<CommitReceipt> {
    const { producerEpoch } = this;
    if (producerEpoch === null || this.committing) {
      const why = this.committing ? 'another one is under way' : 'fence() has not succeeded since the last failure';
      throw new StreamError('commit-refused', `Task ${this.place.taskId} may not commit now: ${why}`);
    }
    this.committing = true;
    try {
      return await this.transact(producerEpoch, writes);
    } catch (error) {
      if (this.producerEpoch === producerEpoch) this.producerEpoch = null; // I3
      throw error;
    } finally {
      this.committing = false;
    }
  }

  async stateLogRange(): Promise<{ start: number; end: number }> {
    const { stateLog } = this.place;
    return this.persist('log-range', () => {
      stateLog.expectThere();
      return { start: stateLog.start, end: stateLog.stableEnd };
    });
  }

  async readStateLog(
    fromOffset: number,
    onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
  ): Promise<number> {
    let at = fromOffset;
    let end = Number.POSITIVE_INFINITY;
    while (at < end) {
      const fetched = await this.fetchStateLog(at);
      if (end === Number.POSITIVE_INFINITY) end = fetched.end;
      for (const record of fetched.records) {
        const lent = Buffer.from(record.value ?? Buffer.alloc(0));
        const settled = onRecord(lent, record.offset, record.offset + 1);
        if (settled instanceof Promise) await settled;
        // Lent until then: who kept it shall notice here, not on a real log.
        lent.fill(0xdd);
      }
      at = fetched.next;
    }
    return at;
  }

  async truncateStateLog(offset: number): Promise<void> {
    await this.process.request('truncate', () => this.log.truncate(this.place.stateLog, offset), REQUEST_TIMEOUT_MS);
  }

  async close(): Promise<void> {
    this.producerEpoch = null;
  }

  private async fetchStateLog(at: number): Promise<Fetched> {
    try {
      return await this.persist('log-read', () => this.place.stateLog.fetch(at, this.place.fetchLimit()));
    } catch (error) {
      if (error instanceof NotInLogError) throw new OffsetOutOfRangeError(error.message);
      throw error;
    }
  }

  private async transact(producerEpoch: number, writes: EpochWrites): Promise<CommitReceipt> {
    const { ownerId, stateLog } = this.place;
    const placed = this.placeAll(writes);
    const deadline = this.process.clock.monotonic() + COMMIT_DEADLINE_MS;
    let first = stateLog.end;
    await Promise.all(
      [...placed].map(async ([partition, records]) => {
        const offset = await this.resolved('produce', deadline, () =>
          this.log.produce(ownerId, producerEpoch, partition, records),
        );
        if (partition === stateLog) first = offset;
      }),
    );
    const [step = 'end-epoch'] = writes.stateLog.flatMap((value) => STEP_OF_KIND[value[5]] ?? []);
    const next = await this.resolved(step, deadline, () => this.log.commit(ownerId, producerEpoch));
    if (this.producerEpoch === producerEpoch) this.producerEpoch = next;
    // Behind our records lies the marker, which has no other owner.
    return { firstStateLogOffset: first, nextStateLogOffset: first + writes.stateLog.length + 1 };
  }

  /** Repeats a request of a commit until it is answered. Errors: fenced, and doubt after the deadline. */
  private async resolved<T>(step: RemoteStep, deadline: number, act: () => T): Promise<T> {
    for (;;) {
      try {
        return await this.process.request(step, act, REQUEST_TIMEOUT_MS);
      } catch (error) {
        if (error instanceof RefusedError && error.why === 'fenced') {
          throw new FencedError(`Task ${this.place.taskId} has a later owner`);
        }
        if (error instanceof RefusedError && error.why === 'timed-out')
          throw this.doubt('its transaction was given up');
        if (!isPassing(error)) throw error;
      }
      if (this.process.clock.monotonic() > deadline) throw this.doubt(`${step} got no answer in time`);
      await this.pause();
    }
  }

  /** As {@link resolved}, apart from any commit. */
  private async persist<T>(step: RemoteStep, act: () => T): Promise<T> {
    const deadline = this.process.clock.monotonic() + PATIENCE_MS;
    for (;;) {
      try {
        return await this.process.request(step, act, REQUEST_TIMEOUT_MS);
      } catch (error) {
        if (!isPassing(error)) throw error;
      }
      if (this.process.clock.monotonic() > deadline) throw new StreamError('log-unreachable', `${step}: no answer`);
      await this.pause();
    }
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => this.process.clock.schedule(RETRY_AFTER_MS, resolve));
  }

  private doubt(why: string): CommitDoubtfulError {
    return new CommitDoubtfulError(`Whether the epoch of task ${this.place.taskId} committed is not known: ${why}`);
  }

  private placeAll(writes: EpochWrites): Map<SimulatedPartition, OutputRecord[]> {
    const placed = new Map<SimulatedPartition, OutputRecord[]>();
    const add = (partition: SimulatedPartition, record: OutputRecord) => {
      const records = placed.get(partition);
      if (records === undefined) placed.set(partition, [record]);
      else records.push(record);
    };
    for (const record of writes.outputs) add(this.log.partitionFor(record), copied(record));
    const { stateLog } = this.place;
    for (const value of writes.stateLog) {
      if (value.length > this.maxRecordBytes) {
        throw new StreamError('record-too-large', `a state-log record of ${value.length} bytes is over the limit`);
      }
      const record = { key: null, value: Buffer.from(value), headers: [], timestampMs: this.process.clock.now() };
      add(stateLog, { topic: stateLog.topic, ...record });
    }
    return placed;
  }
}

const isPassing = (error: unknown) =>
  error instanceof NoAnswerError ||
  error instanceof RetriableError ||
  (error instanceof RefusedError && error.why === 'busy');

const copied = (record: OutputRecord): OutputRecord => ({
  ...record,
  key: record.key && Buffer.from(record.key),
  value: record.value && Buffer.from(record.value),
  headers: record.headers.map(([name, value]) => [name, Buffer.from(value)] as const),
});
