/**
 * Owns the projection of one partition: reads alerts, stores them with the position, begins again from the stored
 * position whenever anything went wrong. Neighbours: `projector.ts` runs one lane a partition.
 *
 * The database's position is the only authority: after any error the reader is closed and opened anew from there, so a
 * batch whose outcome is not known is read again, and alerts that were stored are recognised by their ids.
 */
import { asStreamError, CorruptDataError, OffsetOutOfRangeError, StreamError } from '../../stream/errors.js';
import type { Clock, LogBackend, PartitionReader } from '../../stream/ports.js';
import { RecordBatch } from '../../stream/records.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
import { Signal } from '../../stream/runtime/signal.js';
import { AlertUnreadableError, decodeAlert } from '../alerts/encode-alert.js';
import type {
  AlertProjection,
  AppendResult,
  LaneState,
  LaneStatus,
  ProjectedBatch,
  UnreadableRecord,
} from './projection.js';

export interface LaneParts {
  readonly topic: string;
  readonly backend: Pick<LogBackend, 'openReader'>;
  readonly projection: AlertProjection;
  readonly clock: Clock;
  onStored(result: AppendResult): void;
  onTrouble(partition: number, error: StreamError, retryInMs: number | null): void;
}

const BATCH_RECORDS = 500;
/** How long a reader waits before it looks for gaps. */
const QUIET_MS = 1_000;
/** A position that only passed gaps is stored this seldom: often enough that retention never overtakes it. */
const GAP_STORE_MS = 10_000;

export class ProjectorLane {
  private state: LaneState = 'starting';
  private error: StreamError | null = null;
  private nextOffset = -1;
  private endOffset = -1;
  private retries = 0;
  private stopping = false;
  private reader: PartitionReader | null = null;
  private readonly pause: Signal;
  private readonly batch = new RecordBatch(BATCH_RECORDS);

  constructor(
    private readonly parts: LaneParts,
    readonly partition: number,
  ) {
    this.pause = new Signal(parts.clock);
  }

  status(): LaneStatus {
    const { partition, state, error, nextOffset, endOffset, retries } = this;
    const told = error === null ? null : { code: error.code, message: error.message };
    return { partition, state, error: told, nextOffset, endOffset, retries };
  }

  /** Runs until stopped or failed. Never rejects. */
  async run(): Promise<void> {
    while (!this.stopping) {
      try {
        await this.project();
      } catch (thrown) {
        const error = asStreamError(thrown, 'projection-failed');
        if (this.stopping) break;
        if (this.mustStop(error)) return;
        const delayMs = retryDelayMs(this.retries++);
        this.state = 'retrying';
        this.error = error;
        this.parts.onTrouble(this.partition, error, delayMs);
        await this.pause.wait(delayMs);
      }
    }
    this.state = 'stopped';
  }

  /** Lets the batch at hand finish; resolves `run`. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.pause.wake();
    const { reader } = this;
    this.reader = null;
    await reader?.close();
  }

  private mustStop(error: StreamError): boolean {
    if (!(error instanceof OffsetOutOfRangeError) && !(error instanceof CorruptDataError)) return false;
    this.state = 'failed';
    this.error = new StreamError(
      error.code,
      `The projector can't read ${this.parts.topic}-${this.partition} from its stored position ${this.nextOffset}: ` +
        `${error.message}. Alerts in between were removed before they were stored. To go on with what the log still ` +
        `holds, delete the row of topic '${this.parts.topic}', partition ${this.partition} from the table ` +
        'projector_offsets and start again; stored alerts are not doubled.',
      { cause: error },
    );
    this.parts.onTrouble(this.partition, this.error as StreamError, null);
    return true;
  }

  private async project(): Promise<void> {
    const { topic, backend, projection } = this.parts;
    const stored = (await projection.positions(topic)).get(this.partition);
    if (stored !== undefined) this.nextOffset = stored;
    const reader = await backend.openReader({ topic, partition: this.partition, from: stored ?? 'earliest' });
    this.reader = reader;
    try {
      await this.follow(reader);
    } finally {
      // `stop` takes the reader away when it closes it.
      if (this.reader === reader) {
        this.reader = null;
        await reader.close();
      }
    }
  }

  private async follow(reader: PartitionReader): Promise<void> {
    let storedOffset = reader.position;
    let storedAtMs = this.parts.clock.monotonic();
    this.endOffset = await reader.endOffset();
    while (!this.stopping) {
      const count = reader.read(this.batch);
      this.endOffset = Math.max(reader.knownEndOffset, reader.position);
      const now = this.parts.clock.monotonic();
      const gapDue = reader.position > storedOffset && now - storedAtMs >= GAP_STORE_MS;
      if (count > 0 || gapDue) {
        this.parts.onStored(await this.parts.projection.append(this.take(count, reader.position)));
        storedOffset = reader.position;
        storedAtMs = now;
      }
      this.nextOffset = reader.position;
      this.state = 'running';
      this.error = null;
      this.retries = 0;
      if (count === 0) await reader.whenReadable(QUIET_MS);
    }
  }

  private take(count: number, nextOffset: number): ProjectedBatch {
    const alerts: { offset: number; alert: ReturnType<typeof decodeAlert> }[] = [];
    const unreadable: UnreadableRecord[] = [];
    for (let index = 0; index < count; index++) {
      const offset = this.batch.offset[index];
      const value = this.batch.value(index);
      try {
        alerts.push({ offset, alert: decodeAlert(value) });
      } catch (error) {
        if (!(error instanceof AlertUnreadableError)) throw error;
        unreadable.push({ offset, value: value === null ? null : Buffer.from(value), reason: error.message });
      }
    }
    return { topic: this.parts.topic, partition: this.partition, alerts, unreadable, nextOffset };
  }
}
