/**
 * Owns the plain reference: what must come of an input, computed one message after the other in one thread. It uses the
 * pipeline's own steps (decoder, patterns, features, memory, model, rules), since it is not they that are to be proven,
 * and nothing of the stream core's machinery: no task, session, epoch, state log, store or eviction; all cards of a
 * partition lie in one set of columns, a Map tells their places, another Map the pending timers, and lateness and
 * watermark are reckoned here. A core that loses, doubles, reorders or mis-restores anything comes to other alerts.
 *
 * What it must share with the core, as these are the semantics and not the machinery:
 *  R1 A row is late when its event time lies before the watermark that the rows before it left.
 *  R2 A card's due timers fire before its next payment is looked at.
 * Neighbours: `load.ts` says where each message lies, `compare.ts` compares.
 */
import { type CardColumns, cardState } from '../../src/fraud/cards/state.js';
import { type PaymentBatch, RISK_SOURCE } from '../../src/fraud/payments/payment-batch.js';
import type { FraudPipeline } from '../../src/fraud/pipeline.js';
import type { OpenBatchStep, OpenKeyedStep, Outputs, StepContext } from '../../src/stream/pipeline/pipeline.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { makeColumns, TimerColumn } from '../../src/stream/state/layout.js';
import { inputMessages } from './input.js';
import type { LoadedInput } from './load.js';
import { provenMerchantRisk } from './merchant-risk.js';
import { type AlertOutcome, alertOutcome, type DeadLetterOutcome, describeState } from './outcome.js';

/** What must come of an input. */
export interface Reference {
  readonly payments: number;
  readonly alerts: ReadonlyMap<string, AlertOutcome>;
  readonly deadLetters: readonly DeadLetterOutcome[];
  /** By partition: state as text by card. */
  readonly cards: readonly ReadonlyMap<string, string>[];
  /** Payments that came behind the watermark, and alerts that a timer raised: that these paths were walked at all. */
  readonly late: number;
  readonly timerAlerts: number;
}

/** Any size would do: no result depends on it. */
const BATCH = 256;
/** A sender's clock can take event time this far ahead of the log's own. */
const FUTURE_ALLOWANCE_MS = 60_000;

/** A message as it lies in the source. The bytes are kept until they were looked at, those of a bad one for ever. */
export interface SourceMessage {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly offset: number;
  /** The log's own time of the record, ms since 1970. */
  readonly timestampMs: number;
}

/** Computes the reference. `pipeline` is what the service runs, opened by the same code from the same settings. */
export async function computeReference(pipeline: FraudPipeline, input: LoadedInput): Promise<Reference> {
  const { timestampMs } = input;
  const reference = await RunningReference.open(pipeline, input.cards);
  const seen = input.cards.map(() => 0);
  for await (const messages of inputMessages(input.plan)) {
    for (const { partition, key, value } of messages) {
      const offset = input.offsets[partition].at(seen[partition]++);
      await reference.add(partition, { key, value, offset, timestampMs });
    }
  }
  return reference.finish();
}

/** The reference of an input that is still growing: each message is taken in as it becomes known. */
export class RunningReference {
  private constructor(private readonly partitions: readonly PartitionReference[]) {}

  /** `cards`: by partition, how many pay in it at most. */
  static async open(pipeline: FraudPipeline, cards: readonly number[]): Promise<RunningReference> {
    const partitions = cards.map((most, partition) => new PartitionReference(pipeline, partition, most));
    for (const partition of partitions) await partition.open();
    return new RunningReference(partitions);
  }

  /** The next message of a partition, in the order of its offsets. */
  async add(partition: number, message: SourceMessage): Promise<void> {
    const reference = this.partitions[partition];
    reference.add(message);
    if (reference.isFull) await reference.run();
  }

  /** The alerts that the messages added so far must have raised, by id. */
  async alertsSoFar(): Promise<Reference['alerts']> {
    for (const partition of this.partitions) await partition.run();
    return distinct(this.partitions.flatMap(({ alerts }) => alerts));
  }

  /** Everything that must have come of the messages; nothing can be added any more. */
  async finish(): Promise<Reference> {
    const { partitions } = this;
    for (const partition of partitions) await partition.finish();
    return {
      payments: sum(partitions.map(({ payments }) => payments)),
      alerts: distinct(partitions.flatMap(({ alerts }) => alerts)),
      deadLetters: partitions.flatMap(({ deadLetters }) => deadLetters),
      cards: partitions.map((reference) => reference.describeCards()),
      late: sum(partitions.map(({ late }) => late)),
      timerAlerts: sum(partitions.map(({ timerAlerts }) => timerAlerts)),
    };
  }
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

function distinct(alerts: readonly AlertOutcome[]): ReadonlyMap<string, AlertOutcome> {
  const byId = new Map<string, AlertOutcome>();
  for (const alert of alerts) {
    if (byId.has(alert.id)) throw new Error(`the reference made alert ${alert.id} twice: ids are not unique`);
    byId.set(alert.id, alert);
  }
  return byId;
}

type FiredStep = OpenKeyedStep<PaymentBatch>;

class PartitionReference implements Outputs {
  readonly alerts: AlertOutcome[] = [];
  readonly deadLetters: DeadLetterOutcome[] = [];
  payments = 0;
  late = 0;
  timerAlerts = 0;
  private readonly batch: PaymentBatch;
  private readonly columns: CardColumns;
  private readonly slots = new Map<string, number>();
  private readonly keys: Buffer[] = [];
  private readonly keyed: readonly FiredStep[];
  private batchSteps: readonly OpenBatchStep<PaymentBatch>[] = [];
  private readonly timers: readonly {
    readonly field: string;
    readonly column: TimerColumn;
    readonly pending: Map<number, number>;
  }[];
  private maxEventTimeMs = Number.NEGATIVE_INFINITY;
  private readonly context: StepContext;
  private waiting: SourceMessage[] = [];

  constructor(
    private readonly pipeline: FraudPipeline,
    partition: number,
    private readonly cards: number,
  ) {
    this.partition = partition;
    this.context = {
      taskId: `reference-${partition}`,
      source: { topic: pipeline.source.topic, partition },
      clock: { now: () => 0, monotonic: () => 0, schedule: () => () => {} },
      count: () => {},
    };
    this.batch = pipeline.source.makeBatch(BATCH);
    this.columns = makeColumns(cardState, cards);
    this.keyed = pipeline.keyed.map((step) => step.open(this.context, this.columns));
    this.timers = Object.entries(this.columns).flatMap(([field, column]) => {
      if (!(column instanceof TimerColumn)) return [];
      const pending = new Map<number, number>();
      column.onSet = (slot, dueMs) => void pending.set(slot, dueMs);
      return [{ field, column, pending }];
    });
  }

  private readonly partition: number;

  async open(): Promise<void> {
    this.batchSteps = await Promise.all(this.pipeline.batchSteps.map((step) => step.open(this.context)));
  }

  get isFull(): boolean {
    return this.waiting.length === BATCH;
  }

  add(message: SourceMessage): void {
    this.waiting.push(message);
  }

  /** Looks at the messages added since the last run. */
  async run(): Promise<void> {
    const { batch } = this;
    this.decode();
    for (let row = 0; row < batch.count; row++) {
      batch.slot[row] = this.slotOf(row);
      batch.merchantRisk[row] = provenMerchantRisk(batch.merchantId(row));
      batch.riskSource[row] = RISK_SOURCE.lookup;
      batch.riskAsOfMs[row] = 0;
      batch.degraded[row] = 0;
    }
    for (let row = 0; row < batch.count; row++) this.look(row);
    for (const step of this.batchSteps) await step.apply(batch, this);
    this.payments += batch.count;
  }

  /** Runs what is left, and fires what the last payments made due. */
  async finish(): Promise<void> {
    await this.run();
    this.fireDue();
    for (const step of this.batchSteps) await step.close?.();
  }

  describeCards(): ReadonlyMap<string, string> {
    const cards = new Map<string, string>();
    for (const [card, slot] of this.slots) cards.set(card, describeState(cardState.fields, this.columns, slot));
    return cards;
  }

  emit(record: OutputRecord): void {
    if (record.value === null) throw new Error('the pipeline emitted a record without a value');
    this.alerts.push(alertOutcome(record.value));
  }

  private decode(): void {
    const { batch, waiting, partition } = this;
    const { records } = batch;
    records.bytes = Buffer.concat(waiting.flatMap(({ key, value }) => [key ?? EMPTY, value ?? EMPTY]));
    records.count = waiting.length;
    let at = 0;
    waiting.forEach(({ key, value, offset, timestampMs }, index) => {
      records.keyStart[index] = at;
      records.keyLength[index] = key?.length ?? -1;
      at += key?.length ?? 0;
      records.valueStart[index] = at;
      records.valueLength[index] = value?.length ?? -1;
      at += value?.length ?? 0;
      records.offset[index] = offset;
      records.timestampMs[index] = timestampMs;
    });
    this.pipeline.source.decode(batch, records, {
      reject: (index, code) => {
        const { key, value, offset } = waiting[index];
        this.deadLetters.push({ partition, offset, code, key, value });
      },
    });
    this.waiting = [];
  }

  private slotOf(row: number): number {
    const card = this.batch.cardId(row);
    const known = this.slots.get(card);
    if (known !== undefined) return known;
    const slot = this.slots.size;
    if (slot === this.cards) throw new Error(`more than ${this.cards} cards pay in partition ${this.partition}`);
    this.slots.set(card, slot);
    this.keys.push(Buffer.from(card, 'utf8'));
    return slot;
  }

  /** One payment through the keyed steps. */
  private look(row: number): void {
    const { batch } = this;
    const eventTimeMs = batch.eventTimeMs[row];
    this.fireDue(); // R2
    const isLate = eventTimeMs < this.watermarkMs; // R1
    batch.late[row] = isLate ? 1 : 0;
    if (isLate) this.late += 1;
    for (const step of this.keyed) step.apply(batch, row, batch.slot[row]);
    const logTimeMs = batch.records.timestampMs[batch.recordIndex[row]];
    this.maxEventTimeMs = Math.max(this.maxEventTimeMs, Math.min(eventTimeMs, logTimeMs + FUTURE_ALLOWANCE_MS));
  }

  private get watermarkMs(): number {
    return this.maxEventTimeMs - this.pipeline.outOfOrdernessMs;
  }

  private fireDue(): void {
    const { watermarkMs } = this;
    for (const { field, column, pending } of this.timers) {
      for (const [slot, dueMs] of pending) {
        if (dueMs > watermarkMs) continue;
        pending.delete(slot);
        // Cleared meanwhile.
        if (column.due[slot] !== dueMs) continue;
        column.clear(slot);
        const before = this.alerts.length;
        for (const step of this.keyed) step.onTimer?.({ field, dueMs }, slot, this.keys[slot], this);
        this.timerAlerts += this.alerts.length - before;
      }
    }
  }
}

const EMPTY = Buffer.alloc(0);
