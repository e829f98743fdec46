/**
 * Owns what RocksDB's messages mean for us. The binding gives every failure the code EIO, so the text decides.
 * Neighbour: `rocksdb-state-store.ts` raises what is made here.
 */
import { CorruptDataError, StreamError } from '../../stream/errors.js';

const LOCKED = /lock hold by current process|while lock file|resource temporarily unavailable/i;
const DISK_FULL = /no space left|quota exceeded/i;
const CORRUPT =
  /corrupt|checksum mismatch|no such file|manifest|contains existing log file|truncated|bad magic|sst file|current file/i;

/** The store was closed, or is closing. */
export function storeClosed(directory: string): StreamError {
  return new StreamError(
    'state-store-closed',
    `The state store in ${directory} is closed. Open it again before using it.`,
  );
}

/**
 * Codes: `state-store-locked`, `state-store-disk-full`, `corrupt-data`, and `state-store-failed` for the rest.
 * `during` says what was tried, as in "open the state store".
 */
export function storeError(during: string, directory: string, cause: unknown): StreamError {
  if (cause instanceof StreamError) return cause;
  const text = cause instanceof Error ? cause.message : String(cause);
  const what = `Cannot ${during} in ${directory}: ${text.trim()}.`;
  if (LOCKED.test(text)) {
    return new StreamError(
      'state-store-locked',
      `${what} Another process, or another task of this one, has it open. Stop that one, or give this one a data directory of its own.`,
      { cause },
    );
  }
  if (DISK_FULL.test(text)) {
    return new StreamError('state-store-disk-full', `${what} Free some space, then start again; nothing is lost.`, {
      cause,
    });
  }
  if (CORRUPT.test(text)) {
    return new CorruptDataError(
      `${what} Its files are damaged or incomplete. Move the directory away: the state is rebuilt from the newest snapshot and the state log.`,
      { cause },
    );
  }
  return new StreamError(
    'state-store-failed',
    `${what} Check the disk, the directory's owner and the limit of open files.`,
    {
      cause,
    },
  );
}
