/**
 * Owns looking at the two ends of a state log: what it began with, and what was written last. Cheap, and nothing is
 * taken over. Neighbours: `checkpoint/seal.ts` and `checkpoint/seed.ts` ask, `delta.ts` decodes.
 */
import { OffsetOutOfRangeError } from '../errors.js';
import type { EpochLog } from '../ports.js';
import { StateLogDecoder, type StateLogRecord } from './delta.js';

/** The last records are looked for this far before the end at first: markers and aborted records may lie between. */
const FIRST_LOOK_BACK = 16;
const MAX_TRIES = 5;

/** Ends a reading that has found what it looks for. */
class Found extends Error {
  constructor(readonly record: StateLogRecord) {
    super();
  }
}

/** The first whole record that the log holds; null where it holds none. Errors: CorruptDataError, those of the log. */
export function firstRecord(epochLog: EpochLog): Promise<StateLogRecord | null> {
  return unlessShortened(async () => {
    const { start } = await epochLog.stateLogRange();
    const decoder = new StateLogDecoder();
    try {
      await epochLog.readStateLog(start, (value, offset) => {
        const record = decoder.push(value, offset);
        if (record !== null) throw new Found(record);
      });
      return null;
    } catch (error) {
      if (error instanceof Found) return error.record;
      throw error;
    }
  });
}

/** The last whole record that the log holds; null where it holds none. Errors as {@link firstRecord}. */
export function lastRecord(epochLog: EpochLog): Promise<StateLogRecord | null> {
  return unlessShortened(async () => {
    const { start, end } = await epochLog.stateLogRange();
    for (let back = FIRST_LOOK_BACK; ; back *= 8) {
      const from = Math.max(start, end - back);
      const decoder = new StateLogDecoder();
      let last: StateLogRecord | null = null;
      await epochLog.readStateLog(from, (value, offset) => {
        last = decoder.push(value, offset) ?? last;
      });
      if (last !== null || from === start) return last;
    }
  });
}

/** Looks again where the owner truncated its log since its start was asked for. */
async function unlessShortened<T>(look: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof OffsetOutOfRangeError) || tries === MAX_TRIES) throw error;
    }
  }
}
