/**
 * Owns the risk table: merchants' risk as broadcast state, from a compacted topic whose key is the merchant's id and
 * whose value is `{"risk": 0..1, "asOf": ms since 1970}`. It stands in where a lookup fails. Neighbours: the task
 * applies records at epoch boundaries, `merchant-risk.ts` reads.
 * Bounded: over `maxEntries` new merchants are left out and counted; merchants already held are still updated.
 */
import type { BroadcastState, BroadcastStep, StepContext } from '../../stream/pipeline/pipeline.js';
import { hash32, KeyIndex, MAX_KEY_BYTES } from '../../stream/state/key-index.js';
import { isMerchantRisk } from './merchant-risk-lookup.js';

export const RISK_TABLE_TOPIC = 'fraud.risk-table';

const FIRST_CAPACITY = 1_024;

/** Merchant bytes to risk; grows by doubling to its bound. */
export class RiskTable {
  private index: KeyIndex;
  private risks: Float64Array;
  private asOfs: Float64Array;
  private free: number[] = [];
  private filled = 0;

  constructor(private readonly maxEntries: number) {
    const capacity = Math.min(FIRST_CAPACITY, maxEntries);
    this.index = new KeyIndex(capacity);
    this.risks = new Float64Array(capacity);
    this.asOfs = new Float64Array(capacity);
  }

  get size(): number {
    return this.filled - this.free.length;
  }

  /** Row of a merchant for {@link risk} and {@link asOfMs}, or -1. `hash` is `hash32` of the same bytes. */
  find(bytes: Uint8Array, start: number, length: number, hash: number): number {
    return this.index.find(bytes, start, length, hash);
  }

  risk(row: number): number {
    return this.risks[row];
  }

  asOfMs(row: number): number {
    return this.asOfs[row];
  }

  /** False where the table is full and the merchant is not in it. */
  set(key: Uint8Array, risk: number, asOfMs: number): boolean {
    const hash = hash32(key, 0, key.length);
    let row = this.index.find(key, 0, key.length, hash);
    if (row < 0) {
      row = this.takeRow();
      if (row < 0) return false;
      this.index.insert(row, key, 0, key.length, hash);
    }
    this.risks[row] = risk;
    this.asOfs[row] = asOfMs;
    return true;
  }

  delete(key: Uint8Array): void {
    const row = this.index.find(key, 0, key.length, hash32(key, 0, key.length));
    if (row < 0) return;
    this.index.remove(row);
    this.free.push(row);
  }

  private takeRow(): number {
    const freed = this.free.pop();
    if (freed !== undefined) return freed;
    if (this.filled === this.index.capacity && !this.grow()) return -1;
    return this.filled++;
  }

  private grow(): boolean {
    const { index } = this;
    const capacity = Math.min(index.capacity * 2, this.maxEntries);
    if (capacity === index.capacity) return false;
    const grown = new KeyIndex(capacity);
    // Called with no free rows: every row up to `filled` is bound.
    for (let row = 0; row < this.filled; row++) {
      grown.insert(row, index.key(row), 0, index.keyLength(row), index.hash(row));
    }
    this.index = grown;
    const widen = (column: Float64Array) => {
      const wide = new Float64Array(capacity);
      wide.set(column);
      return wide;
    };
    this.risks = widen(this.risks);
    this.asOfs = widen(this.asOfs);
    return true;
  }
}

export interface RiskTableStep extends BroadcastStep {
  /** The table of a task opened in this thread; an empty one before that and after it closed. */
  tableOf(taskId: string): RiskTable;
}

/**
 * The broadcast step. Counters: `riskTable.bad` (records left out for what they hold), `riskTable.full` (left out over
 * `maxEntries`, default 200,000). One step value serves the tasks of one thread; each has its own table.
 */
export function riskTable(options: { readonly topic?: string; readonly maxEntries?: number } = {}): RiskTableStep {
  const { topic = RISK_TABLE_TOPIC, maxEntries = 200_000 } = options;
  const tables = new Map<string, RiskTable>();
  const empty = new RiskTable(1);
  return {
    kind: 'broadcast',
    id: 'risk-table',
    topic,
    // A task that opens again (recovery) reads the topic from its beginning into a new table.
    open(context: StepContext): BroadcastState {
      const table = new RiskTable(maxEntries);
      tables.set(context.taskId, table);
      return {
        id: 'risk-table',
        topic,
        apply: (key, value) => applyTo(table, key, value, context),
        // The task may have opened again already: then its table is another one, and stays.
        close: () => {
          if (tables.get(context.taskId) === table) tables.delete(context.taskId);
        },
      };
    },
    tableOf: (taskId) => tables.get(taskId) ?? empty,
  };
}

function applyTo(table: RiskTable, key: Buffer | null, value: Buffer | null, context: StepContext): void {
  if (key === null || key.length === 0 || key.length > MAX_KEY_BYTES) {
    context.count('riskTable.bad');
  } else if (value === null) {
    table.delete(key);
  } else {
    const row = readRow(value);
    if (row === null) context.count('riskTable.bad');
    else if (!table.set(key, row.risk, row.asOfMs)) context.count('riskTable.full');
  }
}

function readRow(value: Buffer): { readonly risk: number; readonly asOfMs: number } | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value.toString('utf8'));
  } catch {
    // Not JSON: the caller counts it, and what the table held for the merchant stays.
    return null;
  }
  if (typeof parsed !== 'object' || parsed === null) return null;
  const { risk, asOf } = parsed as { risk?: unknown; asOf?: unknown };
  const row = { risk, asOfMs: asOf };
  return isMerchantRisk(row) ? row : null;
}
