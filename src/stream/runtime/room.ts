/** Owns what happens when hot keys run out: how often room is made, and what is said when none can be. */
import { StreamError } from '../errors.js';

/** Each try commits and writes some thousand dirty slots: past this many, nothing more can come free. */
export const MAX_TRIES_FOR_ROOM = 64;

/** The hot keys cannot hold what is in use at once. */
export function noRoom(capacity: number): StreamError {
  return new StreamError(
    'hot-keys-too-few',
    `one batch needs more than the ${capacity} keys that may be hot; raise memory.hotKeys (--memory-hot-keys) or lower batch.maxRecords (--batch-max-records)`,
  );
}
