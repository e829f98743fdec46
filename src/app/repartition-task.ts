/**
 * Owns one task of the first stage, whose source topic may just have been found: it sees to the topic's state log, as
 * many partitions as the topic has, and then runs an ordinary task. Neighbour: `repartition-entry.ts` makes them.
 */
import { createHash } from 'node:crypto';
import { StreamError } from '../stream/errors.js';
import type { SourcePartition, TopicAdmin } from '../stream/ports.js';
import type { TaskStatus } from '../stream/runtime/status.js';
import { describe, type TaskEnd } from '../stream/runtime/task.js';
import type { HostedTask } from '../stream/runtime/task-host.js';

/** Topics' names are no longer. */
const LONGEST_TOPIC_NAME = 249;

/** What the names of a pipeline's first-stage state logs begin with. */
export const repartitionLogsOf = (stateLog: string): string => `${stateLog}-repartition-`;

/** The state log of the tasks that read `topic`. A name too long for a topic ends in a hash of itself. */
export function repartitionLogOf(stateLog: string, topic: string): string {
  const name = repartitionLogsOf(stateLog) + topic;
  if (name.length <= LONGEST_TOPIC_NAME) return name;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, LONGEST_TOPIC_NAME - hash.length - 1)}-${hash}`;
}

/** Makes or grows the state log of the tasks that read `topic`. Returns its name. */
async function readyStateLog(admin: TopicAdmin, stateLog: string, topic: string): Promise<string> {
  const partitions = await admin.partitionCount(topic);
  if (partitions === null) throw new StreamError('topic-gone', `Topic ${topic} is not there any more`);
  const name = repartitionLogOf(stateLog, topic);
  await admin.ensure([{ name, partitions, cleanup: 'delete', retentionMs: -1 }]);
  if (((await admin.partitionCount(name)) ?? 0) < partitions) await admin.grow(name, partitions);
  return name;
}

/** What is said of a source topic that was deleted: its tasks end, the others go on. */
const GONE: ReadonlySet<string> = new Set(['topic-gone', 'kafka-topic-missing', 'topic-deleted']);

export interface RepartitionTaskParts {
  readonly taskId: string;
  readonly unit: SourcePartition;
  readonly worker: number;
  /** Of the pipeline's first generation: the first stage has no others, as it keeps no state by key. */
  readonly stateLog: string;
  openAdmin(): Promise<TopicAdmin>;
  /** `identity` names that very state log. */
  makeTask(stateLog: string, identity: string): Promise<HostedTask>;
  say(level: 'info' | 'warn', message: string): void;
}

export class RepartitionTask implements HostedTask {
  private task: HostedTask | null = null;
  private stopRequested = false;
  private failure: { code: string; message: string } | null = null;

  constructor(private readonly parts: RepartitionTaskParts) {}

  get taskId(): string {
    return this.parts.taskId;
  }

  async run(): Promise<TaskEnd> {
    const { unit, stateLog, makeTask, openAdmin, say } = this.parts;
    try {
      const admin = await openAdmin();
      const name = await readyStateLog(admin, stateLog, unit.topic);
      this.task = await makeTask(name, await admin.identity(name));
      if (this.stopRequested) return 'stopped';
      return await this.task.run();
    } catch (error) {
      this.failure = describe(error);
      if (!GONE.has(this.failure.code) || (await this.isStillThere())) throw error;
      say('warn', `${unit.topic} was deleted: nothing more is read of its partition ${unit.partition}`);
      return 'stopped';
    }
  }

  stop(): void {
    this.stopRequested = true;
    this.task?.stop();
  }

  status(): TaskStatus {
    if (this.task !== null) return this.task.status();
    const { taskId, unit, worker } = this.parts;
    const state = this.failure === null ? 'starting' : 'failed';
    return { ...NOTHING_YET, taskId, partition: unit.partition, worker, state, error: this.failure };
  }

  private async isStillThere(): Promise<boolean> {
    const { openAdmin, unit } = this.parts;
    return (await (await openAdmin()).partitionCount(unit.topic)) !== null;
  }
}

const NOTHING_YET = {
  committedOffset: 0,
  endOffset: 0,
  epoch: -1,
  watermarkMs: 0,
  records: 0,
  deadLetters: 0,
  alerts: 0,
  late: 0,
  recoveries: 0,
  epochLatencyMs: { p50: 0, p99: 0, max: 0 },
  checkpoint: { id: null, completedAt: null, durationMs: null, sizeBytes: null, failures: 0 },
  hotKeys: 0,
  dirtyKeys: 0,
  pendingTimers: 0,
  counters: {},
} as const;
