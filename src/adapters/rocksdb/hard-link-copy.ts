/**
 * Owns moving a store's files into a copy: table files never change once written, so they are linked; all else
 * (manifest, write-ahead log) is appended to in place, so it is copied.
 * Neighbours: `rocksdb-state-store.ts` and `live-copy.ts` see to it that the files stand still, or that it does not matter.
 */
import { constants } from 'node:fs';
import { copyFile, link, mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { StreamError } from '../../stream/errors.js';

const IMMUTABLE = /\.(sst|blob)$/;
const WORKING_FILE = /^(LOCK|LOG|LOG\.old\..*|SESSION_ID)$/;
const WRITE_AHEAD_LOG = /^\d+\.log$/;
/** Link and copy calls under way at once. */
const PARALLEL_FILES = 8;

/** Makes `directory` where missing. Errors: `snapshot-directory-not-empty`. */
export async function claimEmptyDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  if ((await readdir(directory)).length === 0) return;
  throw new StreamError(
    'snapshot-directory-not-empty',
    `Cannot write a snapshot into ${directory}: it is not empty. Give a new directory.`,
  );
}

/** Bytes of write-ahead log that a copy would have to move while the store waits. */
export async function writeAheadLogBytes(directory: string): Promise<number> {
  const names = (await readdir(directory)).filter((name) => WRITE_AHEAD_LOG.test(name));
  // A log may be retired between the listing and here; what is gone need not be copied.
  const sizes = await Promise.all(names.map((name) => sizeOrZero(path.join(directory, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** A file that never changes once it is written. */
export function isTable(name: string): boolean {
  return IMMUTABLE.test(name);
}

/** RocksDB's lock and diary, which belong to the running store and not to its data. */
export function isWorkingFile(name: string): boolean {
  return WORKING_FILE.test(name);
}

/** Copies all files of `source`, which must stand still, into `target`; empties `target` again if that fails. */
export async function copyStanding(source: string, target: string): Promise<void> {
  await copyFiles(
    source,
    target,
    (await readdir(source)).filter((name) => !isWorkingFile(name)),
  );
}

/** Copies the files named; removes those it made if one fails. */
export async function copyFiles(source: string, target: string, names: readonly string[]): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let name = names[next++]; name !== undefined; name = names[next++]) {
      await linkOrCopy(path.join(source, name), path.join(target, name), isTable(name));
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: PARALLEL_FILES }, lane));
  const failed = lanes.find((result) => result.status === 'rejected');
  if (failed === undefined) return;
  await removeFiles(target, names);
  throw failed.reason;
}

export async function removeFiles(directory: string, names: readonly string[]): Promise<void> {
  await Promise.all(names.map((name) => rm(path.join(directory, name), { force: true })));
}

async function linkOrCopy(from: string, to: string, immutable: boolean): Promise<void> {
  if (immutable) {
    try {
      return await link(from, to);
    } catch (error) {
      // Another file system, or one without hard links: copying is slower and as good.
      if (!['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK', 'ENOSYS'].includes(errorCode(error))) throw error;
    }
  }
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
}

async function sizeOrZero(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return 0;
    throw error;
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
