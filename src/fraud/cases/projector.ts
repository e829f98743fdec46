/**
 * Owns bringing alerts from the log into the database: one lane a partition of the alerts topic, new partitions found
 * as they appear. Neighbours: `projector-lane.ts` reads and stores one partition, `projection.ts` is the database's door.
 *
 * Invariants: an alert and the position behind it are stored together or not at all; every alert of the log is stored
 * once; a gap that can't be explained stops its lane, it is never skipped.
 */

import { StreamError } from '../../stream/errors.js';
import type { Clock, LogBackend } from '../../stream/ports.js';
import type { AlertProjection, AppendResult, LaneState, ProjectorStatus, ProjectorStatusSource } from './projection.js';
import { type LaneParts, ProjectorLane } from './projector-lane.js';

export interface ProjectorParts {
  readonly topic: string;
  readonly backend: Pick<LogBackend, 'openReader'>;
  /** Partitions of the topic; null while it does not exist. */
  partitionCount(topic: string): Promise<number | null>;
  readonly projection: AlertProjection;
  readonly clock: Clock;
  /** Told of trouble, to be logged. `retryInMs` null: the lane has stopped for good. */
  onTrouble?(partition: number, error: StreamError, retryInMs: number | null): void;
}

const DISCOVER_MS = 30_000;
const DISCOVER_SOON_MS = 1_000;
/** Worst first: what the whole is called when its partitions differ. */
const WORST_FIRST: readonly LaneState[] = ['failed', 'retrying', 'starting', 'running', 'stopped'];

export class Projector implements ProjectorStatusSource {
  private readonly lanes: ProjectorLane[] = [];
  private readonly running: Promise<void>[] = [];
  private totals: AppendResult = { stored: 0, repeated: 0, unreadable: 0 };
  private discoveryError: StreamError | null = null;
  private stopping = false;
  private cancelDiscovery: () => void = () => {};
  private discovering: Promise<void> = Promise.resolve();

  constructor(private readonly parts: ProjectorParts) {}

  /** Begins to read. Returns at once; trouble shows in `status` and is retried. */
  start(): void {
    this.discovering = this.discover();
  }

  /** Lets batches at hand be stored, then lets go of all readers. */
  async stop(): Promise<void> {
    this.stopping = true;
    this.cancelDiscovery();
    await this.discovering;
    await Promise.all(this.lanes.map((lane) => lane.stop()));
    await Promise.all(this.running);
  }

  status(): ProjectorStatus {
    const partitions = this.lanes.map((lane) => lane.status());
    const found = (state: LaneState) => partitions.find((lane) => lane.state === state);
    const state = WORST_FIRST.find((candidate) => found(candidate) !== undefined) ?? 'starting';
    const lag = partitions.reduce((sum, lane) => sum + Math.max(0, lane.endOffset - Math.max(lane.nextOffset, 0)), 0);
    const trouble = this.discoveryError;
    return {
      topic: this.parts.topic,
      state: trouble !== null && state !== 'failed' ? 'retrying' : state,
      error: found(state)?.error ?? (trouble === null ? null : { code: trouble.code, message: trouble.message }),
      partitions,
      ...this.totals,
      lag,
    };
  }

  /** Opens lanes for partitions that have none, and looks again later. */
  private async discover(): Promise<void> {
    let delayMs = DISCOVER_MS;
    try {
      const count = (await this.parts.partitionCount(this.parts.topic)) ?? 0;
      this.discoveryError = null;
      while (!this.stopping && this.lanes.length < count) this.open(this.lanes.length);
      if (count === 0) delayMs = DISCOVER_SOON_MS;
    } catch (thrown) {
      const message = thrown instanceof Error ? thrown.message : String(thrown);
      this.discoveryError = new StreamError('alerts-topic-unknown', `Asking for the alerts topic: ${message}`, {
        cause: thrown,
      });
      delayMs = DISCOVER_SOON_MS;
      this.parts.onTrouble?.(-1, this.discoveryError, delayMs);
    }
    if (this.stopping) return;
    this.cancelDiscovery = this.parts.clock.schedule(delayMs, () => {
      this.discovering = this.discover();
    });
  }

  private open(partition: number): void {
    const lane = new ProjectorLane(this.laneParts(), partition);
    this.lanes.push(lane);
    this.running.push(lane.run());
  }

  private laneParts(): LaneParts {
    const { topic, backend, projection, clock } = this.parts;
    return {
      topic,
      backend,
      projection,
      clock,
      onStored: ({ stored, repeated, unreadable }) => {
        const { totals } = this;
        this.totals = {
          stored: totals.stored + stored,
          repeated: totals.repeated + repeated,
          unreadable: totals.unreadable + unreadable,
        };
      },
      onTrouble: (lane, error, retryInMs) => this.parts.onTrouble?.(lane, error, retryInMs),
    };
  }
}
