/**
 * Owns the names and the places of the simulated pipeline's generations, and the way to their state logs, on which the core
 * finds the one that runs. Neighbours: `rescale-job.ts` makes the next one, `simulated-machine.ts` follows.
 */
import { type FoundGeneration, followSeals, type Generation } from '../../checkpoint/generations.js';
import { ownerIdOf, taskIdOf } from '../../pipeline/pipeline.js';
import type { EpochLog } from '../../ports.js';
import { asked, simulatedBackend } from './simulated-backend.js';
import { NAME, TOPICS } from './simulated-pipeline.js';
import type { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

export type { Generation, PendingGeneration } from '../../checkpoint/generations.js';

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
export function findGeneration(world: World, process: SimulatedProcess): Promise<FoundGeneration> {
  return followSeals(firstGeneration(world.plan.partitions), {
    isMade: ({ stateLog }) => asked(process, 'admin', () => world.log.partitions(stateLog).length > 0),
    over: (generation, look) => overTasks(world, process, generation, look),
  });
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
