/**
 * Owns one simulated machine: its disk, the process that lives on it now, and in it the real task host with real tasks.
 * Neighbours: `cluster.ts` says which partitions it is told to own, and what befalls it.
 */

import { OffsetOutOfRangeError, StreamError } from '../../errors.js';
import { taskIdOf } from '../../pipeline/pipeline.js';
import type { SourceKeysOptions } from '../../runtime/source-keys.js';
import { StandbyTask } from '../../runtime/standby-task.js';
import type { TaskStatus } from '../../runtime/status.js';
import { Task, type TaskEnd } from '../../runtime/task.js';
import { type FatalTask, TaskHost } from '../../runtime/task-host.js';
import { decodeResumePoint, RESUME_KEY } from '../../state/stored-form.js';
import type { ProcessFault } from './faults.js';
import { findGeneration, firstGeneration, type Generation, placeOf } from './generation.js';
import { asked, simulatedBackend } from './simulated-backend.js';
import { layout, NAME, type Outside, simulatedPipeline } from './simulated-pipeline.js';
import { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

export interface MachineEvents {
  onProcessFault(machine: SimulatedMachine, fault: ProcessFault): void;
  onFatal(machine: SimulatedMachine, fatal: FatalTask): void;
  /** A task ended by an error that the host will try again. */
  onTaskError(machine: SimulatedMachine, error: unknown): void;
  /** It has found the generation that runs, and asks which partitions are its own. */
  onFound(machine: SimulatedMachine, generation: Generation): Iterable<number>;
  /** It could not start. */
  onNoStart(machine: SimulatedMachine, error: unknown): void;
}

export class SimulatedMachine {
  /** Partitions of its generation that it has been told to own. */
  readonly told = new Set<number>();
  /** That it runs, or ran last; null while it has found none. */
  generation: Generation | null = null;
  /** Directories that held its stores, by generation. */
  readonly roots = new Set<string>();
  private process: SimulatedProcess;
  private isAlive = false;
  private host: TaskHost | null = null;
  private lives = 0;
  private lastStatuses: readonly TaskStatus[] = [];

  constructor(
    readonly name: string,
    private readonly world: World,
    private readonly events: MachineEvents,
  ) {
    this.process = this.newProcess();
    this.process.kill();
  }

  get isUp(): boolean {
    return this.isAlive;
  }

  get current(): SimulatedProcess {
    return this.process;
  }

  /** Where stores of a generation lie on this machine. */
  rootOf(generation: Generation): string {
    const place = placeOf(this.world, generation);
    return place === '' ? this.name : `${this.name}/${place.slice(0, -1)}`;
  }

  start(distrusts = false): void {
    this.process = this.newProcess();
    this.isAlive = true;
    this.generation = null;
    this.world.trace.note(`${this.process.name} starts`);
    const { process, world } = this;
    if (world.plan.rescale === null) {
      this.begin(process, firstGeneration(world.plan.partitions), distrusts);
      return;
    }
    findGeneration(world, process)
      .then(({ current, pending }) => {
        if (pending === null) return this.begin(process, current, distrusts);
        throw new StreamError('generation-unready', `generation ${pending.next.number} is not made whole yet`);
      })
      .catch((error: unknown) => this.events.onNoStart(this, error));
  }

  private begin(process: SimulatedProcess, generation: Generation, distrusts: boolean): void {
    if (process !== this.process || !this.isAlive) return;
    const { world } = this;
    this.generation = generation;
    this.roots.add(this.rootOf(generation));
    this.host = new TaskHost({
      makeTask: ({ partition }, trustsStore) => this.makeTask(process, generation, partition, trustsStore),
      makeStandby: ({ partition }, trustsStore) => this.makeStandby(process, generation, partition, trustsStore),
      clock: process.clock,
      onFatal: (fatal) => this.events.onFatal(this, fatal),
      say: (_level, message) => world.trace.note(`${process.name} says: ${message}`),
    });
    this.told.clear();
    for (const partition of this.events.onFound(this, generation)) this.told.add(partition);
    void this.tell(distrusts ? [...this.told] : []);
  }

  kill(): void {
    if (!this.isAlive) return;
    this.world.trace.note(`${this.process.name} dies`);
    this.process.kill();
    this.isAlive = false;
    this.host = null;
  }

  /** Tells the host what it owns now; resolves when it has let go of the rest. */
  async tell(distrusted: readonly number[] = []): Promise<void> {
    if (this.generation === null) return;
    const { source, partitions } = this.generation;
    const { standbyHotKeys } = this.world.plan;
    const units = (numbers: Iterable<number>) => [...numbers].map((partition) => ({ topic: source, partition }));
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
    if (this.host === null) return false;
    const statuses = this.host.statuses();
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
    if (this.generation === null) return -1;
    const { entries } = this.world.disks.disk.directory(`${this.rootOf(this.generation)}/${taskIdOf(NAME, partition)}`);
    return decodeResumePoint(entries?.get(RESUME_KEY.toString('latin1')) ?? null)?.epoch ?? -1;
  }

  private newProcess(): SimulatedProcess {
    this.lives += 1;
    return new SimulatedProcess(`${this.name}.${this.lives}`, this.world, (fault) =>
      this.events.onProcessFault(this, fault),
    );
  }

  private makeTask(process: SimulatedProcess, generation: Generation, partition: number, trustsStore: boolean) {
    const { world } = this;
    const sourceKeys = this.sourceKeys(process, generation);
    const task = new Task({
      partition,
      worker: 0,
      definition: simulatedPipeline(world.plan.outOfOrdernessMs, this.outside(process), generation.source),
      backend: simulatedBackend(world, process),
      openStore: world.disks.openStore(process, this.name),
      snapshots: world.snapshots.over(process, placeOf(world, generation)),
      disk: world.disks.local(process),
      clock: process.clock,
      options: { ...world.plan.options, ...this.placesOf(generation) },
      trustsStore,
      ...(sourceKeys !== null && { sourceKeys }),
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

  private makeStandby(process: SimulatedProcess, generation: Generation, partition: number, trustsStore: boolean) {
    const { world } = this;
    const { options, standbyHotKeys } = world.plan;
    const standby = new StandbyTask({
      partition,
      worker: 0,
      pipelineName: NAME,
      layout,
      backend: simulatedBackend(world, process),
      openStore: world.disks.openStore(process, this.name),
      snapshots: world.snapshots.over(process, placeOf(world, generation)),
      disk: world.disks.local(process),
      clock: process.clock,
      options: { ...options, ...this.placesOf(generation), hotKeys: standbyHotKeys, pollMs: STANDBY_POLL_MS },
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

  private placesOf(generation: Generation) {
    const { number, stateLog } = generation;
    return { stateDirectory: this.rootOf(generation), stateLogTopic: stateLog, generation: number };
  }

  /** Where partitions are added, tasks look at every record's key. */
  private sourceKeys(process: SimulatedProcess, { source, partitions }: Generation): SourceKeysOptions | null {
    const { plan, log } = this.world;
    if (plan.rescale?.source !== 'grown') return null;
    const partitionsNow = () => asked(process, 'admin', () => log.partitions(source).length);
    return { partitions, misplacedShare: 0, misplacedWindow: 1_000, partitionsNow };
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
}

const STANDBY_POLL_MS = 60;
