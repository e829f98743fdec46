/**
 * Owns asking a partition's leader: find it, ask, and on a moved leader or a lost connection find it again, to a
 * deadline. For requests that are harmless to repeat (ListOffsets, DeleteRecords); fetch and produce have loops of their
 * own. Neighbours: `topics.ts` knows the leaders.
 */
import { API } from 'kafka-ts';
import { brokerCodeOf, isConnectionLoss, LEADER_MOVED, told } from './errors.js';
import type { BrokerLinks } from './links.js';
import { leaderOf, type Topics, type TopicView } from './topics.js';
import { Backoff, Deadline } from './waiting.js';

/** What asking a leader needs. One a user of links. */
export interface Leaders {
  readonly links: BrokerLinks;
  readonly topics: Topics;
  readonly deadlineMs: number;
}

/** Which offset: the first kept, the end of everything written, or the end of what is committed. */
export type OffsetKind = 'start' | 'written-end' | 'committed-end';

const EARLIEST = -2n;
const LATEST = -1n;

/** Runs `ask` against the partition's leader until it answers. Errors: broker refusals, the deadline. */
export async function withLeader<Answer>(
  leaders: Leaders,
  topic: string,
  partition: number,
  request: string,
  ask: (leader: number, view: TopicView) => Promise<Answer>,
): Promise<Answer> {
  const deadline = new Deadline(leaders.deadlineMs);
  const backoff = new Backoff(20, 500);
  const place = `${topic}-${partition}`;
  let view = await leaders.topics.view(topic);
  for (;;) {
    try {
      const leader = leaderOf(view, partition);
      if (leader >= 0) return await ask(leader, view);
    } catch (error) {
      const code = brokerCodeOf(error);
      const passing = isConnectionLoss(error) || (code !== null && LEADER_MOVED.has(code));
      if (!passing || deadline.passed) throw told(error, request, place);
    }
    await backoff.wait();
    view = await leaders.topics.refresh(topic, deadline);
  }
}

/** One end of a partition's range. */
export async function offsetOf(leaders: Leaders, topic: string, partition: number, kind: OffsetKind): Promise<number> {
  const timestamp = kind === 'start' ? EARLIEST : LATEST;
  return withLeader(leaders, topic, partition, 'ListOffsets', async (leader, view) => {
    const answer = await leaders.links.askNode(leader, API.LIST_OFFSETS, {
      replicaId: -1,
      isolationLevel: kind === 'committed-end' ? 1 : 0,
      timeoutMs: 5_000,
      topics: [
        {
          name: topic,
          partitions: [{ partitionIndex: partition, currentLeaderEpoch: view.leaderEpochs[partition], timestamp }],
        },
      ],
    });
    return Number(answer.topics[0].partitions[0].offset);
  });
}

/** Deletes everything before `offset`; returns the first offset kept. */
export async function deleteRecordsBefore(
  leaders: Leaders,
  topic: string,
  partition: number,
  offset: number,
): Promise<number> {
  return withLeader(leaders, topic, partition, 'DeleteRecords', async (leader) => {
    const answer = await leaders.links.askNode(leader, API.DELETE_RECORDS, {
      topics: [{ name: topic, partitions: [{ partitionIndex: partition, offset: BigInt(offset) }] }],
      timeoutMs: 5_000,
    });
    return Number(answer.topics[0].partitions[0].lowWatermark);
  });
}
