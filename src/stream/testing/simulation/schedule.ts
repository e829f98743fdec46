/**
 * Owns one schedule from its seed to its verdict: draws the plan, lets records come and mishaps happen to the real core
 * on simulated time, brings everything to rest, and compares with the oracle. The same seed and number give the same
 * events, bit by bit.
 */
import { memorySnapshotStore } from '../memory-snapshot-store.js';
import { MemoryDisk } from '../memory-store.js';
import { checkOutputs, checkState, expectedOf } from './audit.js';
import { Cluster } from './cluster.js';
import { FaultPlan } from './faults.js';
import { Feed } from './feed.js';
import { Journal, Violation } from './journal.js';
import { SeededRandom } from './random.js';
import type { Expected } from './reference.js';
import { drawPlan } from './schedule-plan.js';
import { SimulatedDisks, SimulatedSnapshots } from './simulated-disk.js';
import { SimulatedLog } from './simulated-log.js';
import { SimulatedMachine, type World } from './simulated-machine.js';
import { TOPICS } from './simulated-pipeline.js';
import { forbidRealTime, SimulatedTime } from './simulated-time.js';
import { Trace } from './trace.js';

/** Simulated ms within which everything must have come to rest: longer than every retry and time-out there is. */
const REST_MS = 600_000;
const TRACED = 60;

export interface ScheduleResult {
  readonly seed: number;
  readonly schedule: number;
  /** Null: everything held. */
  readonly failure: string | null;
  readonly lastEvents: readonly string[];
  readonly hash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly epochs: number;
  readonly checkpoints: number;
  readonly records: number;
  readonly crashes: number;
  readonly recoveries: number;
  readonly fenced: number;
  readonly faults: ReadonlyMap<string, number>;
}

/** Never rejects: whatever goes wrong is the result's failure, told with the last `traced` events. */
export async function runSchedule(seed: number, schedule: number, traced = TRACED): Promise<ScheduleResult> {
  const run = new ScheduleRun(seed, schedule, traced);
  const allowRealTime = forbidRealTime();
  const unhandled: unknown[] = [];
  const onUnhandled = (error: unknown) => unhandled.push(error);
  process.on('unhandledRejection', onUnhandled);
  let failure: unknown = null;
  try {
    await run.toTheEnd();
  } catch (error) {
    failure = error;
  } finally {
    allowRealTime();
  }
  // Rejections that nobody handled are reported once the turn is over.
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  return run.result(failure ?? run.violation ?? (unhandled.length > 0 ? unhandled[0] : null));
}

class ScheduleRun {
  private readonly time = new SimulatedTime();
  private readonly trace: Trace;
  private readonly disk = new MemoryDisk();
  private readonly world: World;
  private readonly journal: Journal;
  private readonly feed: Feed;
  private readonly cluster: Cluster;
  private found: unknown = null;

  constructor(
    private readonly seed: number,
    private readonly schedule: number,
    traced: number,
  ) {
    this.trace = new Trace(() => this.time.nowMs, traced);
    const random = SeededRandom.ofSchedule(seed, schedule);
    const { time, trace } = this;
    const plan = drawPlan(random);
    const faults = new FaultPlan(random);
    const log = new SimulatedLog(time, random, trace, plan);
    log.makeTopic(TOPICS.source, plan.partitions);
    log.makeTopic(TOPICS.stateLog, plan.partitions);
    log.makeTopic(TOPICS.table, 1);
    log.makeTopic(TOPICS.alerts, 2);
    log.makeTopic(TOPICS.merchants, 2);
    log.makeTopic(TOPICS.dead, 1);
    const { disk } = this;
    const snapshotStore = memorySnapshotStore(disk);
    this.world = {
      plan,
      random,
      time,
      trace,
      faults,
      log,
      networkMs: plan.networkMs,
      diskMs: plan.diskMs,
      disks: new SimulatedDisks(disk, faults),
      snapshots: new SimulatedSnapshots(snapshotStore, faults),
      figures: { crashes: 0, fenced: 0 },
    };
    this.journal = new Journal(plan.partitions, {
      retained: plan.options.checkpoint.retained,
      snapshots: (taskId) => snapshotStore.ids(taskId),
    });
    log.watcher = {
      onCommit: (taskId, transaction) =>
        this.watch(() => {
          const { epoch, from, to } = this.journal.onCommit(taskId, transaction);
          trace.note(`log: epoch ${epoch} of ${taskId} has ${from} to ${to}`);
        }),
      onTruncate: (partition, offset) => this.watch(() => this.journal.onTruncate(partition, offset)),
    };
    this.feed = new Feed(plan, log, time, random);
    this.cluster = new Cluster(this.world);
  }

  get violation(): unknown {
    return this.found ?? this.cluster.violation;
  }

  async toTheEnd(): Promise<void> {
    const { plan, log } = this.world;
    this.feed.begin();
    this.cluster.begin();
    let hasRested = false;
    this.time.schedule(plan.feedMs + plan.aftermathMs, () => {
      hasRested = true;
    });
    await this.until(() => hasRested && this.feed.hasEnded, 'the records to be written');
    this.trace.note('coming to rest');
    this.cluster.comeToRest();
    const ends = log.partitions(TOPICS.source).map((partition) => partition.history().at(-1)?.offset ?? -1);
    await this.until(
      () => this.areCommitted(ends) && this.cluster.isAtRest,
      'every record to be committed by its owner',
    );
    if (plan.options.idleTimeoutMs > 0) await this.pass(2 * plan.options.idleTimeoutMs);
    await this.during(this.cluster.stop(), 'every task to stop');
    await this.until(() => log.openTransactions.length === 0, 'every Kafka transaction to be ended');
    const expected = expectedOf(plan, log, this.journal);
    checkOutputs(log, this.journal, expected);
    for (const machine of this.cluster.machines) {
      const live = machine.liveAtTheEnd((partition) => this.journal.lastEpoch(partition));
      checkState(this.disk, machine.root, `live on ${machine.root}`, expected, live);
    }
    await this.audit(expected);
    await this.until(() => log.openTransactions.length === 0, 'every Kafka transaction to be ended');
    checkOutputs(log, this.journal, expectedOf(plan, log, this.journal));
  }

  result(failure: unknown): ScheduleResult {
    const { world, journal, trace } = this;
    return {
      seed: this.seed,
      schedule: this.schedule,
      failure: failure === null ? null : failure instanceof Error ? describe(failure) : String(failure),
      lastEvents: failure === null ? [] : trace.last(),
      hash: trace.hash,
      events: trace.events,
      simulatedMs: Math.round(this.time.nowMs),
      epochs: journal.committedEpochs,
      checkpoints: journal.completedCheckpoints,
      records: world.plan.records * world.plan.partitions,
      ...world.figures,
      recoveries: world.log.fences,
      faults: world.faults.counts,
    };
  }

  /** Whether the last record of every partition is committed. `ends` has the last offset of each, -1 where empty. */
  private areCommitted(ends: readonly number[]): boolean {
    return ends.every((last, partition) => last < this.journal.committedTo(partition));
  }

  private watch(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.found ??= error;
    }
  }

  private until(done: () => boolean, waitingFor: string): Promise<void> {
    const isDone = () => {
      if (this.violation !== null) throw this.violation;
      return done();
    };
    return this.time.runUntil(isDone, REST_MS, waitingFor);
  }

  private pass(ms: number): Promise<void> {
    let passed = false;
    this.time.schedule(ms, () => {
      passed = true;
    });
    return this.until(() => passed, 'time to pass');
  }

  private async during(work: Promise<void>, waitingFor: string): Promise<void> {
    let ended = false;
    const end = work.finally(() => {
      ended = true;
    });
    end.catch(() => {}); // awaited below, once it has ended
    await this.until(() => ended, waitingFor);
    await end;
  }

  /** Every machine's disk as it was left, an empty one, and an empty one from the checkpoint before the newest. */
  private async audit(expected: readonly Expected[]): Promise<void> {
    const { world } = this;
    this.cluster.repairAll();
    const roots = this.cluster.machines.map(({ name }) => name);
    for (const root of [...roots, 'empty', 'empty-from-older']) {
      if (root === 'empty-from-older') world.snapshots.hideNewest('always');
      const machine = new SimulatedMachine(root, world, {
        onProcessFault: () => {},
        onFatal: (_machine, { code, message }) => {
          this.found ??= new Error(`${root} cannot be recovered: ${code}: ${message}`);
        },
        onTaskError: (_machine, error) => {
          this.found ??= error;
        },
      });
      for (let partition = 0; partition < world.plan.partitions; partition++) machine.told.add(partition);
      const lastEpoch = (partition: number) => this.journal.lastEpoch(partition);
      // A fence that was sent long ago may still arrive now.
      do {
        machine.start();
        await this.until(() => machine.isAtRest, `${root} to be recovered`);
        await this.during(machine.stop(), `${root} to stop`);
      } while (machine.liveAtTheEnd(lastEpoch).length < world.plan.partitions);
      checkState(this.disk, root, `recovered on ${root}`, expected, [...machine.told]);
    }
  }
}

const describe = (error: Error) => (error instanceof Violation ? error.message : (error.stack ?? error.message));
