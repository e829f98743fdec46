/**
 * Owns opening Kafka as a `LogBackend`: builds the parts and hands each its own connections. Nothing here is shared
 * between threads; every worker opens its own from the same options.
 * Neighbours: `reader.ts`, `epoch-log.ts`, `writer.ts`, `admin.ts`, `group/membership.ts` are what it opens.
 */
import type {
  Assignment,
  AssignmentOptions,
  EpochLog,
  LogBackend,
  PartitionReader,
  RecordWriter,
  StartPosition,
  TopicAdmin,
} from '../../stream/ports.js';
import { KafkaTopicAdmin } from './admin.js';
import { Coordinator } from './coordinator.js';
import { KafkaEpochLog } from './epoch-log.js';
import { told } from './errors.js';
import { transactionVersion } from './features.js';
import { GroupMembership } from './group/membership.js';
import type { Leaders } from './leader.js';
import { BrokerLinks } from './links.js';
import { type KafkaOptions, type KafkaSettings, kafkajsConfigOf, settingsOf } from './options.js';
import { Placement } from './placement.js';
import { openReader } from './reader.js';
import { RECORD_OVERHEAD_BYTES } from './records/encode.js';
import { HEADER_BYTES } from './records/format.js';
import { leaderOf, Topics } from './topics.js';
import { Transaction } from './transaction.js';
import { KafkaWriter } from './writer.js';

/** What cannot be cloned to a worker thread. */
export interface KafkaSurroundings {
  /** Told of trouble that is being retried, for logs. */
  readonly onTrouble?: (message: string) => void;
  /** Wall clock, ms since 1970. */
  readonly now?: () => number;
}

const DEFAULT_BUFFER_BYTES = 2 * 1024 * 1024;

/**
 * Opens Kafka. Errors: {@link KafkaError} 'kafka-options' for options that cannot work, 'kafka-unreachable' when no
 * broker answers (asked once each), 'kafka-denied' for wrong credentials.
 */
export async function openKafkaBackend(
  options: KafkaOptions,
  surroundings: KafkaSurroundings = {},
): Promise<LogBackend> {
  const settings = settingsOf(options);
  const links = new BrokerLinks(settings);
  try {
    return new KafkaBackend(settings, await transactionVersion(links, settings.transactions), surroundings);
  } catch (error) {
    throw told(error, 'connecting', settings.brokers.join(', '));
  } finally {
    await links.close();
  }
}

class KafkaBackend implements LogBackend {
  readonly kind = 'kafka';
  private readonly opened = new Set<{ close(): Promise<void> }>();
  private readonly memberships = new Map<string, GroupMembership>();
  private openings = 0;

  constructor(
    private readonly settings: KafkaSettings,
    private readonly version: 1 | 2,
    private readonly surroundings: KafkaSurroundings,
  ) {}

  async openReader(options: {
    readonly topic: string;
    readonly partition: number;
    readonly from: StartPosition;
    readonly bufferBytes?: number;
  }): Promise<PartitionReader> {
    const { fetchWaitMs, fetchBytes } = this.settings;
    return this.keep(this.leaders(), (leaders) =>
      openReader(leaders, {
        topic: options.topic,
        partition: options.partition,
        from: options.from,
        bufferBytes: options.bufferBytes ?? DEFAULT_BUFFER_BYTES,
        fetchWaitMs,
        fetchBytes,
        onTrouble: this.surroundings.onTrouble ?? (() => {}),
      }),
    );
  }

  async openEpochLog(options: {
    readonly taskId: string;
    readonly ownerId?: string;
    readonly stateLog: { readonly topic: string; readonly partition: number };
  }): Promise<EpochLog> {
    const { taskId, stateLog } = options;
    const { settings } = this;
    return this.keep(this.leaders(), async (leaders) => {
      leaderOf(await leaders.topics.view(stateLog.topic), stateLog.partition);
      const maxBatchBytes = await leaders.topics.maxBatchBytes(stateLog.topic);
      const transactionalId = options.ownerId ?? `${settings.transactionalIdPrefix}-${taskId}`;
      const coordinator = new Coordinator(leaders.links, 'transaction', transactionalId);
      return new KafkaEpochLog({
        taskId,
        stateLog,
        leaders,
        transaction: new Transaction(coordinator, leaders, { ...settings, version: this.version }),
        placement: new Placement(leaders.topics),
        maxRecordBytes: maxBatchBytes - HEADER_BYTES - RECORD_OVERHEAD_BYTES,
        now: this.surroundings.now ?? Date.now,
      });
    });
  }

  async openWriter(): Promise<RecordWriter> {
    return this.keep(this.leaders(), async (leaders) => new KafkaWriter(leaders, this.settings.requestTimeoutMs));
  }

  async openAdmin(): Promise<TopicAdmin> {
    return this.keep(this.leaders(), async (leaders) => {
      return new KafkaTopicAdmin({
        openKafkajs: async () => {
          const { default: kafkajs } = await import('kafkajs');
          return new kafkajs.Kafka(kafkajsConfigOf(this.settings)).admin();
        },
        leaders,
        replicationFactor: this.settings.replicationFactor,
        memberOf: (group) => this.memberships.get(group)?.identity ?? null,
      });
    });
  }

  async openAssignment(options: AssignmentOptions): Promise<Assignment> {
    const membership = new GroupMembership(this.settings, options, this.surroundings.onTrouble ?? (() => {}));
    this.memberships.set(options.group, membership);
    this.opened.add({ close: () => membership.leave() });
    return membership;
  }

  async close(): Promise<void> {
    const opened = [...this.opened];
    this.opened.clear();
    for (const part of opened) await part.close();
  }

  /** Connections of its own for each part; each begins with another broker of the list. */
  private leaders(): Leaders {
    const { settings } = this;
    const links = new BrokerLinks(settings, settings.requestTimeoutMs, this.openings++);
    return { links, topics: new Topics(links, settings.deadlineMs), deadlineMs: settings.deadlineMs };
  }

  /** Opens a part on `leaders`, which are closed again if that fails, and with the backend if nobody closed it before. */
  private async keep<Part extends { close(): Promise<void> }>(
    leaders: Leaders,
    open: (leaders: Leaders) => Promise<Part>,
  ): Promise<Part> {
    try {
      const part = await open(leaders);
      this.opened.add(part);
      leaders.links.onClosed = () => this.opened.delete(part);
      return part;
    } catch (error) {
      await leaders.links.close();
      throw error;
    }
  }
}
