/**
 * Owns the broadcast inputs of a task: one reader a compacted topic, fetched in the background, applied at epoch
 * boundaries alone, so that no epoch sees half an update. The positions applied go into the epoch's delta.
 */
import { StreamError } from '../errors.js';
import type { BroadcastState } from '../pipeline/pipeline.js';
import type { Clock, LogBackend, PartitionReader } from '../ports.js';
import { RecordBatch } from '../records.js';

interface Input {
  readonly id: string;
  readonly state: BroadcastState;
  readonly reader: PartitionReader;
  /** Holds updates that no epoch has begun with yet. */
  isNew: boolean;
}

const BATCH = 512;
const START_TIMEOUT_MS = 30_000;

export class BroadcastInputs {
  private readonly batch = new RecordBatch(BATCH);

  private constructor(private readonly inputs: Input[]) {}

  /**
   * Opens every input and reads it to its present end, and at least to `cursors`: a task must not go on with older
   * rules than its last epoch had. Errors: 'broadcast-unreadable' when that takes over 30 s.
   */
  static async open(
    states: readonly BroadcastState[],
    backend: LogBackend,
    cursors: Readonly<Record<string, number>>,
    clock: Clock,
  ): Promise<BroadcastInputs> {
    const inputs: Input[] = [];
    const opened = new BroadcastInputs(inputs);
    try {
      // Together, since a restart waits for them; all have ended, well or not, before what is open may be closed.
      const added = await Promise.allSettled(
        states.map((state) => opened.add(state, backend, cursors[state.id] ?? 0, clock)),
      );
      for (const one of added) if (one.status === 'rejected') throw one.reason;
      // In the order of the steps, whichever was read first.
      inputs.sort((a, b) => states.indexOf(a.state) - states.indexOf(b.state));
      return opened;
    } catch (error) {
      await opened.close();
      throw error;
    }
  }

  /** Applies everything fetched so far; whether an epoch is to begin with it. Only between epochs. */
  applyPending(): boolean {
    for (const input of this.inputs) this.drain(input);
    return this.inputs.some(({ isNew }) => isNew);
  }

  /** States that were updated since the last call; all of them at the first one. For the epoch that begins now. */
  takeUpdated(): readonly BroadcastState[] {
    const updated = this.inputs.filter(({ isNew }) => isNew);
    for (const input of updated) input.isNew = false;
    return updated.map(({ state }) => state);
  }

  /** Resolves when `applyPending` may find something, after `timeoutMs`, or on close. Rejects if reading failed. */
  async whenPending(timeoutMs: number): Promise<void> {
    // Without inputs nothing ever comes.
    await Promise.race(this.inputs.map(({ reader }) => reader.whenReadable(timeoutMs)));
  }

  /** Positions applied, by step id. */
  get cursors(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.inputs.map(({ id, reader }) => [id, reader.position]));
  }

  async close(): Promise<void> {
    await Promise.all(this.inputs.map(({ reader }) => reader.close()));
  }

  private async add(state: BroadcastState, backend: LogBackend, cursor: number, clock: Clock): Promise<void> {
    const reader = await backend.openReader({
      topic: state.topic,
      partition: 0,
      from: 'earliest',
      bufferBytes: 1 << 20,
    });
    const input: Input = { id: state.id, state, reader, isNew: true };
    this.inputs.push(input);
    await this.catchUp(input, cursor, clock);
  }

  private async catchUp(input: Input, cursor: number, clock: Clock): Promise<void> {
    const target = Math.max(await input.reader.endOffset(), cursor);
    const deadline = clock.monotonic() + START_TIMEOUT_MS;
    for (;;) {
      this.drain(input);
      if (input.reader.position >= target) return;
      if (clock.monotonic() > deadline) {
        throw new StreamError(
          'broadcast-unreadable',
          `${input.state.topic} could not be read up to offset ${target} within ${START_TIMEOUT_MS / 1000} s (at ${input.reader.position}); was the topic made anew?`,
        );
      }
      await input.reader.whenReadable(200);
    }
  }

  private drain(input: Input): void {
    const { batch } = this;
    for (let rounds = 0; rounds < 1000; rounds++) {
      const before = input.reader.position;
      const count = input.reader.read(batch);
      for (let i = 0; i < count; i++) input.state.apply(batch.key(i), batch.value(i));
      if (count > 0) input.isNew = true;
      if (count === 0 && input.reader.position === before) return;
    }
  }
}
