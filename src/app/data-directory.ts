/**
 * Owns the data directory: that it is ours, ours alone, of a known layout and not full, and what may be removed in it.
 * Neighbours: `directory-lock.ts` keeps other processes out; the parts that keep data (state stores, snapshots, the
 * embedded log and Postgres) each get a subdirectory of it and own what is inside.
 *
 *   <path>/data-directory.json   marker: the layout's format, and the subdirectories that were made
 *   <path>/lock-<number>         the lock of the process that runs
 *   <path>/<subdirectory>/…      the data
 *
 * Invariants:
 *   D1 Nothing is written into a directory that holds foreign files and no marker.
 *   D2 A subdirectory is in the marker before it is on disk, and `wipe` removes what the marker names and nothing else.
 */
import { mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { StreamError } from '../stream/errors.js';
import { isLockFile, lockDirectory } from './directory-lock.js';

const MARKER = 'data-directory.json';
const APPLICATION = 'payment-fraud-detector';
/** Raised when an older program could not read what a newer one writes. */
const FORMAT = 1;
const DEFAULT_MINIMUM_FREE_BYTES = 256 * 1024 * 1024;
const MIB = 1024 * 1024;
/** Savepoints are kept by name: `wipe` leaves them, and a command may have made them before there was a marker. */
const KEPT = 'savepoints';
/** What file systems and tools put into directories that are empty for their owner. */
const HARMLESS = new Set(['lost+found', '.gitkeep', '.gitignore', '.DS_Store', KEPT]);
const SUBDIRECTORY_NAME = /^[a-z0-9][a-z0-9._-]*$/;

const markerShape = z.object({
  application: z.literal(APPLICATION),
  format: z.int().positive(),
  subdirectories: z.array(z.string().regex(SUBDIRECTORY_NAME)),
});
type Marker = z.infer<typeof markerShape>;

export interface DataDirectoryOptions {
  /** Refuse to start with less; 256 MiB where left out. */
  readonly minimumFreeBytes?: number;
  /** Called once if the directory is taken away under us; the process shall stop at once. */
  readonly onLost?: (error: StreamError) => void;
}

export interface DataDirectory {
  /** Absolute. */
  readonly path: string;
  /** Makes the subdirectory where missing; returns its absolute path. Names: lower-case letters, digits, `.`, `_`, `-`. */
  subdirectory(name: string): Promise<string>;
  /** Bytes that this process may still write on the file system. */
  freeBytes(): Promise<number>;
  /** Removes every subdirectory ever made here. Nothing in them may be open. Foreign files stay. */
  wipe(): Promise<void>;
  /** Gives the directory free for the next process. */
  close(): Promise<void>;
}

/**
 * Opens the data directory, making it where missing, and locks it until `close` or the end of the process.
 * Errors, all {@link StreamError}: `data-directory-unwritable`, `data-directory-locked` (names the process),
 * `data-directory-full`, `data-directory-foreign` (holds files of others), `data-directory-format` (a newer layout, or a
 * damaged marker).
 */
export async function openDataDirectory(location: string, options: DataDirectoryOptions = {}): Promise<DataDirectory> {
  const directory = path.resolve(location);
  return naming(directory, async () => {
    // 711: a database that may not run as root passes through to its own subdirectory; nobody else can list anything
    await makeDirectory(directory, 0o711);
    await refuseForeign(directory);
    const lock = await lockDirectory(directory, options.onLost ?? (() => undefined));
    try {
      const marker = await readOrMakeMarker(directory);
      await refuseFull(directory, options.minimumFreeBytes ?? DEFAULT_MINIMUM_FREE_BYTES);
      return new LockedDataDirectory(directory, marker, () => lock.release());
    } catch (error) {
      await lock.release();
      throw error;
    }
  });
}

class LockedDataDirectory implements DataDirectory {
  private readonly made: Set<string>;
  /** Changes to the marker, one after another; never rejects. */
  private changes: Promise<void> = Promise.resolve();

  constructor(
    readonly path: string,
    marker: Marker,
    private readonly release: () => Promise<void>,
  ) {
    this.made = new Set(marker.subdirectories);
  }

  subdirectory(name: string): Promise<string> {
    if (!SUBDIRECTORY_NAME.test(name) || name === MARKER || isLockFile(name)) {
      throw new StreamError(
        'data-directory-name',
        `"${name}" cannot name a subdirectory of ${this.path}: lower-case letters, digits, ".", "_" and "-" only, beginning with a letter or digit.`,
      );
    }
    return this.change(async () => {
      if (!this.made.has(name)) {
        await writeMarker(this.path, [...this.made, name]); // D2
        this.made.add(name);
      }
      const directory = path.join(this.path, name);
      await mkdir(directory, { recursive: true, mode: 0o700 });
      return directory;
    });
  }

  freeBytes(): Promise<number> {
    return freeBytesOf(this.path);
  }

  wipe(): Promise<void> {
    return this.change(async () => {
      for (const name of this.made)
        await rm(path.join(this.path, name), { recursive: true, force: true, maxRetries: 3 });
      await writeMarker(this.path, []);
      this.made.clear();
    });
  }

  async close(): Promise<void> {
    await this.changes;
    await this.release();
  }

  private change<T>(work: () => Promise<T>): Promise<T> {
    const result = this.changes.then(() => naming(this.path, work));
    this.changes = result.then(
      () => undefined,
      () => undefined, // whoever asked for it has the error
    );
    return result;
  }
}

/** D1 */
async function refuseForeign(directory: string): Promise<void> {
  const names = await readdir(directory);
  if (names.includes(MARKER)) return;
  const foreign = names.filter((name) => !HARMLESS.has(name) && !isLockFile(name) && name !== `${MARKER}.tmp`);
  if (foreign.length === 0) return;
  throw new StreamError(
    'data-directory-foreign',
    `${directory} is not a data directory of this program and is not empty (${foreign.slice(0, 3).join(', ')}` +
      `${foreign.length > 3 ? ', …' : ''}). Give a new or an empty directory with --data-dir or FRAUD_DATA_DIR.`,
  );
}

async function readOrMakeMarker(directory: string): Promise<Marker> {
  const file = path.join(directory, MARKER);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    return writeMarker(directory, []);
  }
  const marker = parseMarker(text);
  if (marker === null) {
    throw new StreamError(
      'data-directory-format',
      `${file} is not a marker that this program wrote. Restore it from a backup of the directory, or give another data directory.`,
    );
  }
  if (marker.format === FORMAT) return marker;
  throw new StreamError(
    'data-directory-format',
    `The data directory ${directory} has layout ${marker.format}, this program reads layout ${FORMAT}. Use the version that wrote it, ` +
      'or take a savepoint with that version and restore it into a new data directory.',
  );
}

function parseMarker(text: string): Marker | null {
  try {
    return markerShape.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

/** Flushed under another name, then renamed: the marker is never seen in part. */
async function writeMarker(directory: string, subdirectories: readonly string[]): Promise<Marker> {
  const marker: Marker = { application: APPLICATION, format: FORMAT, subdirectories: [...subdirectories].sort() };
  const file = path.join(directory, MARKER);
  const handle = await open(`${file}.tmp`, 'w');
  try {
    await handle.writeFile(`${JSON.stringify(marker, null, 2)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.tmp`, file);
  return marker;
}

async function refuseFull(directory: string, minimumFreeBytes: number): Promise<void> {
  const free = await freeBytesOf(directory);
  if (free >= minimumFreeBytes) return;
  throw new StreamError(
    'data-directory-full',
    `The file system of ${directory} has ${Math.floor(free / MIB)} MiB free; at least ${Math.ceil(minimumFreeBytes / MIB)} MiB are needed. ` +
      'Free some space, or give a data directory on another disk with --data-dir or FRAUD_DATA_DIR.',
  );
}

/** With its parents. Node's own recursion never ends where a parent exists and takes no directories (/proc). */
async function makeDirectory(directory: string, mode: number): Promise<void> {
  if (await made(directory, mode)) return;
  await makeDirectory(path.dirname(directory), 0o777); // less what the umask takes, as any parent
  if (await made(directory, mode)) return;
  throw new Error(`ENOENT: ${directory} cannot be made`);
}

/** False where the parent is missing. */
async function made(directory: string, mode: number): Promise<boolean> {
  try {
    await mkdir(directory, { mode });
  } catch (error) {
    if (errorCode(error) === 'ENOENT' && path.dirname(directory) !== directory) return false;
    if (errorCode(error) !== 'EEXIST') throw error;
  }
  return true;
}

async function freeBytesOf(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory);
  return bavail * bsize;
}

/** Gives the file system's refusals our codes. */
async function naming<T>(directory: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof StreamError) throw cause;
    const code = errorCode(cause);
    const reason = cause instanceof Error ? cause.message : String(cause);
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new StreamError(
        'data-directory-full',
        `The file system of ${directory} is full (${reason}). Free some space, or give a data directory on another disk with --data-dir or FRAUD_DATA_DIR.`,
        { cause },
      );
    }
    throw new StreamError(
      'data-directory-unwritable',
      `The data directory ${directory} cannot be used (${reason}). Check that it is a directory this user may write to, or give another one with --data-dir or FRAUD_DATA_DIR.`,
      { cause },
    );
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
