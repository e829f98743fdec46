/**
 * Owns the lock that makes a directory one process's own, and that a kill -9 releases by itself.
 * Neighbour: `data-directory.ts` takes it first and releases it last.
 *
 * The lock is a file `lock-<number>` that names its owner; the highest number holds. Who finds the owner dead makes the
 * next number, and making a file that must not exist is atomic, so of many successors one succeeds. Who then finds a
 * higher number than his own was overtaken and gives way.
 * Whether an owner lives is read from /proc where both run on one kernel: its process id, the time it started (ids are
 * used again) and that it is no zombie; no waiting. Elsewhere (another machine or container on a shared volume, macOS,
 * Windows) its heart is watched: the owner touches the file every second.
 */
import { link, readdir, readFile, readlink, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { StreamError } from '../stream/errors.js';

const LOCK_NAME = /^lock-(\d{9})$/;
const HEARTBEAT_MS = 1_000;
/** A heart that does not beat for this long has stopped. */
const WATCH_MS = 4_000;
/** Successions tried while others try too. */
const ATTEMPTS = 10;

const ownerShape = z.object({
  pid: z.int().positive(),
  host: z.string(),
  /** What one kernel's process ids are valid in: boot and process namespace. Null without /proc. */
  kernel: z.string().nullable(),
  /** Start of the process in ticks since boot. Null without /proc. */
  startedTicks: z.string().nullable(),
});
type Owner = z.infer<typeof ownerShape>;

export interface DirectoryLock {
  release(): Promise<void>;
}

export function isLockFile(name: string): boolean {
  return name.startsWith('lock-');
}

/**
 * Takes the lock of an existing directory. `onLost` is called once if the lock file is gone while it was held.
 * Errors: `data-directory-locked` naming the owner; the file system's own where nothing can be written.
 */
export async function lockDirectory(directory: string, onLost: (error: StreamError) => void): Promise<DirectoryLock> {
  const self = await describeSelf();
  const draft = path.join(directory, `lock-draft-${self.pid}-${process.hrtime.bigint()}`);
  await writeFile(draft, JSON.stringify(self), { flush: true });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const held = await highestLock(directory);
      if (held !== null && (await isOwned(held.file, self))) throw await lockedError(directory, held.file);
      const number = (held?.number ?? 0) + 1;
      const file = lockPath(directory, number);
      if (!(await makeExclusively(draft, file))) continue; // another successor was faster: look again
      if ((await highestLock(directory))?.number !== number) {
        await rm(file, { force: true }); // overtaken
        continue;
      }
      await removeOthers(directory, number);
      return holdLock(directory, file, onLost);
    }
  } finally {
    await rm(draft, { force: true });
  }
  throw new StreamError(
    'data-directory-locked',
    `The data directory ${directory} is being opened by many processes at once. Start one of them.`,
  );
}

function holdLock(directory: string, file: string, onLost: (error: StreamError) => void): DirectoryLock {
  let released = false;
  const heart = setInterval(async () => {
    const now = new Date();
    try {
      await utimes(file, now, now);
    } catch (cause) {
      clearInterval(heart);
      if (released) return; // it was removed while this beat was under way
      onLost(
        new StreamError(
          'data-directory-lost',
          `The lock ${file} is gone: the data directory ${directory} was removed or taken over while this process used it. Stop it; start it again on a directory of its own.`,
          { cause },
        ),
      );
    }
  }, HEARTBEAT_MS);
  heart.unref();
  return {
    async release() {
      released = true;
      clearInterval(heart);
      await rm(file, { force: true });
    },
  };
}

async function highestLock(directory: string): Promise<{ number: number; file: string } | null> {
  const numbers = (await readdir(directory)).map((name) => Number(LOCK_NAME.exec(name)?.[1] ?? 0));
  const number = Math.max(0, ...numbers);
  return number === 0 ? null : { number, file: lockPath(directory, number) };
}

/** Whether the owner named in the file lives, somebody else than this very process as it is now. */
async function isOwned(file: string, self: Owner): Promise<boolean> {
  const owner = await readOwner(file);
  if (owner === null) return false; // released meanwhile, or not a lock that this program wrote
  if (owner.kernel !== null && owner.kernel === self.kernel)
    return (await startedTicks(owner.pid)) === owner.startedTicks;
  if (owner.host === self.host && owner.kernel === null && self.kernel === null && !isAlive(owner.pid)) return false;
  return beats(file);
}

async function beats(file: string): Promise<boolean> {
  const first = await changedAt(file);
  for (const deadline = Date.now() + WATCH_MS; Date.now() < deadline; await wait(HEARTBEAT_MS / 4)) {
    const now = await changedAt(file);
    if (now === null) return false;
    if (now !== first) return true;
  }
  return false;
}

async function changedAt(file: string): Promise<bigint | null> {
  return orNone(async () => (await stat(file, { bigint: true })).mtimeNs);
}

async function lockedError(directory: string, file: string): Promise<StreamError> {
  const owner = await readOwner(file);
  const who = owner === null ? 'another process' : `process ${owner.pid} on ${owner.host}`;
  return new StreamError(
    'data-directory-locked',
    `The data directory ${directory} is in use by ${who}. Stop that process, or give this one another data directory with --data-dir or FRAUD_DATA_DIR (and another --port).`,
  );
}

async function readOwner(file: string): Promise<Owner | null> {
  const text = await orNone(() => readFile(file, 'utf8'));
  if (text === null) return null;
  try {
    return ownerShape.parse(JSON.parse(text));
  } catch (error) {
    // A power cut can leave the file empty; no running owner has such a one, since it is linked when complete.
    if (error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

async function describeSelf(): Promise<Owner> {
  const boot = await orNone(() => readFile('/proc/sys/kernel/random/boot_id', 'utf8'));
  const namespace = await orNone(() => readlink('/proc/self/ns/pid'));
  const kernel = boot === null || namespace === null ? null : `${boot.trim()} ${namespace}`;
  return {
    pid: process.pid,
    host: hostname(),
    kernel,
    startedTicks: kernel === null ? null : await startedTicks(process.pid),
  };
}

/** Null where no such process runs, a zombie among them. */
async function startedTicks(pid: number): Promise<string | null> {
  const line = await orNone(() => readFile(`/proc/${pid}/stat`, 'utf8'));
  if (line === null) return null;
  // The name in parentheses may hold anything; fields are counted behind it: state is field 3, start time field 22.
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  return state === 'Z' || state === 'X' ? null : (fields[19] ?? null);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

/** False where the file exists. Complete from its first moment, since it is a second name of the draft. */
async function makeExclusively(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(errorCode(error))) throw error;
  }
  try {
    await writeFile(file, await readFile(draft), { flag: 'wx', flush: true }); // a file system without hard links
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/** Locks of the dead, and drafts that a kill left behind. */
async function removeOthers(directory: string, number: number): Promise<void> {
  for (const name of await readdir(directory)) {
    const found = LOCK_NAME.exec(name)?.[1];
    const older = found !== undefined && Number(found) < number;
    const draft = /^lock-draft-(\d+)-/.exec(name)?.[1];
    const abandoned = draft !== undefined && Number(draft) !== process.pid && !isAlive(Number(draft));
    if (older || abandoned) await rm(path.join(directory, name), { force: true });
  }
}

function lockPath(directory: string, number: number): string {
  return path.join(directory, `lock-${String(number).padStart(9, '0')}`);
}

/** Null where the file does not exist (or the process that it describes ended while it was read). */
async function orNone<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'ENOTDIR'].includes(errorCode(error))) return null;
    throw error;
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
