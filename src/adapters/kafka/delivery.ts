/**
 * Owns bringing encoded batches to their leaders: one batch a partition, all leaders at once, the same bytes again after
 * a moved leader or a lost connection (brokers recognise a batch by producer id, epoch and sequence), to a deadline.
 * Neighbours: `transaction.ts` delivers epochs, `writer.ts` delivers outside them; both decide what a failure means.
 */
import { API_ERROR } from 'kafka-ts';
import type { Api } from 'kafka-ts/dist/utils/api.js';
import type { OutputRecord } from '../../stream/records.js';
import { isConnectionLoss, KafkaError, LEADER_MOVED, refused, told } from './errors.js';
import type { Leaders } from './leader.js';
import { boundOfRecord } from './records/encode.js';
import { HEADER_BYTES } from './records/format.js';
import { leaderOf } from './topics.js';
import { Backoff, type Deadline, pause } from './waiting.js';
import type { ProducedPartition, ProduceRequest } from './wire/produce.js';

/** An encoded batch on its way. */
export interface OutgoingBatch {
  readonly topic: string;
  readonly partition: number;
  readonly bytes: Buffer;
  readonly count: number;
  /** Offset of its first record once delivered; -1 where the broker could not tell. */
  baseOffset: number;
}

export interface DeliveryRoute {
  readonly leaders: Leaders;
  readonly transactionalId: string | null;
  readonly api: Api<ProduceRequest, ProducedPartition[]>;
  readonly requestTimeoutMs: number;
}

/** Outcome of one request: what to send again, and why. */
interface Round {
  readonly again: OutgoingBatch[];
  readonly stale: Set<string>;
  refusal: Error | null;
  trouble: string;
}

/** The last transaction of this producer is still completing on a partition: over within some ms. */
const CONCURRENT_PAUSE_MS = 2;

/**
 * Delivers all batches, at most one a partition. Errors: {@link KafkaError} with the broker's code for a refusal, or
 * 'kafka-unreachable' once the deadline has passed; then some batches may lie in the log and some not.
 */
export async function deliver(
  route: DeliveryRoute,
  batches: readonly OutgoingBatch[],
  deadline: Deadline,
): Promise<void> {
  const { topics } = route.leaders;
  const backoff = new Backoff(20, 500);
  let left = batches;
  for (;;) {
    const round: Round = { again: [], stale: new Set(), refusal: null, trouble: '' };
    const byLeader = await groupByLeader(route.leaders, left, round);
    await Promise.all([...byLeader].map(([leader, group]) => send(route, leader, group, round)));
    if (round.refusal !== null) throw round.refusal;
    if (round.again.length === 0) return;
    left = round.again;
    if (deadline.passed) {
      throw new KafkaError(
        'kafka-unreachable',
        `Produce to ${placesOf(left)} did not succeed within ${deadline.budgetMs} ms; last: ${round.trouble}`,
      );
    }
    if (round.stale.size === 0) {
      await pause(CONCURRENT_PAUSE_MS);
      continue;
    }
    await backoff.wait();
    for (const topic of round.stale) await topics.refresh(topic, deadline);
  }
}

async function groupByLeader(leaders: Leaders, batches: readonly OutgoingBatch[], round: Round) {
  const byLeader = new Map<number, OutgoingBatch[]>();
  for (const batch of batches) {
    const leader = leaderOf(await leaders.topics.view(batch.topic), batch.partition);
    if (leader < 0) {
      sendAgain(round, batch, `${batch.topic}-${batch.partition} has no leader`);
      continue;
    }
    const group = byLeader.get(leader);
    if (group === undefined) byLeader.set(leader, [batch]);
    else group.push(batch);
  }
  return byLeader;
}

function sendAgain(round: Round, batch: OutgoingBatch, trouble: string): void {
  round.again.push(batch);
  round.stale.add(batch.topic);
  round.trouble = trouble;
}

/** Never rejects: what happened goes into `round`, so that no request is left behind unawaited. */
async function send(
  route: DeliveryRoute,
  leader: number,
  batches: readonly OutgoingBatch[],
  round: Round,
): Promise<void> {
  let answer: ProducedPartition[];
  try {
    answer = await route.leaders.links.askNode(leader, route.api, requestOf(route, batches));
  } catch (error) {
    if (isConnectionLoss(error)) {
      for (const batch of batches) sendAgain(round, batch, error instanceof Error ? error.message : String(error));
    } else {
      round.refusal ??= told(error, 'Produce', placesOf(batches));
    }
    return;
  }
  for (const batch of batches) {
    const result = answer.find((one) => one.topic === batch.topic && one.partition === batch.partition);
    if (result === undefined) {
      round.refusal ??= new KafkaError(
        'kafka-refused',
        `Produce to ${placesOf([batch])} was answered without a result`,
      );
    } else {
      settle(batch, result, round);
    }
  }
}

function settle(batch: OutgoingBatch, result: ProducedPartition, round: Round): void {
  const { errorCode, errorMessage, baseOffset } = result;
  if (errorCode === 0 || errorCode === API_ERROR.DUPLICATE_SEQUENCE_NUMBER) {
    batch.baseOffset = errorCode === 0 ? baseOffset : -1;
  } else if (errorCode === API_ERROR.CONCURRENT_TRANSACTIONS) {
    round.again.push(batch);
    round.trouble = 'the transaction before is still completing';
  } else if (LEADER_MOVED.has(errorCode)) {
    sendAgain(round, batch, refused(errorCode, 'Produce', placesOf([batch]), { message: errorMessage }).message);
  } else {
    round.refusal ??= refused(errorCode, 'Produce', placesOf([batch]), { message: errorMessage });
  }
}

function requestOf(route: DeliveryRoute, batches: readonly OutgoingBatch[]): ProduceRequest {
  const byTopic = new Map<string, { partition: number; batch: Buffer }[]>();
  for (const { topic, partition, bytes } of batches) {
    const partitions = byTopic.get(topic);
    if (partitions === undefined) byTopic.set(topic, [{ partition, batch: bytes }]);
    else partitions.push({ partition, batch: bytes });
  }
  return {
    transactionalId: route.transactionalId,
    // The broker gives up on slow replicas before the connection counts as lost.
    timeoutMs: Math.floor(route.requestTimeoutMs * 0.8),
    topics: [...byTopic].map(([name, partitions]) => ({ name, partitions })),
  };
}

function placesOf(batches: readonly OutgoingBatch[]): string {
  const places = batches.slice(0, 5).map(({ topic, partition }) => `${topic}-${partition}`);
  return places.join(', ') + (batches.length > 5 ? ` and ${batches.length - 5} more` : '');
}

/** Where a batch beginning at `from` ends so that it stays within `limitBytes`; one record at least. */
export function endOfBatch(records: readonly OutputRecord[], from: number, limitBytes: number): number {
  let size = HEADER_BYTES + boundOfRecord(records[from]);
  let to = from + 1;
  for (; to < records.length; to++) {
    size += boundOfRecord(records[to]);
    if (size > limitBytes) break;
  }
  return to;
}
