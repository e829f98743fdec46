/**
 * Owns the pipeline as inert data: ordered steps with stable ids, which a task opens and runs. It holds no state and
 * starts nothing. `src/fraud/pipeline.ts` is the one to read first; `runtime/task.ts` runs what is described here.
 *
 * Order within a task (each line for the whole batch before the next, but for keyed steps):
 *   decode → enrich (asynchronous, overlaps the batch before) → keyed steps, row by row in offset order: due timers of
 *   the row's key, then each step → batch steps (model, rules) → outputs into the open epoch.
 * Keyed steps see nothing that later rows or batch steps wrote, so results do not depend on where batches were cut.
 */

import type { Clock } from '../ports.js';
import type { OutputRecord, RecordBatch } from '../records.js';
import type { ColumnsOf, LayoutFields, StateLayout } from '../state/layout.js';
import type { StepBatch } from './batch.js';
import type { Origin } from './origin.js';

/** The id of the task that owns a partition of a pipeline's source: unique within a deployment. */
export function taskIdOf(pipelineName: string, partition: number): string {
  return `${pipelineName}-${partition}`;
}

/**
 * Whose name a task commits under (Kafka: its transactional id). Names hold no dot, so no other pipeline's and no other
 * generation's task has the same one: whoever takes a task over fences its earlier owners, and nobody else.
 */
export function ownerIdOf(pipelineName: string, generation: number, partition: number): string {
  return `${pipelineName}.g${generation}.${partition}`;
}

/** What an opened step may use. One a task. */
export interface StepContext {
  /** `<pipeline>-<partition>`, unique within a deployment. */
  readonly taskId: string;
  readonly source: { readonly topic: string; readonly partition: number };
  readonly clock: Clock;
  /** Adds to a counter shown in the task's figures; names come from `runtime/figures.ts` or a step's own id. */
  count(name: string, by?: number): void;
}

/** What programs want to know of a refused record beyond its code, by header name. */
export type RejectDetails = Readonly<Record<string, string>>;

/** Refuses records; each becomes a dead letter with its raw key and bytes. */
export interface Rejects {
  /**
   * `code` is stable and short (kebab-case), `message` says what was found where. `details` become headers of the dead
   * letter: few, short, and with names of their own.
   */
  reject(recordIndex: number, code: string, message: string, details?: RejectDetails): void;
}

/** Takes what a step emits into the open epoch. */
export interface Outputs {
  /** `prompt` outputs (alerts) make the epoch close early. */
  emit(record: OutputRecord, options: { readonly prompt: boolean }): void;
}

/** Turns records into rows. Must not throw on any bytes: what it can't read it rejects. */
export interface SourceStep<B extends StepBatch> {
  readonly id: string;
  readonly topic: string;
  makeBatch(capacity: number): B;
  /**
   * Gets what decoding these records needs (schemas), or null where it is at hand. Reading waits for it, so the source
   * is held back; a rejection ends the task. Must give up waiting once `stopping()` holds.
   */
  prepare?(records: RecordBatch, stopping: () => boolean): Promise<void> | null;
  /** Fills rows of `batch` from `batch.records`, in record order. */
  decode(batch: B, records: RecordBatch, rejects: Rejects): void;
  /** Where a record lay before a first stage gave it another key: what dead letters and evidence name. Null: here. */
  originOf?(records: RecordBatch, index: number): Origin | null;
}

/** Completes rows from elsewhere before keyed steps run. Null: nothing to wait for. Must settle within its own time budget and never reject for a lookup that failed. */
export interface OpenEnrichStep<B extends StepBatch> {
  prepare(batch: B): Promise<void> | null;
  close?(): void;
}

/** A timer that came due: its field's name and due time. The slot's columns are loaded. */
export interface FiredTimer {
  readonly field: string;
  readonly dueMs: number;
}

/** Runs row by row in offset order, reading and writing the key's columns by slot. Synchronous. */
export interface OpenKeyedStep<B extends StepBatch> {
  apply(batch: B, row: number, slot: number): void;
  /** `key` is a view, valid during the call. Called for every timer field; a step ignores those not its own. */
  onTimer?(timer: FiredTimer, slot: number, key: Buffer, outputs: Outputs): void;
}

/** Runs once a batch, after all keyed steps. */
export interface OpenBatchStep<B extends StepBatch> {
  apply(batch: B, outputs: Outputs): void | Promise<void>;
  close?(): void | Promise<void>;
}

/** Broadcast state: a compacted topic whose newest values every task holds. `apply` runs at epoch boundaries alone. */
export interface BroadcastState {
  readonly id: string;
  readonly topic: string;
  /** A null value deletes the key. Must not throw on bad values: it keeps what it has and counts. */
  apply(key: Buffer | null, value: Buffer | null): void;
  /**
   * Called once in an epoch that begins with updates of this state, before any row of it, and once after the task has
   * started: from source offset `fromOffset` on the state holds. What it emits becomes visible with that very epoch.
   */
  took?(outputs: Outputs, fromOffset: number): void;
  /** The task has ended, or begins anew with another state: lets go of what is held. */
  close?(): void;
}

export interface EnrichStep<B extends StepBatch> {
  readonly kind: 'enrich';
  readonly id: string;
  open(context: StepContext): OpenEnrichStep<B>;
}

export interface KeyedStep<B extends StepBatch, F extends LayoutFields> {
  readonly kind: 'keyed';
  readonly id: string;
  open(context: StepContext, columns: ColumnsOf<F>): OpenKeyedStep<B>;
}

export interface BatchStep<B extends StepBatch> {
  readonly kind: 'batch';
  readonly id: string;
  open(context: StepContext): OpenBatchStep<B> | Promise<OpenBatchStep<B>>;
}

export interface BroadcastStep {
  readonly kind: 'broadcast';
  readonly id: string;
  readonly topic: string;
  open(context: StepContext): BroadcastState;
}

/** Dead letters over either limit stop the task: a bad deploy must not drain the topic into the dead-letter topic. */
export interface DeadLetterLimits {
  /** Rejected records in a row. */
  readonly burst: number;
  /** Share of the last `shareWindow` records, 0 to 1. */
  readonly share: number;
  readonly shareWindow: number;
}

export interface PipelineDefinition<B extends StepBatch, F extends LayoutFields> {
  readonly name: string;
  readonly version: string;
  readonly source: SourceStep<B>;
  /** How far event time may run out of order before a row is late. */
  readonly outOfOrdernessMs: number;
  readonly broadcasts: readonly BroadcastStep[];
  readonly enrich: readonly EnrichStep<B>[];
  readonly layout: StateLayout<F>;
  readonly keyed: readonly KeyedStep<B, F>[];
  readonly batchSteps: readonly BatchStep<B>[];
  readonly deadLetters: { readonly topic: string; readonly limits: DeadLetterLimits };
}
