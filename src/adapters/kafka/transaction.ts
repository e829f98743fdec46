/**
 * Owns one transactional id: taking it over, delivering an epoch's batches under it, ending the Kafka transaction.
 * Neighbours: `epoch-log.ts` decides what an epoch holds and what a failure means for its owner.
 *
 *   unowned ──takeOver──► idle ──deliver──► open ──end──► idle
 *      ▲                    ▲                 │
 *      │ a later owner      └────takeOver─────┴──► (any trouble leaves it open)
 *      └──────────────────────────────────────┘
 *
 * T1 The first take-over asks for (-1, -1), which fences whoever lives. Later ones name the id and epoch held, which
 *    a broker refuses when somebody else took over meanwhile: a zombie in doubt fences nobody.
 * T2 Taking over aborts what is open. Where no take-over is to be expected (a refusal for good) the owner aborts at once,
 *    or readers would wait for the broker's own time-out.
 * T3 v2 (KIP-890): Produce 12 adds partitions by itself, EndTxn 5 answers with the next id and epoch, sequences begin
 *    at 0. v1: AddPartitionsToTxn first (version 3, the last one for clients), sequences go on.
 */
import { API } from 'kafka-ts';
import { FencedError } from '../../stream/errors.js';
import type { Coordinator } from './coordinator.js';
import { type DeliveryRoute, deliver, endOfBatch, type OutgoingBatch } from './delivery.js';
import { brokerCodeOf, FENCED, told } from './errors.js';
import type { Leaders } from './leader.js';
import { atMost } from './links.js';
import type { PartitionQueue } from './placement.js';
import { encodeBatch } from './records/encode.js';
import { Deadline, monotonicMs, pause } from './waiting.js';
import { PRODUCE_V1, PRODUCE_V2 } from './wire/produce.js';

interface ProducerIdentity {
  readonly producerId: bigint;
  readonly producerEpoch: number;
}

export interface TransactionOptions {
  readonly version: 1 | 2;
  readonly transactionTimeoutMs: number;
  readonly deadlineMs: number;
  readonly requestTimeoutMs: number;
}

const NOBODY: ProducerIdentity = { producerId: -1n, producerEpoch: -1 };
const ADD_PARTITIONS = atMost(API.ADD_PARTITIONS_TO_TXN, 3);
const END_TXN_V1 = atMost(API.END_TXN, 4);
/** Most bytes of one Produce request; brokers take 100 MiB (socket.request.max.bytes). */
const REQUEST_BYTES = 8 * 1024 * 1024;
/**
 * A broker that is sent the next v2 transaction before the markers of the last one are written sits on it for 20 ms
 * (add.partitions.to.txn.retry.backoff.ms). Measured, epochs back to back: p50 27 ms without this pause, 6 ms with it.
 */
const MARKERS_MS = 4;
/** How long aborting may take where nothing depends on it. */
const ABORT_DEADLINE_MS = 2_000;
/** Sequences are 31 bits and wrap. */
const SEQUENCE_MASK = 0x7fffffff;

export class Transaction {
  private identity = NOBODY;
  private mayBeOpen = false;
  private endedAtMs = Number.NEGATIVE_INFINITY;
  private readonly sequences = new Map<string, number>();
  private readonly route: DeliveryRoute;

  constructor(
    private readonly coordinator: Coordinator,
    private readonly leaders: Leaders,
    private readonly options: TransactionOptions,
  ) {
    this.route = {
      leaders,
      transactionalId: coordinator.key,
      api: options.version === 2 ? PRODUCE_V2 : PRODUCE_V1,
      requestTimeoutMs: options.requestTimeoutMs,
    };
  }

  private get id(): string {
    return this.coordinator.key;
  }

  /**
   * Takes the id over (T1). Resolved, everything that earlier owners began is committed or aborted for good.
   * Errors: {@link FencedError} where this owner held the id and a later one took it, unreachable, denied.
   */
  async takeOver(): Promise<void> {
    const held = this.identity;
    try {
      const { producerId, producerEpoch } = await this.coordinator.askUntilAnswered(
        API.INIT_PRODUCER_ID,
        { transactionalId: this.id, transactionTimeoutMs: this.options.transactionTimeoutMs, ...held },
        new Deadline(this.options.deadlineMs),
        true,
      );
      this.hold({ producerId, producerEpoch });
      this.mayBeOpen = false;
    } catch (error) {
      throw this.fencedOrTold(error, 'InitProducerId');
    }
  }

  /**
   * Delivers all records of all queues inside the transaction. Returns what was delivered, by queue.
   * Errors: {@link FencedError}; a refusal or the deadline, after which the transaction must not be committed.
   */
  async deliver(queues: readonly PartitionQueue[]): Promise<ReadonlyMap<PartitionQueue, readonly OutgoingBatch[]>> {
    await this.markersWritten();
    const deadline = new Deadline(this.options.deadlineMs);
    const delivered = new Map<PartitionQueue, OutgoingBatch[]>(queues.map((queue) => [queue, []]));
    this.mayBeOpen = true;
    try {
      if (this.options.version === 1) await this.addPartitions(queues, deadline);
      for (;;) {
        const round = await this.nextRound(queues);
        if (round.size === 0) return delivered;
        await deliver(this.route, [...round.values()], deadline);
        for (const [queue, batch] of round) delivered.get(queue)?.push(batch);
      }
    } catch (error) {
      throw this.fencedOrTold(error, 'Produce');
    }
  }

  /**
   * Commits. An answer that does not come is not asked for again here: the owner takes over and looks (I3).
   * Errors: {@link FencedError}; anything else leaves the outcome unknown.
   */
  async commit(): Promise<void> {
    try {
      await this.end(true, new Deadline(this.options.deadlineMs), false);
    } catch (error) {
      throw this.fencedOrTold(error, 'EndTxn');
    }
    this.mayBeOpen = false;
  }

  /** Aborts what may be open (T2). Gives up quietly: a take-over, or the broker's time-out, does the same later. */
  async abort(): Promise<void> {
    if (!this.mayBeOpen) return;
    try {
      await this.end(false, new Deadline(ABORT_DEADLINE_MS), true);
      this.mayBeOpen = false;
    } catch {
      // INVALID_TXN_STATE: nothing was open. Anything else: who takes over next finds out. // T1
    }
  }

  private async end(committed: boolean, deadline: Deadline, repeatAfterLoss: boolean): Promise<void> {
    const answer = await this.coordinator.askUntilAnswered(
      this.options.version === 2 ? API.END_TXN : END_TXN_V1,
      { transactionalId: this.id, committed, ...this.identity },
      deadline,
      repeatAfterLoss,
    );
    this.endedAtMs = monotonicMs();
    if (answer.producerEpoch >= 0) this.hold(answer); // T3
  }

  /** v2 only: see {@link MARKERS_MS}. */
  private async markersWritten(): Promise<void> {
    const leftMs = MARKERS_MS - (monotonicMs() - this.endedAtMs);
    if (this.options.version === 2 && leftMs > 0) await pause(leftMs);
  }

  /** Sequences begin anew with each epoch of a producer. */
  private hold({ producerId, producerEpoch }: ProducerIdentity): void {
    if (producerId === this.identity.producerId && producerEpoch === this.identity.producerEpoch) return;
    this.identity = { producerId, producerEpoch };
    this.sequences.clear();
  }

  private async addPartitions(queues: readonly PartitionQueue[], deadline: Deadline): Promise<void> {
    const byTopic = new Map<string, number[]>();
    for (const { topic, partition } of queues) {
      const partitions = byTopic.get(topic);
      if (partitions === undefined) byTopic.set(topic, [partition]);
      else partitions.push(partition);
    }
    await this.coordinator.askUntilAnswered(
      ADD_PARTITIONS,
      {
        v3AndBelowTransactionalId: this.id,
        v3AndBelowProducerId: this.identity.producerId,
        v3AndBelowProducerEpoch: this.identity.producerEpoch,
        v3AndBelowTopics: [...byTopic].map(([name, partitions]) => ({ name, partitions })),
      },
      deadline,
      true,
    );
  }

  /** The next batch of every queue that has records left, within one request's size. */
  private async nextRound(queues: readonly PartitionQueue[]): Promise<Map<PartitionQueue, OutgoingBatch>> {
    const round = new Map<PartitionQueue, OutgoingBatch>();
    let size = 0;
    for (const queue of queues) {
      if (queue.next >= queue.records.length || size >= REQUEST_BYTES) continue;
      const { topic, partition, records, next } = queue;
      const to = endOfBatch(records, next, await this.leaders.topics.maxBatchBytes(topic));
      const bytes = this.encode(queue, to);
      size += bytes.length;
      round.set(queue, { topic, partition, bytes, count: to - next, baseOffset: -1 });
      queue.next = to;
    }
    return round;
  }

  private encode({ topic, partition, records, next }: PartitionQueue, to: number): Buffer {
    const place = `${topic}-${partition}`;
    const baseSequence = this.sequences.get(place) ?? 0;
    this.sequences.set(place, (baseSequence + to - next) & SEQUENCE_MASK);
    return encodeBatch(records, next, to, { ...this.identity, baseSequence, transactional: true });
  }

  private fencedOrTold(error: unknown, request: string): Error {
    const code = brokerCodeOf(error);
    if (code === null || !FENCED.has(code)) return told(error, request, `transactional id ${this.id}`);
    this.identity = NOBODY;
    this.mayBeOpen = false;
    this.sequences.clear();
    return new FencedError(
      `A later owner has taken transactional id ${this.id} over; this one must stop and drop what it holds`,
      { cause: error },
    );
  }
}
