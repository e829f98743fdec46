/**
 * Owns the machines of a schedule and what befalls them: crashes with and without their disks, pauses, partitions moved
 * in good order or behind an owner's back, full disks, clocks that jump. It stands for the group protocol and for
 * whoever restarts dead processes. In the end it brings everything to rest.
 */
import { StreamError } from '../../errors.js';
import type { FatalTask } from '../../runtime/task-host.js';
import { Damages } from './damage.js';
import type { ProcessFault } from './faults.js';
import { Violation } from './journal.js';
import { SimulatedMachine, type World } from './simulated-machine.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import { START_MS } from './simulated-process.js';

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
  private readonly owners: number[];
  private atRest = false;
  private stopped = false;
  private readonly damages: Damages;

  constructor(private readonly world: World) {
    const { plan, random } = world;
    this.damages = new Damages(world.log, random);
    const events = {
      onProcessFault: (machine: SimulatedMachine, fault: ProcessFault) => this.befall(machine, fault),
      onFatal: (machine: SimulatedMachine, fatal: FatalTask) => this.onFatal(machine, fatal),
      onTaskError: (machine: SimulatedMachine, error: unknown) => this.onTaskError(machine, error),
    };
    this.machines = Array.from({ length: plan.machines }, (_, i) => new SimulatedMachine(`m${i}`, world, events));
    this.owners = Array.from({ length: plan.partitions }, () => random.int(0, plan.machines - 1));
  }

  begin(): void {
    const { plan, random, time } = this.world;
    for (const [partition, owner] of this.owners.entries()) this.machines[owner].told.add(partition);
    for (const machine of this.machines) machine.start();
    const span = plan.feedMs + plan.aftermathMs + 3_000;
    const count = plan.mishaps === 0 ? 0 : random.int(1, plan.mishaps * 2);
    for (let i = 0; i < count; i++) {
      const atMs = random.chance(0.7) ? random.next() * (plan.feedMs + 1_000) : random.next() * span;
      time.schedule(atMs, () => this.mishap(random.pick(MISHAPS)));
    }
  }

  /** Nothing befalls anybody any more; each partition has one owner, who knows it. */
  comeToRest(): void {
    this.atRest = true;
    const { faults, random } = this.world;
    faults.active = false;
    faults.logMovesUntilMs = 0;
    const owners = this.owners.map(() => random.int(0, this.machines.length - 1));
    for (const [index, machine] of this.machines.entries()) {
      machine.told.clear();
      for (const [partition, owner] of owners.entries()) if (owner === index) machine.told.add(partition);
      machine.current.fillDisk(0);
      machine.current.failReads(0);
      machine.current.resume();
      if (machine.isUp) void machine.tell();
      else machine.start();
    }
  }

  /** Every partition's owner runs its task. */
  get isAtRest(): boolean {
    return this.machines.every((machine) => machine.isAtRest);
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
      this.world.disks.damage(machine.root);
      this.crash(machine, 'kept');
    },
    'spoiled-snapshot': (_machine, partition) => {
      void this.world.snapshots.spoilNewest(`${NAME}-${partition}`);
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
    if (disk === 'older') disks.cutPower(machine.root, random.int(1, 12));
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
    if (machine.isUp || this.atRest) return;
    const { random } = this.world;
    machine.told.clear();
    for (const [partition, owner] of this.owners.entries()) {
      if (this.machines[owner] === machine) machine.told.add(partition);
    }
    machine.start(random.chance(0.1) ? [...machine.told] : []);
  }

  private loseDisk(machine: SimulatedMachine): void {
    for (const partition of this.owners.keys()) {
      for (const suffix of ['', '.snapshot', '.restore', '.damaged']) {
        this.world.disks.disk.remove(`${machine.root}/${NAME}-${partition}${suffix}`);
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
    from.told.delete(partition);
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
        log.fence(`${NAME}-${partition}`);
      } catch {
        // Busy ending a transaction: whoever asked will not ask again.
      }
      return;
    }
    this.give(partition, this.otherThan(this.owners[partition]));
    time.schedule(random.skewed(50, 14_000), () => {
      if (this.atRest || this.machines[this.owners[partition]] === from) return;
      from.told.delete(partition);
      void from.tell();
    });
  }

  private give(partition: number, to: number): void {
    this.owners[partition] = to;
    this.machines[to].told.add(partition);
    void this.machines[to].tell();
  }

  private otherThan(owner: number): number {
    const count = this.machines.length;
    return count === 1 ? owner : (owner + this.world.random.int(1, count - 1)) % count;
  }

  private onTaskError(_machine: SimulatedMachine, error: unknown): void {
    const code = error instanceof StreamError ? error.code : 'unexpected';
    const message = error instanceof Error ? error.message : String(error);
    if (INJECTED_CODES.has(code) || this.damages.namedBy(code, message) !== null) return;
    if (code === 'unexpected' && INJECTED_MESSAGE.test(message)) return;
    this.fail(error instanceof Violation ? error : new Violation('error', `a task failed with ${describe(error)}`));
  }

  /** The process gives up; an operator mends what the message names, and it is started again. */
  private onFatal(machine: SimulatedMachine, { code, message }: FatalTask): void {
    const { trace, faults, random, time, figures } = this.world;
    trace.note(`${machine.name} gives up: ${code}: ${message}`);
    const named = this.damages.namedBy(code, message);
    if (named !== null) {
      faults.count(`${named.what}-refused`);
      this.damages.mend(named);
    } else if (code !== 'poisoned') {
      this.fail(new Violation('error', `${machine.name} gave up: ${code}: ${message}`));
    }
    figures.crashes += 1;
    machine.kill();
    time.schedule(random.skewed(20, 2_000), () => {
      if (this.atRest && !this.stopped && !machine.isUp) machine.start();
      else this.restart(machine);
    });
  }
}

const describe = (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error));
