/**
 * Owns file steps that survive a power cut, and the hash of a file.
 * Neighbours: `directory-objects.ts` keeps objects with them, `snapshot-store.ts` hashes what it keeps and restores.
 */
import { createHash } from 'node:crypto';
import { constants, copyFile, mkdir, open, rm } from 'node:fs/promises';
import path from 'node:path';

/** Short enough that hashing one holds the thread for a millisecond, since payments run in the same one. */
const CHUNK_BYTES = 1024 * 1024;

export interface FileDigest {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Size and SHA-256 of a file's content; `flush` writes it out to the disk as well. Memory: one chunk of 1 MiB. */
export async function digestFile(file: string, options: { readonly flush: boolean }): Promise<FileDigest> {
  const handle = await open(file, options.flush ? 'r+' : 'r');
  try {
    const hash = createHash('sha256');
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    let sizeBytes = 0;
    for (;;) {
      const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, sizeBytes);
      if (bytesRead === 0) break;
      hash.update(chunk.subarray(0, bytesRead));
      sizeBytes += bytesRead;
    }
    if (options.flush) await handle.sync();
    return { sizeBytes, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

/** Copies a file to the new file `to`, flushed to the disk; shares blocks where the file system can. */
export async function copyDurably(from: string, to: string): Promise<void> {
  await copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  const handle = await open(to, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a new file, flushed to the disk. */
export async function writeDurably(file: string, bytes: Buffer): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes the directory and those above it, and has the disk know of each that it made. */
export async function makeDirectoryDurably(directory: string): Promise<void> {
  const first = await mkdir(directory, { recursive: true });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = path.dirname(made)) {
    await syncDirectory(path.dirname(made));
  }
}

/** Makes renames in the directory last. Windows keeps directory entries by itself and refuses to open one. */
export async function syncDirectory(directory: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes a file that may be gone already. */
export async function removeFile(file: string): Promise<void> {
  await rm(file, { force: true });
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
