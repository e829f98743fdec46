/**
 * Owns which generation of the simulated pipeline runs, and how a process finds it: by the seals at the ends of the state
 * logs, as `src/app/generation.ts` does, in the same order of steps. Neighbours: `rescale.ts` makes the next one,
 * `simulated-machine.ts` follows.
 */
import { readSeal } from '../../checkpoint/seal.js';
import type { Seal } from '../../epoch/delta.js';
import { firstRecord } from '../../epoch/log-ends.js';
import { StreamError } from '../../errors.js';
import { ownerIdOf, taskIdOf } from '../../pipeline/pipeline.js';
import type { EpochLog } from '../../ports.js';
import { asked, simulatedBackend } from './simulated-backend.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

export interface Generation {
  /** 1, 2, … */
  readonly number: number;
  readonly stateLog: string;
  readonly source: string;
  readonly partitions: number;
  /** Name of the savepoint that it began with; null for the first one. */
  readonly seededFrom: string | null;
}

/** One that is being made. */
export interface Pending {
  readonly next: Generation;
  readonly sealed: readonly number[];
  readonly seeded: readonly number[];
}

export const firstGeneration = (partitions: number): Generation => ({
  number: 1,
  stateLog: TOPICS.stateLog,
  source: TOPICS.source,
  partitions,
  seededFrom: null,
});

export const stateLogOf = (number: number): string =>
  number === 1 ? TOPICS.stateLog : `${TOPICS.stateLog}-g${number}`;

/**
 * Under what tasks with this state log keep their stores and checkpoints: '' for the first generation, and for others a
 * folder that no other topic of the name has.
 */
export function placeOf(world: World, { number, stateLog }: Pick<Generation, 'number' | 'stateLog'>): string {
  return number === 1 ? '' : `${world.log.partition(stateLog, 0).identity}/`;
}

/** The newest generation that is whole, and what is being made after it. */
export async function findGeneration(
  world: World,
  process: SimulatedProcess,
): Promise<{ readonly current: Generation; readonly pending: Pending | null }> {
  let current = firstGeneration(world.plan.partitions);
  for (;;) {
    const seals = await overTasks(world, process, current, readSeal);
    const next = nextOf(current, seals);
    if (next === null) return { current, pending: null };
    const sealed = seals.flatMap((seal, partition) => (seal === null ? [] : [partition]));
    const seeded = await seededPartitions(world, process, next);
    const isReady = sealed.length === current.partitions && seeded.length === next.partitions;
    if (!isReady) return { current, pending: { next, sealed, seeded } };
    current = next;
  }
}

/** The epoch log of one of its tasks; it reads until it is fenced. */
export function openTaskLog(
  world: World,
  process: SimulatedProcess,
  { number, stateLog }: Pick<Generation, 'number' | 'stateLog'>,
  partition: number,
): Promise<EpochLog> {
  return simulatedBackend(world, process).openEpochLog({
    taskId: taskIdOf(NAME, partition),
    ownerId: ownerIdOf(NAME, number, partition),
    stateLog: { topic: stateLog, partition },
  });
}

export async function overTasks<T>(
  world: World,
  process: SimulatedProcess,
  generation: Generation,
  look: (log: EpochLog, partition: number) => Promise<T>,
): Promise<readonly T[]> {
  const results: T[] = [];
  for (let partition = 0; partition < generation.partitions; partition++) {
    const log = await openTaskLog(world, process, generation, partition);
    results.push(await look(log, partition));
    await log.close();
  }
  return results;
}

function nextOf(current: Generation, seals: readonly (Seal | null)[]): Generation | null {
  const [first, ...others] = seals.filter((seal) => seal !== null);
  if (first === undefined) return null;
  const agree = others.every((seal) => JSON.stringify(seal) === JSON.stringify(first));
  if (!agree || first.generation !== current.number + 1) {
    throw new StreamError('generations-torn', `the seals do not agree: ${JSON.stringify(seals)}`);
  }
  const { generation: number, stateLog, source, partitions, savepoint } = first;
  return { number, stateLog, source, partitions, seededFrom: savepoint };
}

async function seededPartitions(world: World, process: SimulatedProcess, next: Generation): Promise<readonly number[]> {
  const { log } = world;
  const isMade = await asked(process, 'admin', () => log.partitions(next.stateLog).length > 0);
  if (!isMade) return [];
  const seeded = await overTasks(world, process, next, async (epochLog) => {
    const { start } = await epochLog.stateLogRange();
    return start > 0 || (await firstRecord(epochLog)) !== null;
  });
  return seeded.flatMap((is, partition) => (is ? [partition] : []));
}
