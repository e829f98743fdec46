/**
 * Owns objects kept as files in a directory: a second disk, a mounted share, or a place beside the data for one machine.
 * Neighbour: `durable-files.ts` makes writes last.
 *
 *   <directory>/<name>                an object; '/' in its name parts directories
 *   <directory>/.sending/<uuid>       one that is being written; renamed into its place once it is flushed
 *
 * Invariants:
 *   D1 Under an object's name there is a whole one or none: it is flushed, then renamed, then the directory flushed.
 *   D2 What a crash left in `.sending` goes with the first write of a later process once it is a day old; younger files
 *      may be another process's.
 */
import { randomUUID } from 'node:crypto';
import { constants, copyFile, readdir, readFile, rename, rmdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { StreamError } from '../../stream/errors.js';
import { checkObjectName } from '../../stream/object-names.js';
import type { ObjectStore } from '../../stream/ports.js';
import {
  copyDurably,
  isMissing,
  makeDirectoryDurably,
  removeFile,
  syncDirectory,
  writeDurably,
} from './durable-files.js';

const SENDING = '.sending';
const ABANDONED_AFTER_MS = 86_400_000;
/** A concurrent delete may remove an empty directory just before a file is moved there. */
const PLACING_TRIES = 5;

const CODES: Readonly<Record<string, readonly [code: string, advice: string]>> = {
  EACCES: ['object-store-denied', 'Give this user the right to read and write there'],
  EPERM: ['object-store-denied', 'Give this user the right to read and write there'],
  EROFS: ['object-store-denied', 'Mount it writable'],
  ENOSPC: ['object-store-full', 'Free some space there'],
  EDQUOT: ['object-store-full', 'Free some space there, or raise the quota'],
};

export function directoryObjects(options: { readonly directory: string }): ObjectStore {
  return new DirectoryObjects(path.resolve(options.directory));
}

class DirectoryObjects implements ObjectStore {
  /** Clearing what crashes left (D2), once. */
  private cleared: Promise<void> | null = null;

  constructor(readonly place: string) {}

  put(name: string, bytes: Buffer): Promise<void> {
    return this.keep(name, (temporary) => writeDurably(temporary, bytes));
  }

  putFile(name: string, file: string): Promise<void> {
    return this.keep(name, (temporary) => copyDurably(file, temporary));
  }

  async get(name: string): Promise<Buffer | null> {
    const file = this.fileOf(name);
    return this.telling('read', name, () => orNull(readFile(file)));
  }

  async getFile(name: string, to: string): Promise<boolean> {
    const file = this.fileOf(name);
    return this.telling('read', name, async () => {
      if ((await orNull(stat(file))) === null) return false;
      await copyFile(file, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      return true;
    });
  }

  async sizeOf(name: string): Promise<number | null> {
    const file = this.fileOf(name);
    return this.telling('look for', name, async () => (await orNull(stat(file)))?.size ?? null);
  }

  async list(prefix: string): Promise<readonly string[]> {
    const within = prefix.slice(0, prefix.lastIndexOf('/') + 1);
    if (within !== '') checkObjectName(within.slice(0, -1));
    return this.telling('list', prefix, async () => {
      const names: string[] = [];
      await this.walk(within, prefix, names);
      return names.sort();
    });
  }

  async delete(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const file = this.fileOf(name);
      await this.telling('delete', name, async () => {
        await removeFile(file);
        await this.removeEmpty(path.dirname(file));
      });
    }
  }

  /** D1 */
  private async keep(name: string, write: (temporary: string) => Promise<void>): Promise<void> {
    const file = this.fileOf(name);
    await this.telling('keep', name, async () => {
      this.cleared ??= this.clearAbandoned();
      await this.cleared;
      const temporary = path.join(this.place, SENDING, randomUUID());
      try {
        await write(temporary);
        await placed(temporary, file);
      } catch (error) {
        await removeFile(temporary);
        throw error;
      }
    });
  }

  private async clearAbandoned(): Promise<void> {
    const sending = path.join(this.place, SENDING);
    await makeDirectoryDurably(sending);
    for (const name of await readdir(sending)) {
      const file = path.join(sending, name);
      const found = await orNull(stat(file));
      if (found !== null && Date.now() - found.mtimeMs > ABANDONED_AFTER_MS) await removeFile(file);
    }
  }

  /** Adds the names of objects under the directory `within` ('' or ending in '/') that begin with `prefix`. */
  private async walk(within: string, prefix: string, names: string[]): Promise<void> {
    const entries = await orNull(readdir(path.join(this.place, within), { withFileTypes: true }));
    for (const entry of entries ?? []) {
      if (entry.name.startsWith('.')) continue;
      const name = within + entry.name;
      const fits = name.startsWith(prefix) || prefix.startsWith(`${name}/`);
      if (fits && entry.isDirectory()) await this.walk(`${name}/`, prefix, names);
      else if (fits && entry.isFile()) names.push(name);
    }
  }

  /** Takes directories away that the last object has left, up to the place itself. */
  private async removeEmpty(directory: string): Promise<void> {
    for (let at = directory; at.length > this.place.length; at = path.dirname(at)) {
      try {
        await rmdir(at);
      } catch {
        return; // not empty, or gone: either is how it should be
      }
    }
  }

  private fileOf(name: string): string {
    return path.join(this.place, checkObjectName(name));
  }

  private async telling<T>(doing: string, name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof StreamError) throw cause;
      const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
      const reason = cause instanceof Error ? cause.message : String(cause);
      const [code, advice] = CODES[errno] ?? [
        'object-store-refused',
        'Check that it is a directory this user may read and write, on a disk that works',
      ];
      throw new StreamError(code, `Cannot ${doing} ${name} in ${this.place}: ${reason}. ${advice}.`, { cause });
    }
  }
}

async function placed(temporary: string, file: string): Promise<void> {
  const directory = path.dirname(file);
  for (let tries = 1; ; tries++) {
    await makeDirectoryDurably(directory);
    try {
      await rename(temporary, file);
      await syncDirectory(directory);
      return;
    } catch (error) {
      if (!isMissing(error) || tries === PLACING_TRIES) throw error;
    }
  }
}

async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}
