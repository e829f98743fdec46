/**
 * Owns the cheap answer to where a task is: the source offset behind its newest committed epoch, read from the end of
 * its state log without taking it over and without building its state. Neighbour: `task-image.ts` tells the same and
 * brings the state.
 */
import { StateLogDecoder } from '../epoch/delta.js';
import type { EpochLog } from '../ports.js';

/** How far before the log's end the newest epoch is looked for at first. */
const FIRST_LOOK_BACK = 64;

/** The offset at which the task goes on; null where it never committed anything, or its seed names none. */
export async function committedOffset(epochLog: EpochLog): Promise<number | null> {
  const { start, end } = await epochLog.stateLogRange();
  for (let back = FIRST_LOOK_BACK; ; back *= 8) {
    const from = Math.max(start, end - back);
    const decoder = new StateLogDecoder();
    let isFound = false;
    let offset: number | null = null;
    await epochLog.readStateLog(from, (value, at) => {
      const record = decoder.push(value, at);
      if (record?.kind !== 'delta' && record?.kind !== 'seed') return;
      isFound = true;
      offset = record.kind === 'delta' ? record.head.to : record.seed.resume.sourceOffset;
    });
    if (isFound || from === start) return offset;
  }
}
