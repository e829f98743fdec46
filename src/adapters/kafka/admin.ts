/**
 * Owns the control plane: making and deleting topics and reading a group's progress through kafkajs; ranges and publishing
 * progress through the data plane's links, because kafkajs tells the end of the written log, not of the committed one,
 * and commits offsets for a group only by running a consumer in it.
 * Neighbours: `group/membership.ts` lends its member id, without which a group that has members takes no offsets.
 */
import { API } from 'kafka-ts';
import type { Admin, ITopicConfig } from 'kafkajs';
import type { PartitionRange, TopicAdmin, TopicSpec } from '../../stream/ports.js';
import { Coordinator } from './coordinator.js';
import { brokerCodeOf, COORDINATOR_MOVED, isConnectionLoss, KafkaError, told } from './errors.js';
import { toldByKafkajs } from './kafkajs-errors.js';
import { type Leaders, offsetOf } from './leader.js';
import { atMost } from './links.js';
import { Deadline, pause } from './waiting.js';
import { decodeSubscription } from './wire/group.js';

/** Who commits offsets in a group: a member, or, with nobody in the group, anyone. */
export interface GroupIdentity {
  readonly memberId: string;
  readonly generation: number;
}

const NO_MEMBER: GroupIdentity = { memberId: '', generation: -1 };
/** Later versions name topics by id. */
const OFFSET_COMMIT = atMost(API.OFFSET_COMMIT, 8);
/** Later versions refuse a group that is not there. */
const DESCRIBE_GROUPS = atMost(API.DESCRIBE_GROUPS, 5);
/** A reader that is behind by less sees each state of a compacted topic as it was, and not a mixture of two. */
const COMPACTION_LAG_MS = 24 * 3_600_000;
/** A record's headers and framing above its key and value; brokers count them in max.message.bytes. */
const FRAMING_BYTES = 4_096;

export interface AdminParts {
  /** Loads kafkajs, which most starts do not need. Not connected yet. */
  openKafkajs(): Promise<Admin>;
  readonly leaders: Leaders;
  readonly replicationFactor: number;
  /** This process's place in a group, where it has one. */
  readonly memberOf: (group: string) => GroupIdentity | null;
}

export class KafkaTopicAdmin implements TopicAdmin {
  private connecting: Promise<Admin> | null = null;
  private readonly coordinators = new Map<string, Coordinator>();

  constructor(private readonly parts: AdminParts) {}

  async ensure(topics: readonly TopicSpec[]): Promise<readonly string[]> {
    const made: string[] = [];
    for (const spec of topics) {
      if ((await this.partitionCount(spec.name)) !== null) continue;
      if (await this.make(spec)) made.push(spec.name);
      // Metadata spreads: who asks next must find the topic, whoever made it.
      await this.parts.leaders.topics.refresh(spec.name);
    }
    return made;
  }

  async partitionCount(topic: string): Promise<number | null> {
    const { topics, deadlineMs } = this.parts.leaders;
    const deadline = new Deadline(deadlineMs);
    for (;;) {
      try {
        return (await topics.askOnce(topic))?.partitions ?? null;
      } catch (error) {
        if (!isConnectionLoss(error) || deadline.passed) throw told(error, 'Metadata', topic);
        await pause(100);
      }
    }
  }

  async grow(topic: string, partitions: number): Promise<void> {
    const { topics } = this.parts.leaders;
    if ((await topics.refresh(topic)).partitions >= partitions) return;
    try {
      const admin = await this.connected();
      await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] });
    } catch (error) {
      // Somebody else may have added them meanwhile.
      if ((await topics.refresh(topic)).partitions < partitions) throw toldByKafkajs(error, 'CreatePartitions', topic);
    }
    await this.untilShown(topic, partitions);
  }

  async names(): Promise<readonly string[]> {
    try {
      const admin = await this.connected();
      return (await admin.listTopics()).filter((name) => !name.startsWith('__')).sort();
    } catch (error) {
      throw toldByKafkajs(error, 'Metadata', 'all topics');
    }
  }

  async ranges(topic: string): Promise<readonly PartitionRange[]> {
    const { leaders } = this.parts;
    const { partitions } = await leaders.topics.refresh(topic);
    return Promise.all(
      Array.from({ length: partitions }, async (_, partition) => ({
        partition,
        start: await offsetOf(leaders, topic, partition, 'start'),
        // The written end first: what is decided in between must not look open.
        writtenEnd: await offsetOf(leaders, topic, partition, 'written-end'),
        end: await offsetOf(leaders, topic, partition, 'committed-end'),
      })),
    );
  }

  /** The topic's id, which no other topic on any cluster has. */
  async identity(topic: string): Promise<string> {
    const { id } = await this.parts.leaders.topics.refresh(topic);
    if (/^0*$/.test(id)) {
      throw new KafkaError(
        'kafka-options',
        `Topic ${topic} has no id: this cluster is older than Kafka 2.8; upgrade it`,
      );
    }
    return id;
  }

  async delete(topics: readonly string[]): Promise<void> {
    for (const topic of topics) {
      if ((await this.partitionCount(topic)) === null) continue;
      try {
        const admin = await this.connected();
        await admin.deleteTopics({ topics: [topic] });
      } catch (error) {
        if ((await this.partitionCount(topic)) !== null) throw toldByKafkajs(error, 'DeleteTopics', topic);
      }
    }
  }

  async publishProgress(group: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    if (offsets.size === 0) return;
    const { memberId, generation } = this.parts.memberOf(group) ?? NO_MEMBER;
    const partitions = [...offsets].map(([partitionIndex, offset]) => ({
      partitionIndex,
      committedOffset: BigInt(offset),
      committedLeaderEpoch: -1,
      committedMetadata: null,
    }));
    const request = {
      groupId: group,
      generationIdOrMemberEpoch: generation,
      memberId,
      groupInstanceId: null,
      topics: [{ name: topic, topicId: '', partitions }],
    };
    const deadline = new Deadline(this.parts.leaders.deadlineMs);
    try {
      await this.coordinatorOf(group).askUntilAnswered(OFFSET_COMMIT, request, deadline, true);
    } catch (error) {
      throw told(error, 'OffsetCommit', `group ${group} for ${topic}`);
    }
  }

  async progress(group: string, topic: string): Promise<ReadonlyMap<number, number>> {
    const deadline = new Deadline(this.parts.leaders.deadlineMs);
    for (;;) {
      try {
        const admin = await this.connected();
        const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
        const known = (found?.partitions ?? []).filter(({ offset }) => offset !== '-1');
        return new Map(known.map(({ partition, offset }) => [partition, Number(offset)]));
      } catch (error) {
        const reason = toldByKafkajs(error, 'OffsetFetch', `group ${group} for ${topic}`);
        // kafkajs retries what is unreachable; a coordinator that moves or loads it leaves to its caller.
        const code = brokerCodeOf(reason);
        if (code === null || !COORDINATOR_MOVED.has(code) || deadline.passed) throw reason;
        await pause(50);
      }
    }
  }

  async groupMembers(group: string): Promise<readonly string[]> {
    try {
      const admin = await this.connected();
      const { groups } = await admin.describeGroups([group]);
      return groups.flatMap(({ members }) => members).map(({ clientId, clientHost }) => `${clientId} at ${clientHost}`);
    } catch (error) {
      throw toldByKafkajs(error, 'DescribeGroups', `group ${group}`);
    }
  }

  /** Not through kafkajs: every start of a detector asks. */
  async groupClaims(group: string): Promise<readonly (string | null)[]> {
    const deadline = new Deadline(this.parts.leaders.deadlineMs);
    try {
      const request = { groups: [group], includeAuthorizedOperations: false };
      const { groups } = await this.coordinatorOf(group).askUntilAnswered(DESCRIBE_GROUPS, request, deadline, true);
      const members = groups.flatMap((one) => one.members);
      // While the group is being shared out, the broker does not tell what members said.
      return members.map(({ memberMetadata: said }) => (said.length === 0 ? null : decodeSubscription(said).claim));
    } catch (error) {
      throw told(error, 'DescribeGroups', `group ${group}`);
    }
  }

  async close(): Promise<void> {
    await this.parts.leaders.links.close();
    // Only what was connected is to be disconnected; a failed connect has told its caller.
    const admin = await this.connecting?.catch(() => null);
    await admin?.disconnect();
  }

  /** Metadata spreads: who asks next must find the new partitions, with their leaders. */
  private async untilShown(topic: string, partitions: number): Promise<void> {
    const deadline = new Deadline(this.parts.leaders.deadlineMs);
    for (;;) {
      const { leaders } = await this.parts.leaders.topics.refresh(topic);
      if (leaders.length >= partitions && leaders.every((leader) => leader >= 0)) return;
      if (deadline.passed) {
        throw new KafkaError(
          'kafka-unreachable',
          `${topic} does not show ${partitions} partitions with leaders within ${deadline.budgetMs} ms; look at the brokers' logs`,
        );
      }
      await pause(50);
    }
  }

  private connected(): Promise<Admin> {
    this.connecting ??= this.connect().catch((error: unknown) => {
      this.connecting = null;
      throw error;
    });
    return this.connecting;
  }

  private async connect(): Promise<Admin> {
    const admin = await this.parts.openKafkajs();
    await admin.connect();
    return admin;
  }

  /** False where somebody else made the topic meanwhile. */
  private async make(spec: TopicSpec): Promise<boolean> {
    try {
      const admin = await this.connected();
      return await admin.createTopics({ topics: [this.configOf(spec)], waitForLeaders: false });
    } catch (error) {
      throw toldByKafkajs(error, 'CreateTopics', spec.name);
    }
  }

  private configOf(spec: TopicSpec): ITopicConfig {
    const { maxRecordBytes, retentionMs } = spec;
    const entries: [string, number | string | undefined][] = [
      ['cleanup.policy', spec.cleanup],
      ['min.compaction.lag.ms', spec.cleanup === 'compact' ? COMPACTION_LAG_MS : undefined],
      ['max.message.bytes', maxRecordBytes === undefined ? undefined : maxRecordBytes + FRAMING_BYTES],
      ['retention.ms', retentionMs],
    ];
    return {
      topic: spec.name,
      numPartitions: spec.partitions,
      replicationFactor: this.parts.replicationFactor,
      configEntries: entries.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value: String(value) }])),
    };
  }

  private coordinatorOf(group: string): Coordinator {
    const known = this.coordinators.get(group);
    if (known !== undefined) return known;
    const coordinator = new Coordinator(this.parts.leaders.links, 'group', group);
    this.coordinators.set(group, coordinator);
    return coordinator;
  }
}
