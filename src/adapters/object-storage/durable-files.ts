/**
 * Owns file steps that survive a power cut: a file appears under its final name whole or not at all, and stays.
 * Neighbour: `directory-snapshot-store.ts` builds snapshots of them.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';

const CHUNK_BYTES = 1024 * 1024;

export interface CopiedFile {
  readonly sizeBytes: number;
  readonly sha256: string;
}

/** Copies `from` to the new file `to`, flushed to disk, and hashes what it wrote. Memory: one chunk of 1 MiB. */
export async function copyHashed(from: string, to: string): Promise<CopiedFile> {
  const source = await open(from, 'r');
  try {
    const target = await open(to, 'wx');
    try {
      const copied = await pump(source, target);
      await target.sync();
      return copied;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/** Writes a small file: flushed under another name first, then renamed, then the directory flushed. */
export async function writeDurably(file: string, text: string): Promise<void> {
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  await syncDirectory(path.dirname(file));
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

async function pump(source: FileHandle, target: FileHandle): Promise<CopiedFile> {
  const hash = createHash('sha256');
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let sizeBytes = 0;
  for (;;) {
    const { bytesRead } = await source.read(chunk, 0, CHUNK_BYTES, sizeBytes);
    if (bytesRead === 0) return { sizeBytes, sha256: hash.digest('hex') };
    hash.update(chunk.subarray(0, bytesRead));
    for (let written = 0; written < bytesRead; ) {
      const { bytesWritten } = await target.write(chunk, written, bytesRead - written, sizeBytes + written);
      written += bytesWritten;
    }
    sizeBytes += bytesRead;
  }
}
