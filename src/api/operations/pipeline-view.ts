/**
 * Owns the form of the pipeline's status over HTTP. Neighbours: `src/stream/runtime/status.ts`,
 * `src/fraud/cases/projection.ts` and `src/fraud/outbox/relay.ts` own what is told, `pipeline.controller.ts` sends it.
 */
import { z } from 'zod';
import type { LaneState, ProjectorStatus } from '../../fraud/cases/projection.js';
import type { RelayState, RelayStatus } from '../../fraud/outbox/relay.js';
import type {
  PipelineStatus,
  StandbyState,
  StandbyStatus,
  TaskState,
  TaskStatus,
} from '../../stream/runtime/status.js';

const TASK_STATES = ['starting', 'recovering', 'running', 'stopping', 'stopped', 'fenced', 'failed'] as const;
const STANDBY_STATES = ['starting', 'restoring', 'following', 'stopping', 'stopped', 'failed'] as const;
const RELAY_STATES = ['waiting', 'recovering', 'running', 'retrying', 'stopped'] as const;
const LANE_STATES = ['starting', 'running', 'retrying', 'failed', 'stopped'] as const;

const count = (description: string) => z.int().min(0).meta({ description });
const error = z.object({ code: z.string(), message: z.string() }).nullable();
const offset = (description: string) => z.int().min(-1).meta({ description });

const taskSchema = z
  .object({
    taskId: z.string(),
    partition: z.int().min(0),
    worker: z.int().min(0),
    state: z.enum(TASK_STATES),
    error,
    committedOffset: offset('The next offset to be processed after a crash now'),
    endOffset: offset("The source's end as last seen"),
    lag: count('Records between the two'),
    epoch: count('The last epoch committed'),
    watermarkMs: z
      .number()
      .nullable()
      .meta({ description: 'Event time reached, ms since 1970; null before any payment' }),
    records: count('Records read, since the task started in this process; so are the other counts'),
    deadLetters: count('Records that became dead letters'),
    alerts: count('Alerts made'),
    late: count('Payments behind the watermark'),
    recoveries: count('Recoveries from the state log'),
    epochLatencyMs: z
      .object({ p50: z.number(), p99: z.number(), max: z.number() })
      .meta({ description: 'First record of an epoch decoded to commit acknowledged, ms' }),
    checkpoint: z.object({
      id: z.string().nullable(),
      completedAt: z.number().nullable().meta({ description: 'ms since 1970' }),
      durationMs: z.number().nullable(),
      sizeBytes: z.number().nullable(),
      failures: count('Checkpoints that failed'),
    }),
    hotKeys: count('Keys held in memory'),
    dirtyKeys: count('Those of them that are not yet in the store'),
    pendingTimers: count('Timers that wait for their event time'),
    counters: z.record(z.string(), z.number()).meta({ description: "Steps' own counters" }),
  })
  .meta({ id: 'TaskStatus', description: 'A task: the owner of one source partition' });

const standbySchema = z
  .object({
    taskId: z.string(),
    partition: z.int().min(0),
    worker: z.int().min(0),
    state: z.enum(STANDBY_STATES),
    error,
    epoch: z.int().min(-1).meta({ description: 'The newest epoch it has; -1 before any' }),
    stateLogOffset: count('Position in the state log'),
    endOffset: count("The state log's end as last seen"),
    lag: count('Records of the state log between the two'),
    hotKeys: count('Keys held in memory'),
    dirtyKeys: count('Those of them that are not yet in the store'),
  })
  .meta({ id: 'StandbyStatus', description: 'A warm copy of the state of a task that another process runs' });

const projectorSchema = z
  .object({
    topic: z.string(),
    state: z.enum(LANE_STATES),
    error,
    partitions: z.array(
      z.object({
        partition: z.int().min(0),
        state: z.enum(LANE_STATES),
        error,
        nextOffset: offset('Offset after the last alert stored; -1 before anything is known'),
        endOffset: offset("The topic's end as last seen; -1 before anything is known"),
        retries: count('Tries since the last success'),
      }),
    ),
    stored: count("Alerts stored since the projector's start"),
    repeated: count('Alerts read that had been stored before'),
    unreadable: count('Records kept aside because they hold no alert that can be stored'),
    lag: count("Records between what is stored and the topic's end"),
  })
  .meta({ id: 'ProjectorStatus', description: 'What brings alerts from the log into the database' });

const relaySchema = z
  .object({
    state: z.enum(RELAY_STATES).meta({ description: 'waiting: another process publishes, and this one stands by' }),
    error,
    relayed: count('Messages published by this process'),
    lag: count('Messages that wait').nullable().meta({ description: 'Null where another process publishes' }),
    waitingSince: z.number().nullable().meta({ description: 'Since when the oldest waits, ms since 1970' }),
  })
  .meta({ id: 'RelayStatus', description: 'What publishes changes made through the API' });

export const pipelineViewSchema = z
  .object({
    name: z.string().nullable().meta({ description: 'Null where no pipeline runs in this process, or not yet' }),
    version: z.string().nullable(),
    backend: z.string().nullable().meta({ description: 'kafka, embedded or memory' }),
    startedAt: z.number().nullable().meta({ description: 'ms since 1970' }),
    generation: z.int().min(1).nullable().meta({ description: 'Of the pipeline: each has a state log of its own' }),
    seededFrom: z
      .string()
      .nullable()
      .meta({ description: 'The savepoint that the generation began with; null where it began with nothing' }),
    sourcePartitions: z.int().min(0).nullable().meta({ description: 'Whether this process owns them or not' }),
    lag: count('Of all tasks here'),
    tasks: z.array(taskSchema),
    firstStage: z
      .array(taskSchema)
      .meta({ description: 'Tasks here that key payments by card; none where they come keyed' }),
    standbys: z.array(standbySchema).meta({ description: 'What this process keeps warm of tasks elsewhere' }),
    workers: z.array(z.object({ worker: z.int().min(0), tasks: count('Tasks it runs'), restarts: count('Restarts') })),
    projector: projectorSchema.nullable().meta({ description: 'Null where this process does not project' }),
    relay: relaySchema.nullable().meta({ description: 'Null where this process serves no API that changes anything' }),
  })
  .meta({ id: 'PipelineView', description: 'How the pipeline of this process runs' });

export type PipelineView = z.infer<typeof pipelineViewSchema>;

/** Records that a task has yet to commit. */
export function taskLag(task: TaskStatus): number {
  return Math.max(0, task.endOffset - Math.max(0, task.committedOffset));
}

/** Records of the state log that a standby has yet to apply. */
export function standbyLag({ endOffset, stateLogOffset }: StandbyStatus): number {
  return Math.max(0, endOffset - stateLogOffset);
}

export function viewPipeline(
  pipeline: PipelineStatus | null,
  projector: ProjectorStatus | null,
  relay: RelayStatus | null,
): PipelineView {
  const tasks = (pipeline?.tasks ?? []).map(viewTask);
  const firstStage = (pipeline?.firstStage ?? []).map(viewTask);
  return {
    name: pipeline?.name ?? null,
    version: pipeline?.version ?? null,
    backend: pipeline?.backend ?? null,
    startedAt: pipeline?.startedAt ?? null,
    generation: pipeline?.generation ?? null,
    seededFrom: pipeline?.seededFrom ?? null,
    sourcePartitions: pipeline?.sourcePartitions ?? null,
    lag: [...firstStage, ...tasks].reduce((sum, task) => sum + task.lag, 0),
    tasks,
    firstStage,
    standbys: (pipeline?.standbys ?? []).map((standby) => ({ ...standby, lag: standbyLag(standby) })),
    workers: (pipeline?.workers ?? []).map(({ worker, tasks, restarts }) => ({ worker, tasks, restarts })),
    projector: projector === null ? null : { ...projector, partitions: [...projector.partitions] },
    relay,
  };
}

function viewTask(task: TaskStatus) {
  return {
    ...task,
    lag: taskLag(task),
    watermarkMs: task.watermarkMs > 0 && Number.isFinite(task.watermarkMs) ? task.watermarkMs : null,
    counters: { ...task.counters },
  };
}

// States are listed once more for the document: this fails to compile where they part.
const _taskStates: readonly TaskState[] extends readonly (typeof TASK_STATES)[number][] ? true : false = true;
const _laneStates: readonly LaneState[] extends readonly (typeof LANE_STATES)[number][] ? true : false = true;
const _relayStates: readonly RelayState[] extends readonly (typeof RELAY_STATES)[number][] ? true : false = true;
const _standbyStates: readonly StandbyState[] extends readonly (typeof STANDBY_STATES)[number][] ? true : false = true;
void _standbyStates;
void _relayStates;
void _taskStates;
void _laneStates;
