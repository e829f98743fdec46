/**
 * Owns the oracle: what must have come out of a schedule, computed from the input alone in plain sequential code. What
 * it takes from the system under test is the journal of committed epochs: up to which broadcast update each one went,
 * and how far event time went on while the source was idle. Nothing of the core is used here.
 */
import type { MemoryRecord } from '../memory-partition.js';
import { type JournalledEpoch, Violation } from './journal.js';
import {
  merchantOf,
  type Payment,
  QUIET_MS,
  RECENT,
  RiskTable,
  TICK_MS,
  TICKS,
  TO_MERCHANT,
  TOPICS,
} from './simulated-pipeline.js';

/** Event time may run this far ahead of a record's log time; stated once more, on purpose. */
const FUTURE_ALLOWANCE_MS = 60_000;

export interface ReferenceCard {
  count: number;
  sum: number;
  risk: number;
  quietMs: number;
  tickMs: number;
  ticks: number;
  quiets: number;
  /** Newest first. */
  recent: { readonly value: number; readonly offset: number }[];
  tables: number[];
}

export interface Expected {
  /** Source offset behind it; highest event time, null before the first record; position in the broadcast table. */
  readonly offset: number;
  readonly maxEventTimeMs: number | null;
  readonly table: number;
  readonly cards: ReadonlyMap<string, ReferenceCard>;
  /** Outputs without those that tell of broadcast take-ups, one line each, sorted. */
  readonly alerts: readonly string[];
  readonly merchants: readonly string[];
  /** `<offset> <value>`. */
  readonly dead: readonly string[];
  readonly late: number;
}

export interface ReferenceInput {
  readonly outOfOrdernessMs: number;
  readonly idles: boolean;
  /** Committed records of one source partition, and of the broadcast table. */
  readonly source: readonly MemoryRecord[];
  readonly table: readonly MemoryRecord[];
  readonly epochs: readonly JournalledEpoch[];
  readonly beginning: Beginning;
  /**
   * The epochs are not all that there will be: timers that were due at the last one's end may be fired in later ones (an
   * epoch keeps its bound), or by the next generation. Those are told from the rest by what the epochs put out.
   */
  readonly isCut: boolean;
}

/** What a task begins with: nothing, or what the generation before left to it. */
export interface Beginning {
  readonly offset: number;
  readonly maxEventTimeMs: number | null;
  readonly table: number;
  /** Changed by nobody. */
  readonly cards: ReadonlyMap<string, ReferenceCard>;
}

export const FROM_NOTHING: Beginning = { offset: 0, maxEventTimeMs: null, table: 0, cards: new Map() };

export function reference(input: ReferenceInput): Expected {
  const { beginning } = input;
  const run = new Sequential(input.outOfOrdernessMs, beginning, input.isCut ? firedIn(input.epochs) : null);
  let nextRecord = input.source.findIndex(({ offset }) => offset >= beginning.offset);
  if (nextRecord < 0) nextRecord = input.source.length;
  let nextUpdate = 0;
  const updateTable = (end: number) => {
    while (nextUpdate < input.table.length && input.table[nextUpdate].offset < end) {
      const { key, value } = input.table[nextUpdate++];
      run.table.update(String(key), value === null ? null : String(value));
    }
  };
  updateTable(beginning.table);
  for (const epoch of input.epochs) {
    const versionBefore = run.table.version;
    updateTable(epoch.table);
    checkTakeUps(epoch, run.table, versionBefore);
    while (nextRecord < input.source.length && input.source[nextRecord].offset < epoch.to) {
      run.take(input.source[nextRecord++]);
    }
    run.advanceTo(epoch, input.idles);
  }
  const { cards, alerts, merchants, dead, late } = run;
  const { table, maxEventTimeMs } = input.epochs.at(-1) ?? beginning;
  const offset = input.epochs.at(-1)?.to ?? beginning.offset;
  return {
    offset,
    maxEventTimeMs,
    table,
    cards,
    alerts: alerts.sort(),
    merchants: merchants.sort(),
    dead: dead.sort(),
    late,
  };
}

const firedIn = (epochs: readonly JournalledEpoch[]): ReadonlySet<string> =>
  new Set(epochs.flatMap(({ outputs }) => outputs.map(({ value }) => String(value))));

/** An epoch that began with updates tells of them; whatever any epoch tells is true of it. */
function checkTakeUps(epoch: JournalledEpoch, table: RiskTable, versionBefore: number): void {
  let told = 0;
  for (const { topic, value } of epoch.outputs) {
    if (topic !== TOPICS.alerts) continue;
    const body = JSON.parse(String(value)) as { took?: number; fromOffset?: number; digest?: string };
    if (body.took === undefined) continue;
    told += 1;
    if (body.took === table.version && body.fromOffset === epoch.from && body.digest === table.digest) continue;
    throw new Violation(
      'broadcast',
      `epoch ${epoch.epoch} from ${epoch.from} tells ${String(value)}, but has table ${table.version} (${table.digest})`,
    );
  }
  if (told === 0 && table.version !== versionBefore) {
    throw new Violation('broadcast', `epoch ${epoch.epoch} has table ${table.version} and does not tell of it`);
  }
}

class Sequential {
  readonly cards = new Map<string, ReferenceCard>();
  readonly alerts: string[] = [];
  readonly merchants: string[] = [];
  readonly dead: string[] = [];
  readonly table = new RiskTable();
  late = 0;
  private maxEventTimeMs: number;

  constructor(
    private readonly outOfOrdernessMs: number,
    { cards, maxEventTimeMs }: Beginning,
    /** What timers put out until the end; null: all that are due. */
    private readonly fired: ReadonlySet<string> | null,
  ) {
    for (const [key, card] of cards)
      this.cards.set(key, { ...card, recent: [...card.recent], tables: [...card.tables] });
    this.maxEventTimeMs = maxEventTimeMs ?? Number.NEGATIVE_INFINITY;
  }

  take({ offset, value, timestampMs }: MemoryRecord): void {
    const text = String(value);
    if (!text.startsWith('{')) {
      this.dead.push(`${offset} ${text}`);
      return;
    }
    const payment = JSON.parse(text) as Payment;
    const watermarkMs = this.maxEventTimeMs - this.outOfOrdernessMs;
    const card = this.cards.get(payment.key) ?? emptyCard();
    this.cards.set(payment.key, card);
    this.fire(payment.key, card, watermarkMs);
    const late = payment.at < watermarkMs;
    if (late) this.late += 1;
    this.count(card, payment, offset);
    const body = {
      offset,
      key: payment.key,
      seen: card.count,
      sum: card.sum,
      risk: card.risk,
      recent: card.recent.map((entry) => entry.offset).join(' '),
      late,
      table: this.table.version,
    };
    this.alerts.push(JSON.stringify(body));
    if (payment.value >= TO_MERCHANT) {
      this.merchants.push(JSON.stringify({ offset, merchant: merchantOf(payment.value), value: payment.value }));
    }
    const bounded = Math.min(payment.at, timestampMs + FUTURE_ALLOWANCE_MS);
    this.maxEventTimeMs = Math.max(this.maxEventTimeMs, bounded);
  }

  /** An epoch's end: the timers of all keys that event time has passed. */
  advanceTo({ epoch, maxEventTimeMs }: JournalledEpoch, idles: boolean): void {
    const reached = maxEventTimeMs ?? Number.NEGATIVE_INFINITY;
    if (reached < this.maxEventTimeMs || (reached > this.maxEventTimeMs && !idles)) {
      throw new Violation('I7', `epoch ${epoch} says event time ${reached}, the records say ${this.maxEventTimeMs}`);
    }
    this.maxEventTimeMs = reached;
    for (const [key, card] of this.cards) this.fire(key, card, reached - this.outOfOrdernessMs, true);
  }

  private count(card: ReferenceCard, payment: Payment, offset: number): void {
    card.count += 1;
    card.sum += payment.value;
    card.risk += this.table.riskOf(payment.value);
    card.recent = [{ value: payment.value, offset }, ...card.recent].slice(0, RECENT);
    card.tables = [this.table.version, ...card.tables].slice(0, 2);
    card.quietMs = payment.at + QUIET_MS;
    if (card.count % 5 === 1) {
      card.ticks = 0;
      card.tickMs = payment.at + TICK_MS;
    }
  }

  private fire(key: string, card: ReferenceCard, watermarkMs: number, mayWait = false): void {
    const isDue = (dueMs: number) => dueMs > 0 && dueMs <= watermarkMs;
    while (isDue(card.quietMs) || isDue(card.tickMs)) {
      const counted = { count: card.count, quiets: card.quiets };
      const isQuiet = isDue(card.quietMs) && !(isDue(card.tickMs) && card.tickMs < card.quietMs);
      const dueMs = isQuiet ? card.quietMs : card.tickMs;
      const alert = JSON.stringify(isQuiet ? { quiet: key, dueMs, ...counted } : { tick: key, dueMs, ...counted });
      if (this.fired !== null && !this.fired.has(alert)) {
        if (mayWait) return;
        throw new Violation('I7', `a payment of ${key} came before the timer that was due: ${alert}`);
      }
      this.alerts.push(alert);
      if (isQuiet) {
        card.quiets += 1;
        card.quietMs = 0;
      } else {
        card.ticks += 1;
        card.tickMs = card.ticks < TICKS ? card.tickMs + TICK_MS : 0;
      }
    }
  }
}

const emptyCard = (): ReferenceCard => ({
  count: 0,
  sum: 0,
  risk: 0,
  quietMs: 0,
  tickMs: 0,
  ticks: 0,
  quiets: 0,
  recent: [],
  tables: [],
});
