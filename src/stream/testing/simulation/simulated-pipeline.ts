/**
 * Owns the pipeline that schedules run: rich enough that every part of the core takes part, and small enough that
 * `reference.ts` can say in plain code what must come out. A key's numbers, two rings and two timers; a broadcast table
 * that enters the state and is stamped into outputs; a lookup that may hang; dead letters; outputs prompt and not.
 */
import { StepBatch } from '../../pipeline/batch.js';
import type { BroadcastState, OpenEnrichStep, Outputs, PipelineDefinition } from '../../pipeline/pipeline.js';
import type { Clock } from '../../ports.js';
import type { OutputRecord } from '../../records.js';
import { f64, ring, stateLayout, timer, u8, u16, u32 } from '../../state/layout.js';

export const TOPICS = {
  source: 'payments',
  /** Where producers may go over to. */
  otherSource: 'payments-by-card',
  table: 'table',
  alerts: 'alerts',
  merchants: 'merchant-input',
  dead: 'dead-letters',
  stateLog: 'state-log',
} as const;

export const NAME = 'simulated';
export const QUIET_MS = 1_000;
export const TICK_MS = 700;
export const TICKS = 3;
export const RECENT = 4;
/** A value from here on makes an alert; from {@link TO_MERCHANT} on the payment also goes to its merchant's partition. */
export const ALERT_FROM = 8;
export const TO_MERCHANT = 5;
/** In the place of an offset of a source that the key has left. */
export const MOVED = -1;
const LOOKUP_BUDGET_MS = 60;

/** What a payment of the simulation says. */
export interface Payment {
  readonly key: string;
  readonly value: number;
  readonly at: number;
}

export const layout = stateLayout(
  'simulated',
  {
    version: 1,
    // Offsets of another partition, or of another topic, say nothing here.
    moved: ({ recent }, slot) => {
      for (let back = 0; back < recent.length(slot); back++) recent.entry.offset[recent.newest(slot, back)] = MOVED;
    },
  },
  {
    count: u32,
    sum: f64,
    risk: f64,
    quiet: timer,
    tick: timer,
    ticks: u8,
    quiets: u16,
    recent: ring(RECENT, { value: f64, offset: f64 }),
    tables: ring(2, { version: u32 }),
  },
);

export class SimulatedBatch extends StepBatch {
  readonly value = new Float64Array(this.capacity);
  readonly seen = new Uint32Array(this.capacity);
  readonly sum = new Float64Array(this.capacity);
  readonly risk = new Float64Array(this.capacity);
  readonly lookedUp = new Uint8Array(this.capacity);
  readonly recent: string[] = [];
}

export type SimulatedDefinition = PipelineDefinition<SimulatedBatch, typeof layout.fields>;

/** The newest rows of the broadcast table, and the number of the last update. */
export class RiskTable {
  version = 0;
  private readonly risks = new Map<string, number>();

  update(key: string, value: string | null): void {
    const row = JSON.parse(value ?? '{}') as { version: number; risk: number | null };
    this.version = row.version;
    if (row.risk === null) this.risks.delete(key);
    else this.risks.set(key, row.risk);
  }

  riskOf(value: number): number {
    return this.risks.get(merchantOf(value)) ?? 0;
  }

  /** The same for tables that hold the same. */
  get digest(): string {
    return [...this.risks]
      .map(([key, risk]) => `${key}=${risk}`)
      .sort()
      .join(',');
  }
}

export const merchantOf = (value: number) => `m-${value % 4}`;

/** What lies outside of the pipeline and takes its time. */
export interface Outside {
  /** Asks a service; may never settle. True: it answered. */
  lookup(): Promise<boolean>;
  /** What decoding needs (a schema, elsewhere), or null where it is at hand. */
  ready(): Promise<void> | null;
  /** Scores a batch. */
  score(): Promise<void> | undefined;
}

export function simulatedPipeline(
  outOfOrdernessMs: number,
  outside: Outside,
  source: string = TOPICS.source,
): SimulatedDefinition {
  // A definition serves one process; its table is made anew with every opening.
  let table = new RiskTable();
  return {
    name: NAME,
    version: '1',
    outOfOrdernessMs,
    source: {
      id: 'payments',
      topic: source,
      makeBatch: (capacity) => new SimulatedBatch(capacity),
      prepare: () => outside.ready(),
      decode(batch, records, rejects) {
        for (let i = 0; i < records.count; i++) {
          const text = records.value(i)?.toString() ?? '';
          if (!text.startsWith('{')) {
            rejects.reject(i, 'malformed', `not an object: ${text.slice(0, 20)}`);
            continue;
          }
          addRow(batch, i, JSON.parse(text) as Payment);
        }
      },
    },
    broadcasts: [
      {
        kind: 'broadcast',
        id: 'table',
        topic: TOPICS.table,
        open: () => {
          table = new RiskTable();
          return broadcastOf(table);
        },
      },
    ],
    enrich: [{ kind: 'enrich', id: 'lookup', open: ({ clock }) => openLookup(clock, outside.lookup) }],
    layout,
    keyed: [
      {
        kind: 'keyed',
        id: 'count',
        open: (_context, columns) => ({
          apply(batch, row, slot) {
            const value = batch.value[row];
            const { recent, tables, count, sum, risk, quiet, tick } = columns;
            count[slot] += 1;
            sum[slot] += value;
            risk[slot] += table.riskOf(value);
            const entry = recent.append(slot);
            recent.entry.value[entry] = value;
            recent.entry.offset[entry] = batch.records.offset[batch.recordIndex[row]];
            tables.entry.version[tables.append(slot)] = table.version;
            quiet.set(slot, batch.eventTimeMs[row] + QUIET_MS);
            if (count[slot] % 5 === 1) {
              columns.ticks[slot] = 0;
              tick.set(slot, batch.eventTimeMs[row] + TICK_MS);
            }
            batch.seen[row] = count[slot];
            batch.sum[row] = sum[slot];
            batch.risk[row] = risk[slot];
            const offsets: number[] = [];
            for (let back = 0; back < recent.length(slot); back++) {
              offsets.push(recent.entry.offset[recent.newest(slot, back)]);
            }
            batch.recent[row] = offsets.join(' ');
          },
          onTimer({ field, dueMs }, slot, key, outputs) {
            const name = key.toString();
            const counted = { count: columns.count[slot], quiets: columns.quiets[slot] };
            if (field === 'tick') {
              columns.ticks[slot] += 1;
              if (columns.ticks[slot] < TICKS) columns.tick.set(slot, dueMs + TICK_MS);
              outputs.emit(output(TOPICS.alerts, name, { tick: name, dueMs, ...counted }), { prompt: false });
              return;
            }
            columns.quiets[slot] += 1;
            outputs.emit(output(TOPICS.alerts, name, { quiet: name, dueMs, ...counted }), { prompt: true });
          },
        }),
      },
    ],
    batchSteps: [
      { kind: 'batch', id: 'score', open: () => ({ apply: () => outside.score() }) },
      { kind: 'batch', id: 'emit', open: () => ({ apply: (batch, out) => emitRows(batch, out, table) }) },
    ],
    deadLetters: { topic: TOPICS.dead, limits: { burst: 1_000, share: 1, shareWindow: 1_000 } },
  };
}

function addRow(batch: SimulatedBatch, recordIndex: number, payment: Payment): void {
  const row = batch.count++;
  batch.recordIndex[row] = recordIndex;
  batch.eventTimeMs[row] = payment.at;
  batch.value[row] = payment.value;
  batch.lookedUp[row] = 0;
  batch.inSide[row] = 1;
  batch.keyStart[row] = batch.addSideText(payment.key);
  batch.keyLength[row] = batch.sideLength - batch.keyStart[row];
}

function broadcastOf(table: RiskTable): BroadcastState {
  return {
    id: 'table',
    topic: TOPICS.table,
    apply: (key, value) => table.update(String(key), value === null ? null : String(value)),
    took: (outputs, fromOffset) => {
      const body = { took: table.version, fromOffset, digest: table.digest };
      outputs.emit(output(TOPICS.alerts, 'table', body), { prompt: false });
    },
  };
}

/** One lookup a batch; what it does not answer within the budget stays without. */
function openLookup(clock: Clock, lookup: Outside['lookup']): OpenEnrichStep<SimulatedBatch> {
  return {
    prepare(batch) {
      if (batch.count === 0) return null;
      return new Promise((resolve) => {
        let waiting = true;
        const end = () => {
          waiting = false;
          resolve();
        };
        const cancel = clock.schedule(LOOKUP_BUDGET_MS, end);
        lookup().then((answered) => {
          // The batch is used again once the budget is over.
          if (!waiting) return;
          if (answered) batch.lookedUp.fill(1, 0, batch.count);
          cancel();
          end();
        }, end);
      });
    },
  };
}

function emitRows(batch: SimulatedBatch, outputs: Outputs, table: RiskTable): void {
  for (let row = 0; row < batch.count; row++) {
    const key = batch.textBytes(row).toString('utf8', batch.keyStart[row], batch.keyStart[row] + batch.keyLength[row]);
    const value = batch.value[row];
    const body = {
      offset: batch.records.offset[batch.recordIndex[row]],
      key,
      seen: batch.seen[row],
      sum: batch.sum[row],
      risk: batch.risk[row],
      recent: batch.recent[row],
      late: batch.late[row] === 1,
      table: table.version,
      lookedUp: batch.lookedUp[row] === 1,
    };
    outputs.emit(output(TOPICS.alerts, key, body), { prompt: value >= ALERT_FROM });
    if (value >= TO_MERCHANT) {
      const merchant = merchantOf(value);
      outputs.emit(output(TOPICS.merchants, merchant, { offset: body.offset, merchant, value }), { prompt: false });
    }
  }
}

const output = (topic: string, key: string, body: object): OutputRecord => ({
  topic,
  key: Buffer.from(key),
  value: Buffer.from(JSON.stringify(body)),
  headers: [],
  timestampMs: 1,
});
