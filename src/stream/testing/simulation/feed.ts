/**
 * Owns what comes in: payments of upstream producers, some in Kafka transactions that commit or abort around and between
 * others; malformed messages; updates of the broadcast table, aborted ones too.
 */
import { partitionOfKey } from '../../partitioning.js';
import type { OutputRecord } from '../../records.js';
import type { SeededRandom } from './random.js';
import type { SchedulePlan } from './schedule-plan.js';
import type { SimulatedLog } from './simulated-log.js';
import type { LogTransaction, SimulatedPartition } from './simulated-partition.js';
import { merchantOf, TOPICS } from './simulated-pipeline.js';
import { START_MS } from './simulated-process.js';
import type { SimulatedTime } from './simulated-time.js';

const GO_OVER_AGAIN_MS = 50;
/** Longest that an upstream producer leaves a transaction open. */
const FOREIGN_TRANSACTION_MS = 1_500;
const LEAP_MS = 5_000;

export class Feed {
  /** What has not been written yet. */
  private pending = 0;
  private readonly transactions: LogTransaction[] = [];
  private written = 0;
  private hasGoneOver = false;
  private tableVersion = 0;
  private aheadMs = 0;
  /** Where producers write now. */
  private topic: string = TOPICS.source;
  /** Keys of each partition of the first layout. */
  private readonly keys: readonly (readonly string[])[];
  /** Records of the first layout that are not written yet. */
  private firstPending = 0;

  constructor(
    private readonly plan: SchedulePlan,
    private readonly log: SimulatedLog,
    private readonly time: SimulatedTime,
    private readonly random: SeededRandom,
  ) {
    this.keys = keysByPartition(plan.keys, plan.partitions);
  }

  /** Producers have gone over to the source's other layout, and nothing of the first one is undecided. */
  get hasChanged(): boolean {
    return this.hasGoneOver;
  }

  get hasEnded(): boolean {
    return this.pending === 0 && this.transactions.every(({ state }) => state === 'ended');
  }

  begin(): void {
    const { records, partitions, feedMs, tableUpdates } = this.plan;
    for (let partition = 0; partition < partitions; partition++) {
      for (let left = records; left > 0; ) {
        const count = Math.min(left, this.random.int(1, 12));
        left -= count;
        this.firstPending += 1;
        this.later(this.random.next() * feedMs, () => {
          this.firstPending -= 1;
          this.writeSome(partition, count);
        });
      }
    }
    // Event time leaps: the timers of all keys come due at once.
    for (let i = 0; i < this.plan.leaps; i++) {
      this.later(this.random.next() * feedMs, () => {
        this.aheadMs += LEAP_MS;
      });
    }
    if (this.plan.rescale !== null) this.later(feedMs, () => this.goOver());
    for (let i = 0; i < tableUpdates; i++) this.later(this.random.next() * feedMs, () => this.updateTable());
  }

  private later(delayMs: number, run: () => void): void {
    this.pending += 1;
    this.time.schedule(delayMs, () => {
      this.pending -= 1;
      run();
    });
  }

  /** The source gets its other layout, once producers have ended what they wrote under the first. */
  private goOver(): void {
    const { plan, log, random } = this;
    const { rescale } = plan;
    if (rescale === null) return;
    if (this.firstPending > 0 || this.transactions.some(({ state }) => state !== 'ended')) {
      this.later(GO_OVER_AGAIN_MS, () => this.goOver());
      return;
    }
    if (rescale.source === 'grown') log.growTopic(TOPICS.source, rescale.partitions);
    else {
      this.topic = TOPICS.otherSource;
      log.makeTopic(this.topic, rescale.partitions);
    }
    this.hasGoneOver = true;
    const keys = this.keys.flat();
    for (let left = rescale.records; left > 0; left--) {
      const key = random.chance(0.1) ? `new-${random.int(0, 20)}` : random.pick(keys);
      const partition = partitionOfKey(Buffer.from(key), rescale.partitions);
      this.later(random.next() * rescale.feedMs, () => {
        const transaction = this.perhapsTransaction('upstream');
        this.append(log.partition(this.topic, partition), this.payment(key), transaction);
        if (transaction !== null) this.endLater(transaction);
      });
    }
  }

  private writeSome(partition: number, count: number): void {
    const target = this.log.partition(TOPICS.source, partition);
    const transaction = this.perhapsTransaction('upstream');
    for (let i = 0; i < count; i++) {
      const key = this.keys[partition][this.keyOf(this.written)];
      this.append(target, this.payment(key), transaction);
    }
    if (transaction !== null) this.endLater(transaction);
  }

  private updateTable(): void {
    const target = this.log.partition(TOPICS.table, 0);
    const transaction = this.perhapsTransaction('table');
    const updates = this.random.int(1, 3);
    for (let i = 0; i < updates; i++) {
      const risk = this.random.chance(0.2) ? null : this.random.int(1, 9);
      const body = { version: ++this.tableVersion, risk };
      const key = Buffer.from(merchantOf(this.random.int(0, 3)));
      this.append(target, { key, value: Buffer.from(JSON.stringify(body)) }, transaction);
    }
    if (transaction !== null) this.endLater(transaction);
  }

  private perhapsTransaction(owner: string): LogTransaction | null {
    if (!this.random.chance(0.3)) return null;
    const transaction = this.log.beginForeign(owner);
    this.transactions.push(transaction);
    return transaction;
  }

  private append(
    target: SimulatedPartition,
    record: Pick<OutputRecord, 'key' | 'value'>,
    transaction: LogTransaction | null,
  ): void {
    target.append({ ...record, headers: [], timestampMs: Math.floor(START_MS + this.time.nowMs) }, transaction);
  }

  private endLater(transaction: LogTransaction): void {
    const outcome = this.random.chance(0.5) ? 'committed' : 'aborted';
    this.later(this.random.skewed(0, FOREIGN_TRANSACTION_MS), () => this.log.endForeign(transaction, outcome));
  }

  private payment(key: string): Pick<OutputRecord, 'key' | 'value'> {
    const { random } = this;
    const number = this.written++;
    if (random.chance(0.03)) return { key: Buffer.from(key), value: Buffer.from(`bad-${number}`) };
    let at = START_MS + this.time.nowMs + this.aheadMs - random.skewed(0, 1_200);
    if (random.chance(0.01)) at += 3_600_000;
    if (random.chance(0.02)) at -= 20_000;
    const payment = { key, value: random.int(0, 9), at: Math.floor(at) };
    return { key: Buffer.from(key), value: Buffer.from(JSON.stringify(payment)) };
  }

  private keyOf(number: number): number {
    const { keys, spread } = this.plan;
    if (spread === 'in-turn') return number % keys;
    const x = this.random.next();
    return Math.floor((spread === 'even' ? x : x ** 4) * keys);
  }
}

/** As many keys for each partition, each in the one that Kafka's default partitioner gives it. */
function keysByPartition(keys: number, partitions: number): readonly (readonly string[])[] {
  const found = Array.from({ length: partitions }, (): string[] => []);
  for (let number = 0; found.some(({ length }) => length < keys); number++) {
    const key = `card-${number}`;
    const own = found[partitionOfKey(Buffer.from(key), partitions)];
    if (own.length < keys) own.push(key);
  }
  return found;
}
