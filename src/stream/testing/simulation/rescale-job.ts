/**
 * Owns the steps of a rescale in a schedule, in the order in which `src/app/rescale.ts` and `new-generation.ts` take
 * them: every step finds out from the log what was done before, so that a try cut short anywhere is gone on with, or
 * taken back. Neighbours: `operator.ts` runs it again and again; the seals, images, savepoints and seeds are the core's.
 *
 *   drained? ──► seal every task ──► savepoint ──► still drained? ──► seed every task ──► whole
 *                     └── until it is whole: take back (new state log deleted, then tasks opened again)
 */
import { committedOffset } from '../../checkpoint/committed-offset.js';
import { isSeeded } from '../../checkpoint/generations.js';
import type { SavepointManifest, StoredManifest } from '../../checkpoint/savepoint-manifest.js';
import { Savepoints } from '../../checkpoint/savepoints.js';
import { sealTask } from '../../checkpoint/seal.js';
import { seedTasks } from '../../checkpoint/seed.js';
import type { Seal } from '../../epoch/delta.js';
import { FencedError, OffsetOutOfRangeError, StreamError } from '../../errors.js';
import { partitionOfKey } from '../../partitioning.js';
import { taskIdOf } from '../../pipeline/pipeline.js';
import {
  findGeneration,
  type Generation,
  openTaskLog,
  overTasks,
  type PendingGeneration,
  placeOf,
  stateLogOf,
} from './generation.js';
import type { Lineage } from './lineage.js';
import type { Job } from './operator.js';
import { savedLayout, takeSavepoint } from './savepoint-job.js';
import { asked } from './simulated-backend.js';
import { simulatedObjects } from './simulated-objects.js';
import { NotInLogError, type SimulatedPartition } from './simulated-partition.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

/** What a rescale needs of the machines. */
export interface Machines {
  /** Stops those that can be stopped; nobody starts them until {@link release}. */
  hold(): Promise<void>;
  release(): void;
}

/** Times that a task is taken over in a row. */
const MAX_TRIES = 10;
const LOOK_AGAIN_MS = 100;
/** Share of the rescales after which somebody asks to take back what is whole. */
const LATE_UNDOS = 0.3;

export function rescaleJob(world: World, lineage: Lineage, machines: Machines): Job {
  const { plan, random } = world;
  const { rescale } = plan;
  if (rescale === null) throw new Error('this schedule has no rescale');
  let tries = 0;
  return {
    name: 'rescale',
    cuts: rescale.cuts,
    run: async (process) => {
      const steps = new Rescale(world, lineage, process, `rescale-${++tries}`);
      if (random.chance(rescale.undos)) {
        await steps.undo();
        return false;
      }
      if (rescale.stopsMachines) await machines.hold();
      await steps.run();
      if (random.chance(LATE_UNDOS)) await steps.undo();
      return true;
    },
    ended: () => machines.release(),
  };
}

class Rescale {
  constructor(
    private readonly world: World,
    private readonly lineage: Lineage,
    private readonly process: SimulatedProcess,
    /** Names the savepoint, if none is named yet. */
    private readonly savepoint: string,
  ) {}

  async run(): Promise<void> {
    const { current, pending } = await findGeneration(this.world, this.process);
    const next = pending?.next ?? (await this.plan(current));
    if (next === null) return;
    await this.sealAll(current, next);
    const hasSeeds = (pending?.seeded.length ?? 0) > 0;
    const stored = await this.orTakenBack(current, next, hasSeeds, async () => {
      const taken = await this.sealedSavepoint(current, next);
      if (!hasSeeds) await this.expectDrained(current, next, committedIn(taken.manifest));
      return taken;
    });
    const offsets = await this.offsetsAfter(current, next, committedIn(stored.manifest));
    await this.seedAll(next, stored, offsets);
    this.world.figures.rescales += 1;
  }

  async undo(): Promise<void> {
    const { current, pending } = await findGeneration(this.world, this.process);
    if (pending === null) return;
    this.world.faults.count('rescale-taken-back');
    await this.takeBack(current, pending);
  }

  /** Null where it is done. */
  private async plan(current: Generation): Promise<Generation | null> {
    const { rescale } = this.world.plan;
    if (rescale === null || current.number > 1) return null;
    const number = current.number + 1;
    const source = rescale.source === 'grown' ? TOPICS.source : TOPICS.otherSource;
    const { partitions } = rescale;
    const next = { number, stateLog: stateLogOf(number), source, partitions, seededFrom: this.savepoint };
    const committed = await overTasks(this.world, this.process, current, committedOffset);
    await this.expectDrained(current, next, committed);
    return next;
  }

  /** Records that the new layout would give to another task must have been processed. */
  private async expectDrained(
    current: Generation,
    next: Generation,
    committed: readonly (number | null)[],
  ): Promise<void> {
    const { log } = this.world;
    const isSameTopic = current.source === next.source;
    if (isSameTopic && committed.length === next.partitions) return;
    for (const partition of log.partitions(current.source)) {
      const from = partition.partition < committed.length ? committed[partition.partition] : null;
      const { records } = await asked(this.process, 'source-read', () => readFrom(partition, from ?? partition.start));
      const left = records.find(
        ({ key }) => !isSameTopic || partitionOfKey(key ?? Buffer.alloc(0), next.partitions) !== partition.partition,
      );
      if (left === undefined) continue;
      throw new StreamError('not-drained', `${left.topic}/${left.partition} has records from offset ${left.offset} on`);
    }
  }

  private async sealAll(current: Generation, next: Generation): Promise<void> {
    const { number: generation, stateLog, source, partitions, seededFrom } = next;
    const seal = { generation, stateLog, source, partitions, savepoint: seededFrom ?? '' };
    for (let partition = 0; partition < current.partitions; partition++) await this.sealOne(current, partition, seal);
  }

  private async sealOne(current: Generation, partition: number, seal: Seal | null): Promise<void> {
    const { world, process } = this;
    const log = await openTaskLog(world, process, current, partition);
    for (let tries = 1; ; tries++) {
      try {
        await sealTask(log, seal);
        return await log.close();
      } catch (error) {
        if (!(error instanceof FencedError) || tries === MAX_TRIES) throw error;
        await new Promise<void>((resolve) => process.clock.schedule(LOOK_AGAIN_MS, resolve));
      }
    }
  }

  private async orTakenBack<T>(
    current: Generation,
    next: Generation,
    hasSeeds: boolean,
    look: () => Promise<T>,
  ): Promise<T> {
    try {
      return await look();
    } catch (error) {
      const isRefusal = error instanceof OffsetOutOfRangeError || (error instanceof StreamError && isNotDrained(error));
      if (!isRefusal || hasSeeds) throw error;
      await this.takeBack(current, { next, sealed: [...Array(current.partitions).keys()], seeded: [] });
      throw error;
    }
  }

  private async sealedSavepoint(current: Generation, next: Generation): Promise<StoredManifest> {
    const { world, lineage, process } = this;
    const name = next.seededFrom ?? '';
    const savepoints = new Savepoints(simulatedObjects(world, process));
    const present = await readOrNull(savepoints, name);
    if (present === null) await takeSavepoint(world, lineage, process, current, name);
    const stored = present ?? (await savepoints.read(name));
    const sealedAt = await overTasks(world, process, current, committedOffset);
    const committed = committedIn(stored.manifest);
    if (sealedAt.every((offset, partition) => offset === committed[partition])) return stored;
    throw new StreamError('generation-unready', `savepoint ${name} has ${committed}, the sealed tasks ${sealedAt}`);
  }

  private async offsetsAfter(
    current: Generation,
    next: Generation,
    committed: readonly (number | null)[],
  ): Promise<readonly number[]> {
    const { log } = this.world;
    const ranges = await asked(this.process, 'admin', () =>
      log.partitions(next.source).map(({ start, stableEnd }) => ({ start, end: stableEnd })),
    );
    return Array.from({ length: next.partitions }, (_, partition) => {
      const { start, end } = ranges[partition];
      if (current.source !== next.source || partition >= committed.length) return start;
      const offset = committed[partition] ?? start;
      if (offset >= start && offset <= end) return offset;
      throw new OffsetOutOfRangeError(`${next.source}/${partition} holds ${start} to ${end}, not ${offset}`);
    });
  }

  private async seedAll(next: Generation, savepoint: StoredManifest, offsets: readonly number[]): Promise<void> {
    const { world, process } = this;
    const { log, disks, trace } = world;
    await asked(process, 'admin', () => log.makeTopic(next.stateLog, next.partitions));
    await seedTasks({
      savepoint,
      savepoints: new Savepoints(simulatedObjects(world, process)),
      generation: next.number,
      source: { topic: next.source, identity: log.partition(next.source, 0).identity },
      targets: offsets.map((sourceOffset, partition) => ({ taskId: taskIdOf(NAME, partition), sourceOffset })),
      layout: savedLayout,
      openEpochLog: (partition) => openTaskLog(world, process, next, partition),
      snapshots: world.snapshots.over(process, placeOf(world, next)),
      openStore: disks.openStore(process, process.name),
      disk: disks.local(process),
      directory: `${process.name}/seeds`,
      clock: process.clock,
      onProgress: (message) => trace.note(`${process.name} says: ${message}`),
      shouldStop: () => false,
    });
  }

  /**
   * Asked behind a fence: the last seed may be committed and not readable yet, and whoever reads it in the next moment
   * starts the generation.
   */
  private async isWhole(next: Generation): Promise<boolean> {
    const { world, process } = this;
    const { log } = world;
    if (!(await asked(process, 'admin', () => log.partitions(next.stateLog).length > 0))) return false;
    const seeded = await overTasks(world, process, next, async (epochLog) => {
      await epochLog.fence();
      return isSeeded(epochLog, next);
    });
    return seeded.every((is) => is);
  }

  private async takeBack(current: Generation, { next, sealed }: PendingGeneration): Promise<void> {
    const { log } = this.world;
    if (await this.isWhole(next)) throw new StreamError('generation-whole', `generation ${next.number} is whole`);
    const identity = await asked(this.process, 'admin', () => log.partitions(next.stateLog).at(0)?.identity);
    // That very topic: a request that comes late must not hit the next one of its name.
    await asked(this.process, 'admin', () => {
      if (identity !== undefined && log.partitions(next.stateLog).at(0)?.identity === identity) {
        log.deleteTopic(next.stateLog);
      }
    });
    for (const partition of [...sealed].reverse()) await this.sealOne(current, partition, null);
  }
}

function readFrom(partition: SimulatedPartition, offset: number) {
  try {
    return partition.fetch(offset, Number.POSITIVE_INFINITY);
  } catch (error) {
    if (error instanceof NotInLogError) throw new OffsetOutOfRangeError(error.message);
    throw error;
  }
}

const committedIn = ({ tasks }: SavepointManifest): readonly (number | null)[] =>
  tasks.map(({ resume }) => resume.sourceOffset);

const isNotDrained = ({ code }: StreamError): boolean => code === 'not-drained';

async function readOrNull(savepoints: Savepoints, name: string): Promise<StoredManifest | null> {
  try {
    return await savepoints.read(name);
  } catch (error) {
    const isAbsent = error instanceof StreamError && ['savepoint-missing', 'savepoint-unfinished'].includes(error.code);
    if (isAbsent) return null;
    throw error;
  }
}
