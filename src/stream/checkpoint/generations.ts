/**
 * Owns how the generations of a pipeline follow one another: each one's tasks end with a seal in their state log, which
 * names the generation that goes on, and that one's begin with a seed. Nothing else is kept anywhere: whoever reaches the
 * logs finds the way. Neighbours: `seal.ts` and `seed.ts` write what is read here.
 *
 *   g1 ──sealed──► g2 ──sealed──► g3 … ──not sealed: this one runs
 *
 * N1 A generation runs only once all tasks of the one before are sealed and all of its own are seeded.
 * N2 A task is seeded only by the seed of the savepoint that the seals name: others are leftovers of earlier attempts.
 */
import type { Seal } from '../epoch/delta.js';
import { firstRecord } from '../epoch/log-ends.js';
import { StreamError } from '../errors.js';
import type { EpochLog } from '../ports.js';
import { readSeal } from './seal.js';

export interface Generation {
  /** 1, 2, … */
  readonly number: number;
  readonly stateLog: string;
  /** The topic that its tasks read. */
  readonly source: string;
  /** Its tasks, and the partitions of its state log. */
  readonly partitions: number;
  /** Name of the savepoint that it began with; null for the first one. */
  readonly seededFrom: string | null;
}

/** A generation that is being made: some tasks of the one before are sealed, or some of its own are not seeded yet. */
export interface PendingGeneration {
  readonly next: Generation;
  /** Partitions of the current generation that are sealed. */
  readonly sealed: readonly number[];
  /** Partitions of the next one that are seeded. */
  readonly seeded: readonly number[];
}

export interface FoundGeneration {
  /** From the first one to `current`. */
  readonly lineage: readonly Generation[];
  /** The newest one that is whole. */
  readonly current: Generation;
  readonly pending: PendingGeneration | null;
}

/** The way to the state logs of a generation. */
export interface GenerationLogs {
  isMade(generation: Generation): Promise<boolean>;
  /** Looks at the log of each task, without taking it over; the results are by partition. */
  over<T>(generation: Generation, look: (log: EpochLog) => Promise<T>): Promise<readonly T[]>;
}

/** Follows the seals from `first`, whose state log is there, to the newest generation. Errors: 'generations-torn'. */
export async function followSeals(first: Generation, logs: GenerationLogs): Promise<FoundGeneration> {
  const lineage: Generation[] = [];
  let current = first;
  for (;;) {
    lineage.push(current);
    const seals = await logs.over(current, readSeal);
    const next = nextOf(current, seals);
    if (next === null) return { lineage, current, pending: null };
    const sealed = seals.flatMap((seal, partition) => (seal === null ? [] : [partition]));
    const seeded = await seededPartitions(next, logs);
    const isReady = sealed.length === current.partitions && seeded.length === next.partitions; // N1
    if (!isReady) return { lineage, current, pending: { next, sealed, seeded } };
    current = next;
  }
}

/**
 * Whether the task began with the savepoint that its generation begins with (N2): the seed is the first record. Tasks
 * truncate behind later checkpoints alone, so what was truncated was seeded.
 */
export async function isSeeded(log: EpochLog, { number, seededFrom }: Generation): Promise<boolean> {
  const { start } = await log.stateLogRange();
  if (start > 0) return true;
  const first = await firstRecord(log);
  return first?.kind === 'seed' && first.seed.generation === number && first.seed.savepoint === seededFrom;
}

async function seededPartitions(next: Generation, logs: GenerationLogs): Promise<readonly number[]> {
  if (!(await logs.isMade(next))) return [];
  const seeded = await logs.over(next, (log) => isSeeded(log, next));
  return seeded.flatMap((is, partition) => (is ? [partition] : []));
}

function nextOf(current: Generation, seals: readonly (Seal | null)[]): Generation | null {
  const named = seals.filter((seal) => seal !== null);
  if (named.length === 0) return null;
  const [first] = named;
  const { generation: number, stateLog, source, partitions, savepoint: seededFrom } = first;
  const agree = named.every((seal) => JSON.stringify(seal) === JSON.stringify(first));
  if (agree && number === current.number + 1) return { number, stateLog, source, partitions, seededFrom };
  throw new StreamError(
    'generations-torn',
    `The seals in ${current.stateLog} do not agree on what follows generation ${current.number}: ${JSON.stringify(named)}. ` +
      "Something else than this program wrote there; look at that topic with the log's own tools",
  );
}
