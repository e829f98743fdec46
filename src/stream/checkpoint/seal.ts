/**
 * Owns the end of a generation: a seal behind the last epoch of each of its tasks, which names the generation that goes
 * on. Whoever recovers a sealed task stops with 'generation-over': so does a process that slept through it all, since
 * its own log tells it. A seal of null opens the task again. Neighbours: `epoch/recovery.ts` refuses, `seed.ts` begins
 * the next generation, `epoch/delta.ts` has the record.
 *
 * S1 A seal is written behind a fence: no epoch of an earlier owner can come to lie behind it.
 * S2 A sealed task is never sealed for another generation; it is to be opened again before.
 */
import { isDeepStrictEqual } from 'node:util';
import { encodeSeal, type Seal } from '../epoch/delta.js';
import { lastRecord } from '../epoch/log-ends.js';
import { CommitDoubtfulError, StreamError } from '../errors.js';
import type { EpochLog } from '../ports.js';

export type { Seal } from '../epoch/delta.js';

/** Commits in doubt in a row. */
const MAX_TRIES = 5;

/**
 * Ends the task for its generation (or, with null, opens it again): takes it over and writes the seal. Done already is
 * fine. Errors: 'sealed-already' for another generation (S2); fenced; commit-doubtful if it stays so.
 */
export async function sealTask(epochLog: EpochLog, seal: Seal | null): Promise<void> {
  for (let tries = 1; ; tries++) {
    await epochLog.fence(); // S1
    const present = await readSeal(epochLog);
    if (isDeepStrictEqual(present, seal)) return;
    if (present !== null && seal !== null) throw sealedAlready(present, seal);
    try {
      await epochLog.commit({ outputs: [], stateLog: encodeSeal(seal, epochLog.maxRecordBytes) });
      return;
    } catch (error) {
      if (!(error instanceof CommitDoubtfulError) || tries === MAX_TRIES) throw error;
    }
  }
}

/** The seal that the task's log ends with; null where it is open. Takes nothing over, reads the log's end alone. */
export async function readSeal(epochLog: EpochLog): Promise<Seal | null> {
  const last = await lastRecord(epochLog);
  return last?.kind === 'seal' ? last.seal : null;
}

/** What a task says whose generation is over. */
export function generationOver(taskId: string, seal: Seal): StreamError {
  const { generation, stateLog, source, partitions, savepoint } = seal;
  return new StreamError(
    'generation-over',
    `${taskId}: this generation is over: the pipeline goes on as generation ${generation}, from savepoint ${savepoint}, ` +
      `with source ${source} (${partitions} partitions) and state log ${stateLog}. Start the service again: it follows`,
  );
}

function sealedAlready(present: Seal, wanted: Seal): StreamError {
  return new StreamError(
    'sealed-already',
    `the state log is sealed for generation ${present.generation} (${present.partitions} partitions, state log ${present.stateLog}, savepoint ${present.savepoint}); ` +
      `it cannot be sealed for generation ${wanted.generation} (${wanted.partitions} partitions, state log ${wanted.stateLog}, savepoint ${wanted.savepoint}). ` +
      'Complete that first with the command that began it, or take it back',
  );
}
