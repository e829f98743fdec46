/**
 * Owns one simulated machine: its disk, the process that lives on it now, and in it the real task host with real tasks.
 * Neighbours: `cluster.ts` says which partitions it is told to own, and what befalls it.
 */

import { OffsetOutOfRangeError } from '../../errors.js';
import { taskIdOf } from '../../pipeline/pipeline.js';
import type { LogBackend } from '../../ports.js';
import { StandbyTask } from '../../runtime/standby-task.js';
import type { TaskStatus } from '../../runtime/status.js';
import { Task, type TaskEnd } from '../../runtime/task.js';
import { type FatalTask, TaskHost } from '../../runtime/task-host.js';
import { decodeResumePoint, RESUME_KEY } from '../../state/stored-form.js';
import type { FaultPlan, ProcessFault } from './faults.js';
import type { SeededRandom } from './random.js';
import type { SchedulePlan } from './schedule-plan.js';
import type { SimulatedDisks, SimulatedSnapshots } from './simulated-disk.js';
import { SimulatedEpochLog } from './simulated-epoch-log.js';
import type { SimulatedLog } from './simulated-log.js';
import { NAME, type Outside, simulatedPipeline, TOPICS } from './simulated-pipeline.js';
import { type ProcessSurroundings, SimulatedProcess } from './simulated-process.js';
import { SimulatedReader } from './simulated-reader.js';

export interface World extends ProcessSurroundings {
  readonly plan: SchedulePlan;
  readonly random: SeededRandom;
  readonly faults: FaultPlan;
  readonly log: SimulatedLog;
  readonly disks: SimulatedDisks;
  readonly snapshots: SimulatedSnapshots;
  readonly figures: { crashes: number; fenced: number };
}

export interface MachineEvents {
  onProcessFault(machine: SimulatedMachine, fault: ProcessFault): void;
  onFatal(machine: SimulatedMachine, fatal: FatalTask): void;
  /** A task ended by an error that the host will try again. */
  onTaskError(machine: SimulatedMachine, error: unknown): void;
}

export class SimulatedMachine {
  readonly root: string;
  /** Partitions that it has been told to own. */
  readonly told = new Set<number>();
  private process: SimulatedProcess;
  private host: TaskHost | null = null;
  private lives = 0;
  private lastStatuses: readonly TaskStatus[] = [];

  constructor(
    readonly name: string,
    private readonly world: World,
    private readonly events: MachineEvents,
  ) {
    this.root = name;
    this.process = this.newProcess();
    this.process.kill();
  }

  get isUp(): boolean {
    return this.host !== null;
  }

  get current(): SimulatedProcess {
    return this.process;
  }

  start(distrusted: readonly number[] = []): void {
    this.process = this.newProcess();
    this.world.trace.note(`${this.process.name} starts`);
    const { process, world } = this;
    this.host = new TaskHost({
      makeTask: ({ partition }, trustsStore) => this.makeTask(process, partition, trustsStore),
      makeStandby: ({ partition }, trustsStore) => this.makeStandby(process, partition, trustsStore),
      clock: process.clock,
      onFatal: (fatal) => this.events.onFatal(this, fatal),
      say: (_level, message) => world.trace.note(`${process.name} says: ${message}`),
    });
    this.tell(distrusted);
  }

  kill(): void {
    if (this.host === null) return;
    this.world.trace.note(`${this.process.name} dies`);
    this.process.kill();
    this.host = null;
  }

  /** Tells the host what it owns now; resolves when it has let go of the rest. */
  async tell(distrusted: readonly number[] = []): Promise<void> {
    const { partitions, standbyHotKeys } = this.world.plan;
    const units = (numbers: Iterable<number>) => [...numbers].map(unit);
    const others = standbyHotKeys === 0 ? [] : [...Array(partitions).keys()].filter((one) => !this.told.has(one));
    await this.host?.own({ active: units(this.told), standby: units(others) }, units(distrusted));
  }

  async stop(): Promise<void> {
    const { host } = this;
    await host?.stop();
    this.lastStatuses = host?.statuses() ?? [];
    this.kill();
  }

  /** Every task that it is told to run has recovered and runs. */
  get isAtRest(): boolean {
    const statuses = this.host?.statuses() ?? [];
    return statuses.length === this.told.size && statuses.every(({ state }) => state === 'running');
  }

  /**
   * After {@link stop}: partitions whose task ended cleanly at the epoch that `lastEpoch` says. What they left in the
   * store is the live state; one that was fenced, and did not know it yet, left something older. So may one that was
   * stopped between a doubtful commit and the recovery from it: a write that waited for that commit was dropped, and the
   * next start replays it from the log. A task that met doubt counts where its store claims the last epoch.
   */
  liveAtTheEnd(lastEpoch: (partition: number) => number): readonly number[] {
    return this.lastStatuses
      .filter(({ partition, state, epoch }) => state === 'stopped' && epoch === lastEpoch(partition))
      .filter(({ partition, recoveries, epoch }) => recoveries === 0 || this.storedEpoch(partition) === epoch)
      .map(({ partition }) => partition);
  }

  /** The epoch up to which a partition's store claims to be complete. */
  private storedEpoch(partition: number): number {
    const { entries } = this.world.disks.disk.directory(`${this.root}/${taskIdOf(NAME, partition)}`);
    return decodeResumePoint(entries?.get(RESUME_KEY.toString('latin1')) ?? null)?.epoch ?? -1;
  }

  private newProcess(): SimulatedProcess {
    this.lives += 1;
    return new SimulatedProcess(`${this.name}.${this.lives}`, this.world, (fault) =>
      this.events.onProcessFault(this, fault),
    );
  }

  private makeTask(process: SimulatedProcess, partition: number, trustsStore: boolean) {
    const { world } = this;
    const task = new Task({
      partition,
      worker: 0,
      definition: simulatedPipeline(world.plan.outOfOrdernessMs, this.outside(process)),
      backend: this.backend(process),
      openStore: world.disks.openStore(process, this.root),
      snapshots: world.snapshots.over(process),
      disk: world.disks.local(process),
      clock: process.clock,
      options: { ...world.plan.options, stateDirectory: this.root },
      trustsStore,
      say: (_level, message) => world.trace.note(`${process.name} says: ${message}`),
    });
    const run = async (): Promise<TaskEnd> => {
      try {
        const end = await task.run();
        if (end === 'fenced') world.figures.fenced += 1;
        return end;
      } catch (error) {
        this.events.onTaskError(this, error);
        throw error;
      }
    };
    return { taskId: task.taskId, run, stop: () => task.stop(), status: () => task.status() };
  }

  private makeStandby(process: SimulatedProcess, partition: number, trustsStore: boolean) {
    const { world } = this;
    const { options, standbyHotKeys } = world.plan;
    const standby = new StandbyTask({
      partition,
      worker: 0,
      pipelineName: NAME,
      layout: simulatedPipeline(world.plan.outOfOrdernessMs, this.outside(process)).layout,
      backend: this.backend(process),
      openStore: world.disks.openStore(process, this.root),
      snapshots: world.snapshots.over(process),
      disk: world.disks.local(process),
      clock: process.clock,
      options: { ...options, stateDirectory: this.root, hotKeys: standbyHotKeys, pollMs: STANDBY_POLL_MS },
      trustsStore,
      say: (_level, message) => world.trace.note(`${process.name} says: ${message}`),
    });
    const run = async () => {
      try {
        await standby.run();
      } catch (error) {
        // One that was asleep for long may find the log truncated under it, and begins anew.
        if (!(error instanceof OffsetOutOfRangeError)) this.events.onTaskError(this, error);
        throw error;
      }
    };
    return { taskId: standby.taskId, run, stop: () => standby.stop(), status: () => standby.status() };
  }

  private outside(process: SimulatedProcess): Outside {
    const { random, plan, faults } = this.world;
    const passing = (longestMs: number) =>
      new Promise<void>((resolve) => {
        process.after(random.skewed(0, longestMs), resolve);
      });
    return {
      lookup: async () => {
        if (!faults.active || !random.chance(plan.hangingLookups)) {
          await passing(10);
          return true;
        }
        faults.count('lookup-hangs');
        return new Promise(() => {});
      },
      ready: () => (random.chance(plan.slowSteps) ? passing(300) : null),
      score: () => (random.chance(plan.slowSteps) ? passing(40) : undefined),
    };
  }

  private backend(process: SimulatedProcess): LogBackend {
    const { log, random, plan } = this.world;
    const notSimulated = async () => {
      throw new Error('tasks have no use for this part of a backend');
    };
    return {
      kind: 'memory',
      openReader: async ({ topic, partition, from }) => {
        const source = log.partition(topic, partition);
        const start = from === 'earliest' ? source.start : from === 'latest' ? source.stableEnd : from;
        const step = topic === TOPICS.table ? 'table-read' : 'source-read';
        return new SimulatedReader(process, source, start, step, {
          fetch: () => random.int(1, 40),
          read: () => random.int(1, 16),
        });
      },
      openEpochLog: async ({ taskId, stateLog }) =>
        new SimulatedEpochLog(process, log, {
          taskId,
          stateLog: log.partition(stateLog.topic, stateLog.partition),
          maxRecordBytes: plan.maxRecordBytes,
          fetchLimit: () => random.int(1, 60),
        }),
      openWriter: notSimulated,
      openAdmin: notSimulated,
      openAssignment: notSimulated,
      close: async () => {},
    };
  }
}

const STANDBY_POLL_MS = 60;

const unit = (partition: number) => ({ topic: TOPICS.source, partition });
