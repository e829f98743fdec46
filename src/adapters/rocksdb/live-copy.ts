/**
 * Owns copying a running store while compactions go on, with only its writes held for some ms. Suspending the store
 * instead waits for the compaction under way: up to 1.8 s for reads and writes alike, measured under full load.
 * Neighbours: `rocksdb-state-store.ts` holds the writes and suspends where this gives up; `hard-link-copy.ts` moves files.
 *
 * Why the copy is consistent: table files never change, and the manifest grows by each change of the set of tables and
 * logs, before any file of the set before is removed. So if manifest and set look the same after the copy as before it,
 * all files of that set were there. Whether the copy is whole is then asked of RocksDB itself, which opens it read-only
 * and looks for every table that the copied manifest names.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { loadRocksDb, type NativeStore } from './binding.js';
import { copyFiles, isTable, isWorkingFile, removeFiles } from './hard-link-copy.js';

type Properties = Pick<NativeStore, 'getProperty'>;

/** What tells one state of the store's files from another. */
interface FileSet {
  /** Name and size of the manifest in use. */
  readonly manifest: string;
  /** The live tables as RocksDB lists them. */
  readonly tables: string;
  /** Their file names. */
  readonly tableNames: readonly string[];
}

/**
 * Copies into the empty `target`. False, with `target` empty again, if the files changed meanwhile. Writes must be held.
 * Errors: the file system's own.
 */
export async function copyLive(native: Properties, source: string, target: string): Promise<boolean> {
  const before = await fileSet(native, source);
  if (before === null) return false;
  const others = (await readdir(source)).filter((name) => !isTable(name) && !isWorkingFile(name));
  const names = [...before.tableNames, ...others];
  try {
    await copyFiles(source, target, names);
  } catch (error) {
    if (!isMissing(error)) throw error;
    return false; // a file of the set before was removed: copyFiles has cleared up
  }
  const after = await fileSet(native, source);
  if (after !== null && after.manifest === before.manifest && after.tables === before.tables) return true;
  await removeFiles(target, names);
  return false;
}

/** Whether RocksDB opens the copy with all that its manifest names. Leaves the copy as it is. */
export async function opensWhole(directory: string): Promise<boolean> {
  const { Store } = loadRocksDb();
  const copy = new Store(directory, { readOnly: true, createIfMissing: false, maxOpenFiles: -1 });
  try {
    await copy.ready();
  } catch {
    return false; // for whatever reason: the caller copies again, and then by the way that cannot fail so
  }
  await copy.close();
  const traces = (await readdir(directory)).filter(isWorkingFile);
  await Promise.all(traces.map((name) => rm(path.join(directory, name), { force: true })));
  return true;
}

/** Null where RocksDB's list cannot be understood, or does not add up. */
async function fileSet(native: Properties, directory: string): Promise<FileSet | null> {
  const [tables, liveBytes] = [
    await native.getProperty('rocksdb.sstables'),
    await native.getProperty('rocksdb.live-sst-files-size'),
  ];
  if (tables === null || liveBytes === null) return null;
  const tableNames: string[] = [];
  let sizeBytes = 0;
  // a line a table: " 18:1315128[16001 .. 20000]…" is file number and size
  for (const [, number, size] of tables.matchAll(/^ (\d+):(\d+)\[/gm)) {
    tableNames.push(`${String(number).padStart(6, '0')}.sst`);
    sizeBytes += Number(size);
  }
  if (sizeBytes !== Number(liveBytes)) return null;
  try {
    const manifest = (await readFile(path.join(directory, 'CURRENT'), 'utf8')).trim();
    const { size } = await stat(path.join(directory, manifest));
    return { manifest: `${manifest}:${size}`, tables, tableNames };
  } catch (error) {
    if (isMissing(error)) return null; // a new manifest is being put in place
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
