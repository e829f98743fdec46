/**
 * Owns the simulated log's side of epoch commits, as a Kafka broker and its transaction coordinator would see them:
 * producer epochs that rise with every fence and every ended transaction (KIP-890), records that lie in the log before
 * they are decided, markers that reach each partition in their own time, transactions given up after a time.
 * It is what the core's ports promise, made of parts that can go wrong one by one; it is no Kafka.
 * Neighbours: `simulated-epoch-log.ts` is the client; `journal.ts` is told of every commit.
 */
import { StreamError } from '../../errors.js';
import { partitionOfKey } from '../../partitioning.js';
import type { OutputRecord } from '../../records.js';
import type { SeededRandom } from './random.js';
import { LogTransaction, SimulatedPartition } from './simulated-partition.js';
import type { SimulatedTime } from './simulated-time.js';
import type { Trace } from './trace.js';

/** Told when something becomes true of the log, at once; throws what must not be. */
export interface LogWatcher {
  /** The commit of an epoch is decided: from now on nothing takes it back. */
  onCommit(transaction: LogTransaction): void;
  onTruncate(partition: SimulatedPartition, offset: number): void;
}

/** What the coordinator answers instead of doing it. */
export class RefusedError extends Error {
  constructor(readonly why: 'fenced' | 'timed-out' | 'busy') {
    super(why);
  }
}

interface Coordinated {
  producerEpoch: number;
  transaction: LogTransaction | null;
  /** The producer epoch whose transaction ended last, to answer a request that is repeated. */
  endedProducerEpoch: number;
  /** The producer epoch whose transaction was given up. */
  timedOutProducerEpoch: number;
}

export interface LogTimes {
  /** A transaction older than this is aborted. */
  readonly transactionMs: number;
  /** Longest way of a marker to its partition. */
  readonly markerMs: number;
}

export class SimulatedLog {
  private readonly topics = new Map<string, SimulatedPartition[]>();
  /** By the name under which ownership is taken. */
  private readonly tasks = new Map<string, Coordinated>();
  private topicsMade = 0;
  private readonly unsettled = new Set<LogTransaction>();
  /** Times that some task was taken over: each is the beginning of a recovery. */
  fences = 0;
  watcher: LogWatcher = { onCommit: () => {}, onTruncate: () => {} };

  constructor(
    private readonly time: SimulatedTime,
    private readonly random: SeededRandom,
    private readonly trace: Trace,
    private readonly times: LogTimes,
  ) {}

  /** Makes a topic where there is none of that name. Never twice the same one: each has an identity of its own. */
  makeTopic(name: string, partitions: number): void {
    if (this.topics.has(name)) return;
    this.topicsMade += 1;
    this.topics.set(name, []);
    this.addPartitions(name, partitions, `${name}#${this.topicsMade}`);
  }

  /** Adds partitions until the topic has as many. */
  growTopic(name: string, partitions: number): void {
    this.addPartitions(name, partitions, this.partition(name, 0).identity);
  }

  deleteTopic(name: string): void {
    for (const partition of this.partitions(name)) partition.isGone = true;
    this.topics.delete(name);
    this.trace.note(`log: ${name} deleted`);
  }

  private addPartitions(name: string, partitions: number, identity: string): void {
    const present = this.topics.get(name) ?? [];
    while (present.length < partitions) present.push(new SimulatedPartition(name, present.length, identity));
    this.trace.note(`log: ${name} has ${present.length} partitions`);
  }

  partition(topic: string, partition: number): SimulatedPartition {
    const found = this.topics.get(topic)?.[partition];
    if (found === undefined) throw new StreamError('unknown-partition', `${topic}/${partition} was never made`);
    return found;
  }

  partitions(topic: string): readonly SimulatedPartition[] {
    return this.topics.get(topic) ?? [];
  }

  partitionFor({ topic, partition, key }: OutputRecord): SimulatedPartition {
    return this.partition(topic, partition ?? partitionOfKey(key ?? Buffer.alloc(0), this.partitions(topic).length));
  }

  /** Transactions of which some partition has no marker yet. */
  get openTransactions(): readonly LogTransaction[] {
    return [...this.unsettled];
  }

  /** Takes over a task: returns the producer epoch of its owner from now on. Errors: busy, while one is being ended. */
  fence(ownerId: string): number {
    const task = this.task(ownerId);
    const { transaction } = task;
    if (transaction?.state === 'open') {
      // Whoever wrote it is fenced at once; it is gone once its markers are written.
      task.producerEpoch += 1;
      this.end(transaction, 'aborted', () => {
        task.transaction = null;
      });
    }
    if (task.transaction !== null) throw new RefusedError('busy');
    task.producerEpoch += 1;
    this.fences += 1;
    this.trace.note(`log: ${ownerId} is owned by producer epoch ${task.producerEpoch}`);
    return task.producerEpoch;
  }

  /** Takes records into the task's open transaction; returns the offset of the first. */
  produce(
    ownerId: string,
    producerEpoch: number,
    partition: SimulatedPartition,
    records: readonly OutputRecord[],
  ): number {
    const task = this.owned(ownerId, producerEpoch);
    partition.expectThere();
    if (task.transaction !== null && task.transaction.state !== 'open') throw new RefusedError('busy');
    task.transaction ??= this.begin(task, ownerId);
    const place = `${partition.topic}/${partition.partition}`;
    const before = task.transaction.received.get(place);
    if (before !== undefined) return before;
    const first = partition.end;
    for (const record of records) partition.append(record, task.transaction);
    task.transaction.received.set(place, first);
    return first;
  }

  /** Decides the task's transaction; returns the producer epoch of its next one. */
  commit(ownerId: string, producerEpoch: number): number {
    const task = this.task(ownerId);
    const isRepeated = task.endedProducerEpoch === producerEpoch && task.producerEpoch === producerEpoch + 1;
    if (isRepeated) return task.producerEpoch;
    const { transaction } = this.owned(ownerId, producerEpoch);
    if (transaction?.state !== 'open') throw new RefusedError('fenced');
    task.endedProducerEpoch = producerEpoch;
    task.producerEpoch += 1;
    this.watcher.onCommit(transaction);
    this.end(transaction, 'committed', () => {
      task.transaction = null;
    });
    return task.producerEpoch;
  }

  truncate(partition: SimulatedPartition, offset: number): void {
    this.watcher.onTruncate(partition, offset);
    this.trace.note(`log: ${partition.topic}/${partition.partition} truncated to ${offset}`);
    partition.truncate(offset);
  }

  /** A transaction of some other producer. */
  beginForeign(owner: string): LogTransaction {
    const transaction = new LogTransaction(owner);
    this.unsettled.add(transaction);
    return transaction;
  }

  endForeign(transaction: LogTransaction, outcome: 'committed' | 'aborted'): void {
    this.end(transaction, outcome, () => {});
  }

  private task(ownerId: string): Coordinated {
    let task = this.tasks.get(ownerId);
    if (task === undefined) {
      task = { producerEpoch: 0, transaction: null, endedProducerEpoch: -1, timedOutProducerEpoch: -1 };
      this.tasks.set(ownerId, task);
    }
    return task;
  }

  private owned(ownerId: string, producerEpoch: number): Coordinated {
    const task = this.task(ownerId);
    if (task.producerEpoch === producerEpoch) return task;
    const wasGivenUp = task.timedOutProducerEpoch === producerEpoch && task.producerEpoch === producerEpoch + 1;
    throw new RefusedError(wasGivenUp ? 'timed-out' : 'fenced');
  }

  private begin(task: Coordinated, ownerId: string): LogTransaction {
    const transaction = new LogTransaction(ownerId);
    this.unsettled.add(transaction);
    this.time.schedule(this.times.transactionMs, () => {
      if (transaction.state !== 'open') return;
      this.trace.note(`log: a transaction of ${ownerId} took too long`);
      task.timedOutProducerEpoch = task.producerEpoch;
      task.producerEpoch += 1;
      this.end(transaction, 'aborted', () => {
        task.transaction = null;
      });
    });
    return transaction;
  }

  private end(transaction: LogTransaction, outcome: 'committed' | 'aborted', onEnded: () => void): void {
    transaction.state = outcome === 'committed' ? 'committing' : 'aborting';
    this.trace.note(`log: a transaction of ${transaction.owner} is ${outcome}`);
    const left = new Set(transaction.parts.keys());
    const finish = () => {
      transaction.state = 'ended';
      this.unsettled.delete(transaction);
      onEnded();
    };
    if (left.size === 0) finish();
    for (const partition of transaction.parts.keys()) {
      this.time.schedule(this.random.skewed(0, this.times.markerMs), () => {
        partition.decide(transaction, outcome);
        left.delete(partition);
        if (left.size === 0) finish();
      });
    }
  }
}
