/**
 * Owns what is known of topics: partitions, leaders, ids, batch limits; and finding them again when they moved.
 * Neighbours: `links.ts` carries the requests; `delivery.ts`, `reader.ts` and `offsets.ts` ask where to send.
 */
import { API } from 'kafka-ts';
import { brokerCodeOf, isConnectionLoss, KafkaError, LEADER_MOVED, refused, told } from './errors.js';
import type { BrokerLinks } from './links.js';
import { Backoff, Deadline, monotonicMs } from './waiting.js';

/** A topic as metadata told it last. */
export interface TopicView {
  readonly name: string;
  /** 32 hex digits; empty on brokers before 2.8. */
  readonly id: string;
  readonly partitions: number;
  /** Broker id by partition; -1 where there is no leader now. */
  readonly leaders: readonly number[];
  readonly leaderEpochs: readonly number[];
  /** Monotonic ms at which this was told. */
  readonly toldAtMs: number;
}

const UNKNOWN_TOPIC = 3;
/** How long a topic may be missing before it counts as gone: metadata of a new topic spreads within that. */
const MISSING_GRACE_MS = 3_000;
/** After this long partitions may have been added. Moved leaders are noticed at once, by the error they give. */
const VIEW_AGE_MS = 60_000;
const TOPIC_RESOURCE = 2;
/** Kafka's default max.message.bytes is 1,048,588. */
const DEFAULT_BATCH_BYTES = 1_000_000;

type MetadataAnswer = Awaited<ReturnType<typeof API.METADATA.response>>;

export class Topics {
  private readonly known = new Map<string, TopicView>();
  private readonly batchBytes = new Map<string, Promise<number>>();

  constructor(
    private readonly links: BrokerLinks,
    private readonly deadlineMs: number,
  ) {}

  /** The topic, from memory where known. Errors: {@link KafkaError} 'kafka-topic-missing', 'kafka-unreachable'. */
  async view(name: string): Promise<TopicView> {
    const known = this.known.get(name);
    if (known !== undefined && monotonicMs() - known.toldAtMs < VIEW_AGE_MS) return known;
    return this.refresh(name);
  }

  /** What is remembered of a topic that `view` or `refresh` has told before. */
  remembered(name: string): TopicView | undefined {
    return this.known.get(name);
  }

  /** Asks the cluster again. A topic that stays missing for 3 s is an error; `signal` gives up early. */
  async refresh(name: string, deadline = new Deadline(this.deadlineMs), signal?: AbortSignal): Promise<TopicView> {
    const backoff = new Backoff(20, 500);
    let missing: Deadline | null = null;
    for (;;) {
      try {
        const view = await this.askOnce(name);
        if (view !== null) return view;
        missing ??= new Deadline(MISSING_GRACE_MS);
        if (missing.passed || deadline.passed) throw refused(UNKNOWN_TOPIC, 'Metadata', name);
      } catch (error) {
        const code = brokerCodeOf(error);
        const passing = isConnectionLoss(error) || (code !== null && code !== UNKNOWN_TOPIC && LEADER_MOVED.has(code));
        if (!passing || deadline.passed || signal?.aborted) throw told(error, 'Metadata', name);
      }
      await backoff.wait(signal);
    }
  }

  /** The topic now, or null where it does not exist. */
  async askOnce(name: string): Promise<TopicView | null> {
    const answer = await this.metadata(name);
    this.links.learn(answer.brokers);
    const topic = answer.topics.find((candidate) => candidate.name === name);
    if (topic === undefined || topic.errorCode === UNKNOWN_TOPIC) {
      this.known.delete(name);
      return null;
    }
    if (topic.errorCode !== 0) throw refused(topic.errorCode, 'Metadata', name);
    const leaders = new Array<number>(topic.partitions.length).fill(-1);
    const leaderEpochs = new Array<number>(topic.partitions.length).fill(-1);
    for (const { partitionIndex, leaderId, leaderEpoch } of topic.partitions) {
      leaders[partitionIndex] = leaderId;
      leaderEpochs[partitionIndex] = leaderEpoch;
    }
    const view = {
      name,
      id: topic.topicId,
      partitions: leaders.length,
      leaders,
      leaderEpochs,
      toldAtMs: monotonicMs(),
    };
    this.known.set(name, view);
    return view;
  }

  /** Partitions of every topic that may be described, by name. */
  async partitionCounts(): Promise<ReadonlyMap<string, number>> {
    const answer = await this.metadata(null);
    this.links.learn(answer.brokers);
    const whole = answer.topics.filter(({ name, partitions }) => name !== null && partitions.length > 0);
    return new Map(whole.map(({ name, partitions }) => [name ?? '', partitions.length]));
  }

  /** Learns the brokers alone. */
  async learnBrokers(): Promise<void> {
    this.links.learn((await this.links.ask(API.METADATA, { topics: [] })).brokers);
  }

  /** Largest record batch that the topic takes, in bytes; Kafka's default where it may not be asked. */
  maxBatchBytes(name: string): Promise<number> {
    const known = this.batchBytes.get(name);
    if (known !== undefined) return known;
    const asked = this.askMaxBatchBytes(name);
    this.batchBytes.set(name, asked);
    asked.catch(() => this.batchBytes.delete(name));
    return asked;
  }

  /** kafka-ts throws on the first topic or partition with an error; the answer is with the error. */
  private async metadata(name: string | null): Promise<MetadataAnswer> {
    const topics = name === null ? null : [{ id: null, name }];
    const request = { topics, allowTopicAutoCreation: false };
    try {
      return await this.links.ask(API.METADATA, request);
    } catch (error) {
      const answer = (error as { response?: MetadataAnswer }).response;
      if (brokerCodeOf(error) !== null && answer?.topics !== undefined) return answer;
      throw error;
    }
  }

  private async askMaxBatchBytes(name: string): Promise<number> {
    const key = 'max.message.bytes';
    try {
      const { results } = await this.links.ask(API.DESCRIBE_CONFIGS, {
        resources: [{ resourceType: TOPIC_RESOURCE, resourceName: name, configurationKeys: [key] }],
        includeSynonyms: false,
      });
      const value = Number(results[0]?.configs.find((config) => config.name === key)?.value);
      return Number.isSafeInteger(value) && value > 0 ? value : DEFAULT_BATCH_BYTES;
    } catch (error) {
      // DescribeConfigs needs an ACL of its own, which is no reason to stop: a smaller batch always fits.
      if (brokerCodeOf(error) !== null) return DEFAULT_BATCH_BYTES;
      throw error;
    }
  }
}

/** The leader of a partition that the topic has. Errors: {@link KafkaError} 'kafka-topic-missing' for one it has not. */
export function leaderOf(view: TopicView, partition: number): number {
  if (partition < 0 || partition >= view.partitions) {
    throw new KafkaError(
      'kafka-topic-missing',
      `Topic ${view.name} has partitions 0 to ${view.partitions - 1}, not ${partition}; correct the partition, or add partitions`,
    );
  }
  return view.leaders[partition];
}
