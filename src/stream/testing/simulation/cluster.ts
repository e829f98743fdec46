/**
 * Owns the machines of a schedule and what befalls them: crashes with and without their disks, pauses, partitions moved
 * in good order or behind an owner's back, full disks, clocks that jump. It stands for the group protocol and for
 * whoever restarts dead processes. In the end it brings everything to rest.
 */
import { StreamError } from '../../errors.js';
import { ownerIdOf } from '../../pipeline/pipeline.js';
import { describe as describeError } from '../../runtime/task.js';
import type { FatalTask } from '../../runtime/task-host.js';
import { Damages } from './damage.js';
import type { ProcessFault } from './faults.js';
import { firstGeneration, type Generation, placeOf } from './generation.js';
import { Violation } from './journal.js';
import { SimulatedMachine } from './simulated-machine.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import { START_MS } from './simulated-process.js';
import type { World } from './world.js';

const MISHAPS = [
  'crash',
  'crash',
  'power-cut',
  'disk-lost',
  'pause',
  'pause',
  'move',
  'move',
  'rebalance',
  'take-over',
  'disk-full',
  'clock-jump',
  'damaged-store',
  'spoiled-snapshot',
  'stale-snapshot-list',
  'corrupt-delta',
  'source-cut',
  'log-moves',
  'stall',
  'bad-blocks',
  'compaction',
] as const;
type Mishap = (typeof MISHAPS)[number];

/** Longer than any pause. */
const COMPACTION_LAG_MS = 20_000;

/** Errors that were put in, by code; others by their message. */
const INJECTED_CODES: ReadonlySet<string> = new Set(['log-refused', 'log-unreachable']);
const INJECTED_MESSAGE = /the disk gave an error|no space left on device/;

export class Cluster {
  readonly machines: readonly SimulatedMachine[];
  /** What must fail the schedule, if anything did. */
  violation: unknown = null;
  /** Of each generation that some machine has found, by its number. */
  private readonly ownersOf = new Map<number, number[]>();
  /** The newest that some machine has found. */
  private generation: Generation;
  private held = false;
  private atRest = false;
  private stopped = false;
  private readonly damages: Damages;

  constructor(
    private readonly world: World,
    /** Whether some task of a generation is, or was, sealed. */
    private readonly isSealed: (generation: Generation) => boolean,
  ) {
    const { plan, random } = world;
    this.damages = new Damages(world.log, random, () => this.generation);
    const events = {
      onProcessFault: (machine: SimulatedMachine, fault: ProcessFault) => this.befall(machine, fault),
      onFatal: (machine: SimulatedMachine, fatal: FatalTask) => this.onFatal(machine, fatal),
      onTaskError: (machine: SimulatedMachine, error: unknown) => this.onTaskError(machine, error),
      onFound: (machine: SimulatedMachine, generation: Generation) => this.onFound(machine, generation),
      onNoStart: (machine: SimulatedMachine, error: unknown) => this.onNoStart(machine, error),
    };
    this.generation = firstGeneration(plan.partitions);
    this.machines = Array.from({ length: plan.machines }, (_, i) => new SimulatedMachine(`m${i}`, world, events));
    this.ownersOf.set(1, this.drawOwners());
  }

  /** Machine of each partition of the newest generation. */
  private get owners(): number[] {
    return this.ownersOf.get(this.generation.number) ?? [];
  }

  private drawOwners(): number[] {
    const { random, plan } = this.world;
    return Array.from({ length: this.generation.partitions }, () => random.int(0, plan.machines - 1));
  }

  begin(): void {
    const { plan, random, time } = this.world;
    for (const machine of this.machines) machine.start();
    const rescaling = plan.rescale === null ? 0 : plan.rescale.feedMs + 4_000;
    const span = plan.feedMs + plan.aftermathMs + rescaling + 3_000;
    const count = plan.mishaps === 0 ? 0 : random.int(1, plan.mishaps * (plan.rescale === null ? 2 : 3));
    for (let i = 0; i < count; i++) {
      const atMs = random.chance(0.7) ? random.next() * (plan.feedMs + rescaling + 1_000) : random.next() * span;
      time.schedule(atMs, () => this.mishap(random.pick(MISHAPS)));
    }
  }

  /** Nothing goes wrong any more by itself; what has gone wrong stays so. */
  calm(): void {
    const { faults } = this.world;
    faults.active = false;
    faults.logMovesUntilMs = 0;
  }

  /** Nothing befalls anybody any more; each partition of `generation` has one owner, who knows it. */
  comeToRest(generation: Generation): void {
    this.atRest = true;
    this.held = false;
    this.follow(generation);
    const { random } = this.world;
    this.calm();
    const { owners } = this;
    for (const partition of owners.keys()) owners[partition] = random.int(0, this.machines.length - 1);
    for (const [index, machine] of this.machines.entries()) {
      // Whoever sleeps through a rescale, or owns nothing, does not find out by itself that a generation is over.
      if (machine.isUp && machine.generation?.number !== this.generation.number) machine.kill();
      machine.told.clear();
      for (const [partition, owner] of owners.entries()) if (owner === index) machine.told.add(partition);
      machine.current.fillDisk(0);
      machine.current.failReads(0);
      machine.current.resume();
      if (machine.isUp) void machine.tell();
      else machine.start();
    }
  }

  /** Stops machines in good order; whoever sleeps is thought dead, and whoever does not stop in time is killed. */
  async hold(): Promise<void> {
    this.held = true;
    const { time } = this.world;
    const awake = this.machines
      .filter((machine) => machine.isUp && !machine.current.isPaused)
      .map((machine) => ({ machine, life: machine.current }));
    for (const { machine } of awake) {
      // One that was slow may be down only after the others were started again.
      void machine.stop().then(() => {
        if (!this.held) this.startAgain(machine);
      });
    }
    await new Promise<void>((resolve) => {
      const look = () => {
        if (awake.every(({ life }) => !life.isAlive)) resolve();
        else time.schedule(20, look);
      };
      time.schedule(4_000, () => {
        for (const { machine, life } of awake) if (machine.current === life && !life.isPaused) machine.kill();
        resolve();
      });
      look();
    });
  }

  release(): void {
    if (!this.held) return;
    this.held = false;
    for (const machine of this.machines) this.restart(machine);
  }

  /** Every partition's owner runs its task. */
  get isAtRest(): boolean {
    return this.machines.every((machine) => machine.isAtRest && machine.generation?.number === this.generation.number);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.machines.map((machine) => machine.stop()));
  }

  /** Damage that nobody came upon would only be in the way of the audit. */
  repairAll(): void {
    this.damages.mendAll();
  }

  private fail(violation: unknown): void {
    this.violation ??= violation;
  }

  private befall(machine: SimulatedMachine, fault: ProcessFault): void {
    if (this.atRest || !machine.isUp) return;
    if (fault === 'crash') this.crash(machine, 'kept');
    else if (fault === 'pause') this.pause(machine);
    else this.takeOver(this.world.random.pick([...this.owners.keys()]));
  }

  private mishap(kind: Mishap): void {
    if (this.atRest) return;
    const { random, faults, trace } = this.world;
    const machine = random.pick(this.machines);
    const partition = random.pick([...this.owners.keys()]);
    trace.note(`mishap: ${kind} (${machine.name}, partition ${partition})`);
    faults.count(`mishap ${kind}`);
    this.mishaps[kind](machine, partition);
  }

  private readonly mishaps: Record<Mishap, (machine: SimulatedMachine, partition: number) => void> = {
    crash: (machine) => this.crash(machine, 'kept'),
    'power-cut': (machine) => this.crash(machine, 'older'),
    'disk-lost': (machine) => this.crash(machine, 'lost'),
    pause: (machine) => this.pause(machine),
    move: (_machine, partition) => this.move(partition),
    rebalance: () => this.rebalance(),
    'take-over': (_machine, partition) => this.takeOver(partition),
    'disk-full': (machine) => machine.current.fillDisk(this.world.random.skewed(100, 6_000)),
    'clock-jump': (machine) => machine.current.jumpClock(this.world.random.int(-3_600_000, 3_600_000)),
    'damaged-store': (machine) => {
      this.world.disks.damage(machine.name);
      this.crash(machine, 'kept');
    },
    'spoiled-snapshot': (_machine, partition) => {
      void this.world.snapshots.spoilNewest(`${placeOf(this.world, this.generation)}${NAME}-${partition}`);
    },
    'stale-snapshot-list': () => this.world.snapshots.hideNewest('once'),
    'corrupt-delta': (_machine, partition) => this.damages.corruptDelta(partition),
    'source-cut': (_machine, partition) => this.damages.cutSource(partition),
    'log-moves': () => this.moveLog(this.world.random.skewed(20, 3_000)),
    'bad-blocks': (machine) => machine.current.failReads(this.world.random.skewed(100, 3_000)),
    // Long enough for a commit to be in doubt while a write is on its way.
    stall: (machine) => {
      machine.current.stallWrites(1_500);
      this.moveLog(this.world.random.int(1_000, 2_500));
    },
    compaction: () => {
      const { log, time, faults } = this.world;
      const removed = log.partition(TOPICS.table, 0).compact(START_MS + time.nowMs - COMPACTION_LAG_MS);
      if (removed > 0) faults.count('updates-compacted');
    },
  };

  private moveLog(forMs: number): void {
    this.world.faults.logMovesUntilMs = this.world.time.nowMs + forMs;
  }

  private crash(machine: SimulatedMachine, disk: 'kept' | 'older' | 'lost'): void {
    if (!machine.isUp) return;
    const { random, time, disks, figures } = this.world;
    figures.crashes += 1;
    machine.kill();
    if (disk === 'older') disks.cutPower(machine.name, random.int(1, 12));
    if (disk === 'lost') this.loseDisk(machine);
    if (random.chance(0.4)) {
      // The group notices after a while and gives its partitions to others.
      time.schedule(random.skewed(50, 3_000), () => {
        if (this.atRest || machine.isUp) return;
        for (const [partition, owner] of this.owners.entries()) {
          if (this.machines[owner] === machine) this.give(partition, this.otherThan(owner));
        }
      });
    }
    time.schedule(random.skewed(20, 4_000), () => this.restart(machine));
  }

  private restart(machine: SimulatedMachine): void {
    if (machine.isUp || this.atRest || this.held) return;
    machine.start(this.world.random.chance(0.1));
  }

  /** What a machine that has just started owns. */
  private onFound(machine: SimulatedMachine, generation: Generation): readonly number[] {
    this.follow(generation);
    const owners = this.ownersOf.get(generation.number) ?? [];
    return [...owners.keys()].filter((partition) => this.machines[owners[partition]] === machine);
  }

  private follow(generation: Generation): void {
    if (generation.number <= this.generation.number) return;
    this.generation = generation;
    this.ownersOf.set(generation.number, this.drawOwners());
  }

  private onNoStart(machine: SimulatedMachine, error: unknown): void {
    const { code, message } = describeError(error);
    // The state log of a generation that is taken back goes while it is being looked at.
    const isUnready = code === 'generation-unready' || code === 'topic-deleted' || code === 'unknown-partition';
    if (isUnready) this.world.faults.count('start-refused');
    if (!isUnready && !this.mend(code, message) && !this.isExpected(error)) {
      this.fail(new Violation('error', `${machine.name} cannot start: ${describe(error)}`));
    }
    machine.kill();
    this.startAgain(machine);
  }

  private loseDisk(machine: SimulatedMachine): void {
    const most = Math.max(this.world.plan.partitions, this.world.plan.rescale?.partitions ?? 0);
    for (const root of machine.roots) {
      for (let partition = 0; partition < most; partition++) {
        for (const suffix of ['', '.snapshot', '.restore', '.damaged']) {
          this.world.disks.disk.remove(`${root}/${NAME}-${partition}${suffix}`);
        }
      }
    }
  }

  private pause(machine: SimulatedMachine): void {
    const { current } = machine;
    if (!machine.isUp || current.isPaused) return;
    const { random, time, trace } = this.world;
    current.pause();
    trace.note(`${current.name} is paused`);
    const forMs = random.skewed(5, 15_000);
    time.schedule(forMs, () => {
      trace.note(`${current.name} goes on`);
      current.resume();
    });
    if (!random.chance(0.6)) return;
    // Its session ends: others get its partitions, and it learns of that some time after it woke up.
    time.schedule(random.next() * forMs, () => {
      for (const [partition, owner] of this.owners.entries()) {
        if (this.machines[owner] === machine) this.takeOver(partition);
      }
    });
  }

  /** Moves a partition in good order: the old owner has let go before the new one begins. Or both at once. */
  private move(partition: number): void {
    const { random, time } = this.world;
    const from = this.machines[this.owners[partition]];
    const to = this.otherThan(this.owners[partition]);
    this.owners[partition] = to;
    if (this.isCurrent(from)) from.told.delete(partition);
    const given = () => {
      if (this.owners[partition] === to && !this.atRest) this.give(partition, to);
    };
    const letGo = from.tell();
    if (random.chance(0.5)) void letGo.then(given);
    // Whoever does not let go in time is no reason to wait.
    time.schedule(random.skewed(0, 4_000), given);
  }

  private rebalance(): void {
    const { random, time } = this.world;
    const rounds = random.int(1, 5);
    for (let round = 0; round < rounds; round++) {
      time.schedule(round * random.skewed(1, 400), () => {
        if (this.atRest) return;
        for (const partition of this.owners.keys()) this.move(partition);
      });
    }
  }

  /** Another machine is given the partition; its owner so far is not told for some time. Alone: a fence from nowhere. */
  private takeOver(partition: number): void {
    if (this.atRest) return;
    const { random, time, log, faults } = this.world;
    const from = this.machines[this.owners[partition]];
    if (this.machines.length === 1) {
      faults.count('foreign-fence');
      try {
        log.fence(ownerIdOf(NAME, this.generation.number, partition));
      } catch {
        // Busy ending a transaction: whoever asked will not ask again.
      }
      return;
    }
    this.give(partition, this.otherThan(this.owners[partition]));
    time.schedule(random.skewed(50, 14_000), () => {
      if (this.atRest || this.machines[this.owners[partition]] === from) return;
      if (!this.isCurrent(from)) return;
      from.told.delete(partition);
      void from.tell();
    });
  }

  private give(partition: number, to: number): void {
    this.owners[partition] = to;
    const machine = this.machines[to];
    if (!this.isCurrent(machine)) return;
    machine.told.add(partition);
    void machine.tell();
  }

  /** It knows of the newest generation: groups are by generation. */
  private isCurrent({ generation }: SimulatedMachine): boolean {
    return generation?.number === this.generation.number;
  }

  private otherThan(owner: number): number {
    const count = this.machines.length;
    return count === 1 ? owner : (owner + this.world.random.int(1, count - 1)) % count;
  }

  private onTaskError(_machine: SimulatedMachine, error: unknown): void {
    if (this.isExpected(error)) return;
    const code = error instanceof StreamError ? error.code : 'unexpected';
    // The end of the task is the end of the process: judged there.
    if (ENDS_OF_GENERATIONS.has(code)) return;
    this.fail(error instanceof Violation ? error : new Violation('error', `a task failed with ${describe(error)}`));
  }

  /** Whether an error was put in. */
  isExpected(error: unknown): boolean {
    const { code, message } = describeError(error);
    if (INJECTED_CODES.has(code) || this.damages.namedBy(code, message) !== null) return true;
    return code === 'unexpected' && INJECTED_MESSAGE.test(message);
  }

  /** Mends the damage that an error names, as an operator would. Whether it names one. */
  mend(code: string, message: string): boolean {
    const named = this.damages.namedBy(code, message);
    if (named === null) return false;
    this.world.faults.count(`${named.what}-refused`);
    this.damages.mend(named);
    return true;
  }

  /** The process gives up; an operator mends what the message names, and it is started again. */
  private onFatal(machine: SimulatedMachine, { code, message }: FatalTask): void {
    const { trace, faults, figures } = this.world;
    trace.note(`${machine.name} gives up: ${code}: ${message}`);
    if (!this.mend(code, message) && code !== 'poisoned') {
      if (!this.isTrueEnd(machine, code)) {
        this.fail(new Violation('error', `${machine.name} gave up: ${code}: ${message}`));
      }
      faults.count(code);
      if (code === 'partitions-added') {
        this.endSoon(machine);
        return;
      }
    }
    figures.crashes += 1;
    machine.kill();
    this.startAgain(machine);
  }

  /** Whether partitions were added, or the generation is over, as a task says that it ended for. */
  private isTrueEnd({ generation }: SimulatedMachine, code: string): boolean {
    if (generation === null) return false;
    const { log } = this.world;
    if (code === 'partitions-added') return log.partitions(generation.source).length > generation.partitions;
    return code === 'generation-over' && this.isSealed(generation);
  }

  /** Its other tasks come to the same point before. */
  private endSoon(machine: SimulatedMachine): void {
    const life = machine.current;
    this.world.time.schedule(this.world.random.skewed(300, 5_000), () => {
      if (machine.current !== life || !machine.isUp || this.atRest) return;
      machine.kill();
      this.startAgain(machine);
    });
  }

  /** Somebody starts the service again; not on every machine, since one may be forgotten. */
  restartOld(): void {
    const { random, time } = this.world;
    for (const machine of this.machines) {
      if (!random.chance(0.7)) continue;
      const life = machine.current;
      time.schedule(random.skewed(0, 5_000), () => {
        if (machine.current !== life || !machine.isUp || this.atRest || machine.current.isPaused) return;
        machine.kill();
        this.startAgain(machine);
      });
    }
  }

  private startAgain(machine: SimulatedMachine): void {
    const { random, time } = this.world;
    time.schedule(random.skewed(20, 2_000), () => {
      if (this.atRest && !this.stopped && !machine.isUp) machine.start();
      else this.restart(machine);
    });
  }
}

/** Errors by which tasks end for good where a rescale is due, or was made. */
const ENDS_OF_GENERATIONS: ReadonlySet<string> = new Set(['partitions-added', 'generation-over']);

const describe = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));
