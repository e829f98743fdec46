/**
 * Owns the embedded log as a `LogBackend`: the same ports as Kafka's, on LMDB in one directory, with no server. Opened
 * once a thread; threads and processes share the directory. Neighbours: the files of this folder do the parts; the
 * decision and its measurements are in `docs/adr/0003-embedded-log.md`.
 */
import { realpathSync } from 'node:fs';
import type {
  Assignment,
  AssignmentOptions,
  Clock,
  LogBackend,
  RecordWriter,
  StartPosition,
} from '../../stream/ports.js';
import { systemClock } from '../../stream/runtime/system-clock.js';
import { SoleAssignment } from '../../stream/sole-assignment.js';
import { CommitQueue, type Placement } from './commit-queue.js';
import { compactPartition, wantsCompaction } from './compaction.js';
import { EmbeddedEpochLog } from './epoch-log.js';
import { EMPTY_HEAD, headKey, readHead } from './partition-store.js';
import { placeRecords } from './placing.js';
import { EmbeddedReader } from './reader.js';
import { applyRetention, Fullness } from './retention.js';
import {
  type LogStore,
  logFull,
  openStore,
  readTopic,
  refresh,
  requirePartition,
  requireTopic,
  unknownTopic,
} from './store.js';
import { EmbeddedTopicAdmin } from './topics.js';
import { WakeUps } from './wake-up.js';

/** Plain data, so that it can be handed to a worker thread. */
export interface EmbeddedLogOptions {
  /** Where the log lies; made where it does not exist. A local disk, not a network one. */
  readonly directory: string;
  /** Largest size of the log's file; 8 GiB where left out. The same for everyone who opens the directory. */
  readonly maxBytes?: number;
  /** Bytes that a topic with cleanup 'delete' keeps, over all its partitions; 1 GiB where left out. */
  readonly retentionBytes?: number;
  /** How long such a topic keeps records if its spec does not say; 7 days where left out. */
  readonly retentionMs?: number;
}

const GIB = 1024 * 1024 * 1024;
const DAY_MS = 24 * 60 * 60 * 1000;
const DEFAULT_BUFFER_BYTES = 2 * 1024 * 1024;
/** Of the file's limit, the part that records may fill; the rest is for LMDB's trees, copies and free pages. */
const FILLABLE = 0.8;
const LOOK_AT_FULLNESS_MS = 1_000;
const LOOK_AT_AGE_MS = 60_000;
/** A partition may exceed its retention by this part before blocks are deleted, so that it is not done every time. */
const RETENTION_SLACK = 1 / 16;

/**
 * Opens the log in a directory. What a commit or write resolved for is on disk (synced), and survives SIGKILL and, if the
 * disk keeps its word, power loss. Errors: `log-unavailable`, `log-format`; later `log-full` from whatever writes.
 */
export async function openEmbeddedBackend(
  options: EmbeddedLogOptions,
  clock: Clock = systemClock,
): Promise<LogBackend> {
  const maxBytes = options.maxBytes ?? 8 * GIB;
  return new EmbeddedBackend(openStore(options.directory, maxBytes), options, maxBytes, clock);
}

class EmbeddedBackend implements LogBackend {
  readonly kind = 'embedded';
  private readonly wakeUps: WakeUps;
  private readonly queue: CommitQueue;
  private readonly retentionBytes: number;
  private readonly retentionMs: number;
  /** When a partition's oldest block was last looked at, monotonic ms. */
  private readonly ageLookedAt = new Map<string, number>();
  private readonly readers = new Set<EmbeddedReader>();
  private readonly assignments = new Set<SoleAssignment>();
  private closing: Promise<void> | null = null;

  constructor(
    private readonly store: LogStore,
    options: EmbeddedLogOptions,
    maxBytes: number,
    private readonly clock: Clock,
  ) {
    this.retentionBytes = options.retentionBytes ?? GIB;
    this.retentionMs = options.retentionMs ?? 7 * DAY_MS;
    this.wakeUps = new WakeUps(realpathSync(options.directory), clock, () => refresh(store));
    const fullness = new Fullness(store, clock, maxBytes * FILLABLE, LOOK_AT_FULLNESS_MS);
    const checkRoom = (sizeBytes: number) => {
      if (sizeBytes > 0 && !fullness.take(sizeBytes)) {
        throw logFull(store, `its records fill ${FILLABLE * 100} % of the limit of ${maxBytes} bytes`);
      }
    };
    this.queue = new CommitQueue(store, checkRoom, (placements) => this.afterWrite(placements));
  }

  async openReader(options: {
    readonly topic: string;
    readonly partition: number;
    readonly from: StartPosition;
    readonly bufferBytes?: number;
  }): Promise<EmbeddedReader> {
    const { topic, partition, from, bufferBytes = DEFAULT_BUFFER_BYTES } = options;
    refresh(this.store);
    const meta = requireTopic(this.store, topic);
    requirePartition(topic, meta, partition);
    const { start, end } = readHead(this.store, headKey(meta.id, partition)) ?? EMPTY_HEAD;
    const position = from === 'earliest' ? start : from === 'latest' ? end : from;
    const reader = new EmbeddedReader(
      this.store,
      this.wakeUps,
      topic,
      meta.id,
      partition,
      position,
      bufferBytes,
      (closed) => this.readers.delete(closed),
    );
    this.readers.add(reader);
    return reader;
  }

  async openEpochLog(options: {
    readonly taskId: string;
    readonly ownerId?: string;
    readonly stateLog: { readonly topic: string; readonly partition: number };
  }): Promise<EmbeddedEpochLog> {
    const { topic, partition } = options.stateLog;
    refresh(this.store);
    const meta = requireTopic(this.store, topic);
    requirePartition(topic, meta, partition);
    const ownerId = options.ownerId ?? options.taskId;
    return new EmbeddedEpochLog(this.store, this.queue, this.clock, ownerId, topic, meta, partition);
  }

  async openWriter(): Promise<RecordWriter> {
    let keylessPartition = 0;
    return {
      write: async (records) => {
        if (records.length === 0) return;
        refresh(this.store);
        await this.queue.submit(placeRecords(this.store, records, this.clock.now(), keylessPartition++), null);
      },
      close: async () => {},
    };
  }

  async openAdmin(): Promise<EmbeddedTopicAdmin> {
    return new EmbeddedTopicAdmin(this.store, this.retentionMs, () => this.wakeUps.signal());
  }

  /** One process alone runs tasks on a directory. */
  async openAssignment(options: AssignmentOptions): Promise<Assignment> {
    const { store, clock } = this;
    const assignment = new SoleAssignment({
      options,
      clock,
      topics: () => {
        refresh(store);
        const names = [...store.topics.getKeys()].map((key) => key.toString());
        return new Map(names.map((name) => [name, requireTopic(store, name).partitions]));
      },
      missing: (topic) => unknownTopic(store, topic),
    });
    this.assignments.add(assignment);
    return assignment;
  }

  close(): Promise<void> {
    this.closing ??= this.closeParts();
    return this.closing;
  }

  private async closeParts(): Promise<void> {
    for (const assignment of this.assignments) await assignment.leave();
    for (const reader of [...this.readers]) await reader.close();
    await this.queue.close();
    this.store.closed = true;
    this.wakeUps.close();
    await this.store.env.close();
  }

  /** Wakes readers, then keeps the partitions written to within their bounds. */
  private async afterWrite(placements: readonly Placement[]): Promise<void> {
    this.wakeUps.signal();
    refresh(this.store);
    for (const { topic, topicId, partition } of placements) {
      const head = readHead(this.store, headKey(topicId, partition));
      const meta = readTopic(this.store, topic);
      if (!head || meta?.id !== topicId || head.stateLog === 1) continue;
      if (meta.cleanup === 'compact') {
        if (!wantsCompaction(head.sizeBytes, head.compactedBytes)) continue;
        await compactPartition(this.store, topicId, partition, this.clock.now());
      } else if (meta.retentionMs >= 0) {
        const retentionBytes = this.retentionBytes / meta.partitions;
        const tooLarge = head.sizeBytes > retentionBytes * (1 + RETENTION_SLACK);
        if (!tooLarge && !this.isTimeToLookAtAge(`${topicId}/${partition}`)) continue;
        const limits = { retentionBytes, retentionMs: meta.retentionMs };
        await applyRetention(this.store, topicId, partition, limits, this.clock.now());
      }
      refresh(this.store);
    }
  }

  private isTimeToLookAtAge(partition: string): boolean {
    const now = this.clock.monotonic();
    if (now - (this.ageLookedAt.get(partition) ?? Number.NEGATIVE_INFINITY) < LOOK_AT_AGE_MS) return false;
    this.ageLookedAt.set(partition, now);
    return true;
  }
}
