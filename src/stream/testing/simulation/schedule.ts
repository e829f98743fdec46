/**
 * Owns one schedule from its seed to its verdict: draws the plan, lets records come and mishaps happen to the real core
 * on simulated time, brings everything to rest, and compares with the oracle. The same seed and number give the same
 * events, bit by bit.
 */
import { describe as describeError } from '../../runtime/task.js';
import { memoryObjects } from '../memory-objects.js';
import { memorySnapshotStore } from '../memory-snapshot-store.js';
import { MemoryDisk } from '../memory-store.js';
import { checkOutputs, checkState } from './audit.js';
import { Cluster } from './cluster.js';
import { FaultPlan } from './faults.js';
import { Feed } from './feed.js';
import type { Generation } from './generation.js';
import { Violation } from './journal.js';
import { Lineage } from './lineage.js';
import { Operator } from './operator.js';
import { SeededRandom } from './random.js';
import type { Expected } from './reference.js';
import { rescaleJob } from './rescale-job.js';
import { savepointJob } from './savepoint-job.js';
import { drawPlan } from './schedule-plan.js';
import { SimulatedDisks, SimulatedSnapshots } from './simulated-disk.js';
import { SimulatedLog } from './simulated-log.js';
import { SimulatedMachine } from './simulated-machine.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import { forbidRealTime, SimulatedTime } from './simulated-time.js';
import { Trace } from './trace.js';
import type { World } from './world.js';

/** Simulated ms within which everything must have come to rest: longer than every retry and time-out there is. */
const REST_MS = 600_000;
const TRACED = 60;
/** Generators of their own: what a schedule draws besides stays as it is without them. */
const OPERATORS = 0x5eed;
const MOMENTS = 0xc10c;
/** After this long nothing goes wrong any more where a command is not done. */
const LONGEST_TROUBLE_MS = 40_000;
/** Errors after which a command is run again: it waits for something, or somebody else was faster than it could read. */
const RETRIED: ReadonlySet<string> = new Set([
  'not-drained',
  'generation-whole',
  'fenced',
  'commit-doubtful',
  'offset-out-of-range',
  'state-lost',
  'corrupt-data',
  // A seal that was committed and not readable yet when the plan was made: run again, it is seen and gone on with.
  'sealed-already',
]);

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
  readonly savepoints: number;
  readonly rescales: number;
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
  private readonly lineage: Lineage;
  private readonly feed: Feed;
  private readonly cluster: Cluster;
  private readonly operators: readonly Operator[];
  private found: unknown = null;

  constructor(
    private readonly seed: number,
    private readonly schedule: number,
    traced: number,
  ) {
    this.trace = new Trace(() => this.time.nowMs, traced);
    const random = SeededRandom.ofSchedule(seed, schedule);
    const { time, trace } = this;
    const plan = drawPlan(random, SeededRandom.ofSchedule(seed ^ OPERATORS, schedule));
    const faults = new FaultPlan(random, plan.savepoints > 0 || plan.rescale !== null);
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
      objects: memoryObjects(),
      figures: { crashes: 0, fenced: 0, savepoints: 0, rescales: 0 },
    };
    this.lineage = new Lineage(this.world, ({ identity, topic, partition }) =>
      snapshotStore.ids(`${topic === TOPICS.stateLog ? '' : `${identity}/`}${NAME}-${partition}`),
    );
    const { lineage } = this;
    log.watcher = {
      onCommit: (transaction) =>
        this.watch(() => {
          const head = lineage.onCommit(transaction);
          if (head !== null)
            trace.note(`log: epoch ${head.epoch} of ${transaction.owner} has ${head.from} to ${head.to}`);
        }),
      onTruncate: (partition, offset) => this.watch(() => lineage.journal.onTruncate(partition, offset)),
    };
    this.feed = new Feed(plan, log, time, random);
    this.cluster = new Cluster(this.world, (generation) => lineage.wasSealed(generation));
    this.operators = this.drawOperators(SeededRandom.ofSchedule(seed ^ MOMENTS, schedule));
  }

  get violation(): unknown {
    const byOperator = this.operators.find(({ violation }) => violation !== null)?.violation ?? null;
    return this.found ?? this.cluster.violation ?? byOperator;
  }

  /** Whoever takes savepoints at any time, and whoever rescales once producers have gone over. */
  private drawOperators(random: SeededRandom): readonly Operator[] {
    const { world, lineage, cluster, feed, time } = this;
    const { plan } = world;
    const operators: Operator[] = [];
    for (let i = 0; i < plan.savepoints; i++) {
      const operator = new Operator(world, savepointJob(world, lineage, `save-${i}`), this.mayBeTriedAgain);
      operators.push(operator);
      time.schedule(random.next() * (plan.feedMs + (plan.rescale?.feedMs ?? 0) + 2_000), () => operator.begin());
    }
    if (plan.rescale === null) return operators;
    const operator = new Operator(world, rescaleJob(world, lineage, cluster), this.mayBeTriedAgain);
    operators.push(operator);
    const begin = () => {
      if (feed.hasChanged) operator.begin();
      else time.schedule(random.skewed(20, 1_000), begin);
    };
    time.schedule(plan.feedMs, begin);
    return operators;
  }

  /** Whether an operator may meet this error and run the command again. */
  private readonly mayBeTriedAgain = (error: unknown): boolean => {
    const { code, message } = describeError(error);
    if (this.cluster.mend(code, message) || this.cluster.isExpected(error)) return true;
    if (!RETRIED.has(code)) return false;
    this.world.faults.count(`command-${code}`);
    return true;
  };

  async toTheEnd(): Promise<void> {
    const { plan, log } = this.world;
    this.feed.begin();
    this.cluster.begin();
    let hasRested = false;
    this.time.schedule(plan.feedMs + plan.aftermathMs, () => {
      hasRested = true;
    });
    await this.until(() => hasRested && this.feed.hasEnded, 'the records to be written');
    await this.operatorsDone();
    this.trace.note('coming to rest');
    this.cluster.comeToRest(this.current);
    await this.until(() => this.cluster.isAtRest && this.isCommitted(), 'every record to be committed by its owner');
    if (plan.options.idleTimeoutMs > 0) await this.pass(2 * plan.options.idleTimeoutMs);
    await this.during(this.cluster.stop(), 'every task to stop');
    await this.until(() => log.openTransactions.length === 0, 'every Kafka transaction to be ended');
    const { lineage, current } = this;
    const expected = lineage.expected();
    checkOutputs(log, lineage, expected);
    const cards = expected[expected.length - 1];
    for (const machine of this.cluster.machines) {
      const live = machine.liveAtTheEnd((partition) => lineage.lastEpoch(current, partition));
      checkState(this.disk, machine.rootOf(current), `live on ${machine.name}`, cards, live);
    }
    await this.audit(current, cards);
    await this.until(() => log.openTransactions.length === 0, 'every Kafka transaction to be ended');
    checkOutputs(log, lineage, lineage.expected());
  }

  result(failure: unknown): ScheduleResult {
    const { world, trace } = this;
    const { journal } = this.lineage;
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
      records: world.plan.records * world.plan.partitions + (world.plan.rescale?.records ?? 0),
      ...world.figures,
      recoveries: world.log.fences,
      faults: world.faults.counts,
    };
  }

  /** The generation that runs. */
  private get current(): Generation {
    const { generations } = this.lineage;
    return generations[generations.length - 1];
  }

  /** Whether the last record of every partition is committed by the generation that runs. */
  private isCommitted(): boolean {
    const { current, lineage } = this;
    return this.world.log.partitions(current.source).every(({ partition, lastOffset }) => {
      return lastOffset < lineage.committedTo(current, partition);
    });
  }

  /** Nobody waits for ever for a command that trouble keeps from its end. */
  private async operatorsDone(): Promise<void> {
    const { plan, random } = this.world;
    if (this.operators.length === 0) return;
    let isCalm = false;
    this.time.schedule(LONGEST_TROUBLE_MS, () => {
      isCalm = true;
    });
    const areDone = () => this.operators.every(({ isDone }) => isDone);
    await this.until(() => areDone() || isCalm, 'commands to be done or calm to come');
    if (!areDone()) this.cluster.calm();
    await this.until(areDone, 'commands to be done');
    if (plan.rescale === null) return;
    this.cluster.restartOld();
    await this.pass(random.skewed(300, 6_000));
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
  private async audit(current: Generation, expected: readonly Expected[]): Promise<void> {
    const { world } = this;
    this.cluster.repairAll();
    const roots = this.cluster.machines.map(({ name }) => name);
    for (const root of [...roots, 'empty', 'empty-from-older']) {
      if (root === 'empty-from-older') world.snapshots.hideNewest('always');
      const machine = new SimulatedMachine(root, world, {
        onProcessFault: () => {},
        onFound: () => Array.from({ length: current.partitions }, (_, partition) => partition),
        onNoStart: (_machine, error) => {
          this.found ??= error;
        },
        onFatal: (_machine, { code, message }) => {
          this.found ??= new Error(`${root} cannot be recovered: ${code}: ${message}`);
        },
        onTaskError: (_machine, error) => {
          this.found ??= error;
        },
      });
      const lastEpoch = (partition: number) => this.lineage.lastEpoch(current, partition);
      // A fence that was sent long ago may still arrive now.
      do {
        machine.start();
        await this.until(() => machine.isAtRest, `${root} to be recovered`);
        await this.during(machine.stop(), `${root} to stop`);
      } while (machine.liveAtTheEnd(lastEpoch).length < current.partitions);
      checkState(this.disk, machine.rootOf(current), `recovered on ${root}`, expected, [...machine.told]);
    }
  }
}

const describe = (error: Error) => (error instanceof Violation ? error.message : (error.stack ?? error.message));
