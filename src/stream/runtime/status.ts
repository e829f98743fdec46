/**
 * Owns what a running pipeline tells of itself. Workers post a {@link TaskStatus} a task and a {@link StandbyStatus} a
 * standby some times a second; the supervisor holds the newest of each in a {@link PipelineStatus}, which the API, the
 * metrics page and the terminal read.
 */

/**
 * A task's life:
 *
 *   starting → recovering → running ⇄ recovering (a commit in doubt)
 *                              │
 *                              ├→ stopping → stopped   (asked to)
 *                              ├→ fenced               (another owner took over)
 *                              └→ failed               (needs the supervisor, or a person)
 */
export type TaskState = 'starting' | 'recovering' | 'running' | 'stopping' | 'stopped' | 'fenced' | 'failed';

/** Cumulative since the task's start in this process unless said otherwise. Times in ms since 1970, durations in ms. */
export interface TaskStatus {
  readonly taskId: string;
  readonly partition: number;
  readonly worker: number;
  readonly state: TaskState;
  /** Code and message of what failed, where the state says so. */
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Committed: the next offset to be processed after a crash now. */
  readonly committedOffset: number;
  /** The source's end as last seen. Lag = endOffset - committedOffset. */
  readonly endOffset: number;
  readonly epoch: number;
  readonly watermarkMs: number;
  readonly records: number;
  readonly deadLetters: number;
  readonly alerts: number;
  readonly late: number;
  readonly recoveries: number;
  /** Epoch latency: first record of an epoch decoded to commit acknowledged, over the last some hundred epochs. */
  readonly epochLatencyMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly checkpoint: {
    readonly id: string | null;
    readonly completedAt: number | null;
    readonly durationMs: number | null;
    readonly sizeBytes: number | null;
    readonly failures: number;
  };
  /** Keys held hot, and how many of those are not yet in the store. */
  readonly hotKeys: number;
  readonly dirtyKeys: number;
  readonly pendingTimers: number;
  /** Counters of steps, by name (`enrich.lookups`, `enrich.degraded`, `rules.fired.<id>` …). */
  readonly counters: Readonly<Record<string, number>>;
}

/** starting → restoring → following → stopping → stopped, or failed: then it is tried again. */
export type StandbyState = 'starting' | 'restoring' | 'following' | 'stopping' | 'stopped' | 'failed';

/** A standby of a task that runs elsewhere. Lag = endOffset - stateLogOffset, in records of the state log. */
export interface StandbyStatus {
  /** Of the task that it is a standby of. */
  readonly taskId: string;
  readonly partition: number;
  readonly worker: number;
  readonly state: StandbyState;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** The newest epoch applied; -1 before any. */
  readonly epoch: number;
  readonly stateLogOffset: number;
  /** The state log's end as last seen. */
  readonly endOffset: number;
  readonly hotKeys: number;
  readonly dirtyKeys: number;
}

/** Of one thread, as V8 tells it. */
export interface ThreadMemory {
  /** Objects, and pages held for them; of the latter no more than the limit, past which the thread dies. */
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly heapLimitBytes: number;
  /** Outside the heap, held by objects in it: columns, buffers. */
  readonly externalBytes: number;
}

export interface WorkerStatus {
  readonly worker: number;
  readonly tasks: number;
  readonly restarts: number;
  /** Null before the thread first told. */
  readonly memory: ThreadMemory | null;
}

export interface PipelineStatus {
  readonly name: string;
  readonly version: string;
  readonly backend: string;
  readonly startedAt: number;
  /** Of the pipeline: 1, 2, …; each has a state log of its own. */
  readonly generation: number;
  /** Name of the savepoint that the generation began with; null where it began with nothing. */
  readonly seededFrom: string | null;
  /** Partitions of the source, whether this process owns them or not. */
  readonly sourcePartitions: number;
  readonly tasks: readonly TaskStatus[];
  /** Tasks here of a first stage that gives records their keys; left out where there is none. */
  readonly firstStage?: readonly TaskStatus[];
  /** What this process keeps warm of others' tasks. */
  readonly standbys: readonly StandbyStatus[];
  readonly workers: readonly WorkerStatus[];
}
