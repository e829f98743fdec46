/**
 * Owns appending records outside epochs: an idempotent producer, acknowledged by all replicas, one request in flight a
 * leader. Concurrent writes share batches and keep their order; what waits is bounded.
 * Neighbours: `placement.ts` sorts, `delivery.ts` delivers. A failed write may or may not lie in the log.
 */
import { API } from 'kafka-ts';
import type { RecordWriter } from '../../stream/ports.js';
import type { OutputRecord } from '../../stream/records.js';
import { type DeliveryRoute, deliver, endOfBatch, type OutgoingBatch } from './delivery.js';
import { brokerCodeOf, COORDINATOR_MOVED, isConnectionLoss, KafkaError, told } from './errors.js';
import type { Leaders } from './leader.js';
import { type PartitionQueue, Placement } from './placement.js';
import { boundOfRecord, encodeBatch } from './records/encode.js';
import { Backoff, Bell, Deadline } from './waiting.js';
import { PRODUCE_V1 } from './wire/produce.js';

/** Records that go out together at most, and what may wait before `write` holds its caller back. */
const TOGETHER_BYTES = 8 * 1024 * 1024;
const WAITING_BYTES = 32 * 1024 * 1024;
const BATCH_BYTES = 1024 * 1024;
const SEQUENCE_MASK = 0x7fffffff;

interface Write {
  readonly records: readonly OutputRecord[];
  readonly sizeBytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class KafkaWriter implements RecordWriter {
  private readonly waiting: Write[] = [];
  private waitingBytes = 0;
  private readonly room = new Bell();
  private pumping: Promise<void> | null = null;
  private closed = false;
  /** Null: to be asked for, first or after a failure that leaves the sequences in doubt. */
  private producer: { readonly producerId: bigint; readonly producerEpoch: number } | null = null;
  private readonly sequences = new Map<string, number>();
  private readonly placement: Placement;
  private readonly route: DeliveryRoute;

  constructor(
    private readonly leaders: Leaders,
    requestTimeoutMs: number,
  ) {
    this.placement = new Placement(leaders.topics);
    this.route = { leaders, transactionalId: null, api: PRODUCE_V1, requestTimeoutMs };
  }

  async write(records: readonly OutputRecord[]): Promise<void> {
    if (records.length === 0) return;
    while (this.waitingBytes >= WAITING_BYTES && !this.closed) await this.room.wait(1_000);
    if (this.closed) throw new KafkaError('kafka-closed', 'This writer was closed; open another one');
    let sizeBytes = 0;
    for (const record of records) sizeBytes += boundOfRecord(record);
    const done = new Promise<void>((resolve, reject) => {
      this.waiting.push({ records, sizeBytes, resolve, reject });
    });
    this.waitingBytes += sizeBytes;
    this.pumping ??= this.pump();
    return done;
  }

  /** Waits for what was written before. */
  async close(): Promise<void> {
    this.closed = true;
    this.room.ring();
    await this.pumping;
    await this.leaders.links.close();
  }

  private async pump(): Promise<void> {
    // A turn of the event loop, so that writes begun together go out together.
    await Promise.resolve();
    while (this.waiting.length > 0) {
      const together = this.takeTogether();
      try {
        await this.send(await this.placed(together));
        for (const write of together) write.resolve();
      } catch (error) {
        this.producer = null;
        const reason = told(error, 'write', 'the brokers');
        for (const write of together) write.reject(reason);
      }
    }
    this.pumping = null;
  }

  private takeTogether(): Write[] {
    const together: Write[] = [];
    for (let size = 0; this.waiting.length > 0 && size < TOGETHER_BYTES; ) {
      const write = this.waiting.shift();
      if (write === undefined) break;
      size += write.sizeBytes;
      this.waitingBytes -= write.sizeBytes;
      together.push(write);
    }
    this.room.ring();
    return together;
  }

  /** A write that cannot be placed is rejected alone. */
  private async placed(writes: readonly Write[]): Promise<PartitionQueue[]> {
    const byPlace = new Map<string, PartitionQueue>();
    for (const write of writes) {
      let queues: PartitionQueue[];
      try {
        queues = await this.placement.place(write.records);
      } catch (error) {
        write.reject(told(error, 'write', 'the brokers'));
        continue;
      }
      for (const queue of queues) {
        const place = placeOf(queue);
        const before = byPlace.get(place);
        if (before === undefined) byPlace.set(place, queue);
        else for (const record of queue.records) before.records.push(record);
      }
    }
    return [...byPlace.values()];
  }

  private async send(queues: readonly PartitionQueue[]): Promise<void> {
    const deadline = new Deadline(this.leaders.deadlineMs);
    for (;;) {
      const round = await this.nextRound(queues);
      if (round.length === 0) return;
      await deliver(this.route, round, deadline);
    }
  }

  private async nextRound(queues: readonly PartitionQueue[]): Promise<OutgoingBatch[]> {
    const round: OutgoingBatch[] = [];
    for (const queue of queues) {
      const { topic, partition, records, next } = queue;
      if (next >= records.length) continue;
      const limit = Math.min(BATCH_BYTES, await this.leaders.topics.maxBatchBytes(topic));
      const to = endOfBatch(records, next, limit);
      const place = placeOf(queue);
      const identity = await this.identity();
      const baseSequence = this.sequences.get(place) ?? 0;
      const bytes = encodeBatch(records, next, to, { ...identity, baseSequence, transactional: false });
      this.sequences.set(place, (baseSequence + to - next) & SEQUENCE_MASK);
      round.push({ topic, partition, bytes, count: to - next, baseOffset: -1 });
      queue.next = to;
    }
    return round;
  }

  private async identity() {
    const deadline = new Deadline(this.leaders.deadlineMs);
    const backoff = new Backoff(20, 500);
    while (this.producer === null) {
      try {
        const request = { transactionalId: null, transactionTimeoutMs: 0, producerId: -1n, producerEpoch: -1 };
        const { producerId, producerEpoch } = await this.leaders.links.ask(API.INIT_PRODUCER_ID, request);
        this.sequences.clear();
        this.producer = { producerId, producerEpoch };
      } catch (error) {
        const code = brokerCodeOf(error);
        const passing = isConnectionLoss(error) || (code !== null && COORDINATOR_MOVED.has(code));
        if (!passing || deadline.passed) throw told(error, 'InitProducerId', 'the brokers');
        await backoff.wait();
      }
    }
    return this.producer;
  }
}

const placeOf = ({ topic, partition }: PartitionQueue) => `${topic}-${partition}`;
