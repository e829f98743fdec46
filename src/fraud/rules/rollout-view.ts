/**
 * Owns what is known of a roll-out: the newest take-up of each task and the newest trip of each rule in each task, read
 * from the compacted topic in which tasks tell of them. Read-only but for trips, which are handed on so that the rule
 * is paused everywhere. Pipelines may share the topic: what tasks of another one tell is no part of this roll-out.
 * Neighbours: `rollout.ts` says what is told, `rollout-view-trips.ts` hands trips on, the API shows.
 *
 *   reading from the beginning ──at the end then seen──► following
 *              ▲                                            │
 *              └──────────────── retrying ◄── any trouble ──┘    what was known stays until the new reading has caught up
 */
import { StreamError, whileDoing } from '../../stream/errors.js';
import { taskIdOf } from '../../stream/pipeline/pipeline.js';
import type { Clock, LogBackend, PartitionReader } from '../../stream/ports.js';
import { RecordBatch } from '../../stream/records.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
import { Signal } from '../../stream/runtime/signal.js';
import { type RolloutRecord, type RuleTrip, rolloutKey, rolloutRecordSchema, type TakeUp } from './rollout.js';
import { TripDelivery } from './rollout-view-trips.js';

export interface RolloutState {
  /** Of the source: so many tasks there are to hear of. 0 while that is not known. */
  readonly partitions: number;
  /** The newest of each task. */
  readonly takeUps: readonly TakeUp[];
  /** The newest of each rule in each task. */
  readonly trips: readonly RuleTrip[];
  /** Records read that tasks of other pipelines wrote into the same topic. */
  readonly leftOut: number;
  /** Why the rest may be old or not whole, in words; null where it is neither. */
  readonly trouble: string | null;
}

export interface RolloutView {
  /** Quick: asked at every request. */
  state(): RolloutState;
}

export interface RolloutReaderParts {
  readonly topic: string;
  /** The pipeline's name: its tasks alone count. */
  readonly pipeline: string;
  readonly backend: Pick<LogBackend, 'openReader'>;
  readonly clock: Clock;
  /** Partitions of the source; null while it does not exist. */
  sourcePartitions(): Promise<number | null>;
  /** Carries a trip out. Called again until it resolves, and for old trips at every start: repeating it must do nothing. */
  onTrip(trip: RuleTrip): Promise<unknown>;
  /** Told of trouble, to be logged. `retryInMs` null: a record was left out, and reading goes on. */
  onTrouble?(error: StreamError, retryInMs: number | null): void;
}

const BATCH_RECORDS = 256;
const BUFFER_BYTES = 256 * 1024;
/** Far more than tasks times rules that tripped; the oldest go first. */
const MOST_RECORDS = 10_000;
const QUIET_MS = 1_000;
const PARTITIONS_AGAIN_MS = 30_000;

export class RolloutReader implements RolloutView {
  private known: ReadonlyMap<string, RolloutRecord> = new Map();
  private leftOut = 0;
  private partitions = 0;
  private trouble: string | null = 'the roll-out topic has not been read yet';
  private failures = 0;
  private stopping = false;
  private reader: PartitionReader | null = null;
  private running: Promise<unknown> = Promise.resolve();
  private nextLookMs = Number.NEGATIVE_INFINITY;
  private readonly pause: Signal;
  private readonly trips: TripDelivery;
  private readonly caughtUp = Promise.withResolvers<void>();

  constructor(private readonly parts: RolloutReaderParts) {
    this.pause = new Signal(parts.clock);
    this.trips = new TripDelivery(parts);
  }

  /** Begins to read. Returns at once; trouble shows in `state` and is retried. */
  start(): void {
    this.running = Promise.all([this.run(), this.trips.run()]);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    this.trips.stop();
    this.pause.wake();
    await this.closeReader();
    await this.running;
  }

  state(): RolloutState {
    const records = [...this.known.values()];
    return {
      partitions: this.partitions,
      takeUps: records.filter((record) => record.kind === 'take-up'),
      trips: records.filter((record) => record.kind === 'rule-trip'),
      leftOut: this.leftOut,
      trouble: this.trouble,
    };
  }

  /** Resolves once everything that the topic held at the start has been read. */
  whenCaughtUp(): Promise<void> {
    return this.caughtUp.promise;
  }

  /** Never rejects. */
  private async run(): Promise<void> {
    while (!this.stopping) {
      try {
        await this.follow();
      } catch (thrown) {
        if (this.stopping) return;
        const delayMs = retryDelayMs(this.failures++);
        const error = whileDoing(thrown, 'rollout-unreadable', `Reading the roll-out topic ${this.parts.topic}`);
        this.trouble = error.message;
        this.parts.onTrouble?.(error, delayMs);
        await this.pause.wait(delayMs);
      }
    }
  }

  /** From the beginning each time: a topic made again may hold less than what is known. */
  private async follow(): Promise<void> {
    const { topic, backend } = this.parts;
    const reader = await backend.openReader({ topic, partition: 0, from: 'earliest', bufferBytes: BUFFER_BYTES });
    this.reader = reader;
    this.leftOut = 0;
    try {
      const end = await reader.endOffset();
      const records = new Map<string, RolloutRecord>();
      const batch = new RecordBatch(BATCH_RECORDS);
      while (!this.stopping) {
        await this.lookAtPartitions();
        const before = reader.position;
        const count = reader.read(batch);
        for (let index = 0; index < count; index++) this.take(records, batch, index);
        if (reader.position >= end && this.known !== records) this.adopt(records);
        if (count === 0 && reader.position === before) await reader.whenReadable(QUIET_MS);
      }
    } finally {
      await this.closeReader();
    }
  }

  private adopt(records: ReadonlyMap<string, RolloutRecord>): void {
    this.known = records;
    this.trouble = null;
    this.failures = 0;
    this.caughtUp.resolve();
    for (const record of records.values()) if (record.kind === 'rule-trip') this.trips.add(record);
  }

  private take(records: Map<string, RolloutRecord>, batch: RecordBatch, index: number): void {
    const value = batch.value(index);
    if (value === null) {
      records.delete(batch.key(index)?.toString('utf8') ?? '');
      return;
    }
    const record = recordIn(value);
    if (record === null) {
      this.parts.onTrouble?.(unreadable(this.parts.topic, batch.offset[index]), null);
      return;
    }
    if (record.taskId !== taskIdOf(this.parts.pipeline, record.partition)) {
      this.leftOut++;
      return;
    }
    const key = rolloutKey(record);
    // Taken out first, so that the newest lie last.
    records.delete(key);
    records.set(key, record);
    if (records.size > MOST_RECORDS) records.delete(records.keys().next().value ?? '');
    // While catching up, a later record may tell another story; `adopt` hands on what is left.
    if (records === this.known && record.kind === 'rule-trip') this.trips.add(record);
  }

  private async lookAtPartitions(): Promise<void> {
    const nowMs = this.parts.clock.monotonic();
    if (nowMs < this.nextLookMs) return;
    this.partitions = (await this.parts.sourcePartitions()) ?? 0;
    this.nextLookMs = nowMs + PARTITIONS_AGAIN_MS;
  }

  private async closeReader(): Promise<void> {
    const { reader } = this;
    this.reader = null;
    await reader?.close();
  }
}

function recordIn(value: Buffer): RolloutRecord | null {
  try {
    return rolloutRecordSchema.safeParse(JSON.parse(value.toString('utf8'))).data ?? null;
  } catch {
    // No JSON: the caller tells of it.
    return null;
  }
}

function unreadable(topic: string, offset: number): StreamError {
  return new StreamError(
    'rollout-record-unreadable',
    `Record ${offset} of ${topic} is no roll-out record of this version and is left out`,
  );
}
