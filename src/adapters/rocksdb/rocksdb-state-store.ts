/**
 * Owns the state store on RocksDB: a task's keyed state on local disk, written behind the state log.
 * Neighbours: `binding.ts` types the native calls, `hard-link-copy.ts` copies a standing directory, `store-errors.ts`
 * names what goes wrong. Runs in any thread; several stores a process, each with its own directory.
 * Invariants:
 *   R1 Whatever the native side reads by pointer (keys, values, batch handles) is referenced until its callback.
 *   R2 Each raw call is counted in `io` while it runs, and begins only while the store is not suspended; closing never
 *      overtakes a call.
 *   R3 A write is in the operating system's hands when it is acknowledged (write-ahead log, not synced): kill -9 loses
 *      none. A power cut may lose the last ones, whole batches from the end; the resume point within each batch says so.
 *   R4 While a snapshot copies, no write runs: all acknowledged before it are in the copy, the later ones are not.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { CorruptDataError } from '../../stream/errors.js';
import type { OpenStateStore, StateEntry, StateStore } from '../../stream/ports.js';
import { loadRocksDb, type NativeState, type NativeStore, nativeState } from './binding.js';
import { claimEmptyDirectory, copyStanding, removeFiles, writeAheadLogBytes } from './hard-link-copy.js';
import { copyLive, opensWhole } from './live-copy.js';
import { ReadCalls, WriteCalls } from './raw-calls.js';
import { storeClosed, storeError } from './store-errors.js';

export interface RocksDbOptions {
  /** Size of one memtable. Larger ones write less to disk; smaller ones open faster. */
  readonly writeBufferBytes: number;
  /** Memtables at most, the one being written to among them. */
  readonly writeBuffers: number;
  /** Threads for flushes and compactions, shared by all stores of the process. */
  readonly backgroundJobs: number;
  /** Files kept open at most; -1 for no limit. */
  readonly openFiles: number;
  readonly blockBytes: number;
  readonly bloomBitsPerKey: number;
  /** Above this much write-ahead log a snapshot flushes first, so that the copy, which holds writes up, stays short. */
  readonly snapshotFlushBytes: number;
  /** Copies tried while compactions go on, before reads and writes are held for one; each fails only if a compaction ended within its few ms. */
  readonly liveCopyAttempts: number;
}

export const defaultRocksDbOptions: RocksDbOptions = {
  writeBufferBytes: 64 * 1024 * 1024,
  writeBuffers: 2,
  backgroundJobs: 2,
  openFiles: 512,
  blockBytes: 8 * 1024,
  bloomBitsPerKey: 10,
  snapshotFlushBytes: 4 * 1024 * 1024,
  liveCopyAttempts: 5,
};

/** RocksDB's block cache; the binding fixes it, and point reads do not fill it. */
const BLOCK_CACHE_BYTES = 32 * 1024 * 1024;
/** Entries fetched ahead by a scan. */
const SCAN_PAGE = 512;

/** Most memory that one store takes beside the page cache, in bytes, for the printed budget. */
export function rocksDbMemoryBytes(options: Partial<RocksDbOptions> = {}): number {
  const { writeBufferBytes, writeBuffers } = { ...defaultRocksDbOptions, ...options };
  return writeBufferBytes * writeBuffers + BLOCK_CACHE_BYTES;
}

/**
 * Opens stores on RocksDB.
 * Errors of opening: `rocksdb-unavailable`, `state-store-locked`, `state-store-disk-full`, `corrupt-data`,
 * `state-store-failed`; of use: the last three and `state-store-closed`.
 */
export function rocksDbStateStore(options: Partial<RocksDbOptions> = {}): OpenStateStore {
  const settings = { ...defaultRocksDbOptions, ...options };
  return async (directory) => {
    const { Store } = loadRocksDb();
    try {
      await prepareDirectory(directory);
      const native = new Store(directory, {
        writeBufferSize: settings.writeBufferBytes,
        maxWriteBufferNumber: settings.writeBuffers,
        maxBackgroundJobs: settings.backgroundJobs,
        maxOpenFiles: settings.openFiles,
        tableBlockSize: settings.blockBytes,
        filterPolicy: new Store.BloomFilterPolicy(settings.bloomBitsPerKey),
      });
      await native.ready();
      return new RocksDbStateStore(directory, native, nativeState(native), settings);
    } catch (cause) {
      throw storeError('open the state store', directory, cause);
    }
  };
}

/** Makes the directory, which RocksDB can hang on, drops its old diaries, and refuses a store that lost its root. */
async function prepareDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const names = await readdir(directory);
  if (!names.includes('CURRENT') && names.some((name) => name.endsWith('.sst'))) {
    // RocksDB would begin an empty store here and delete the tables as leftovers.
    throw new CorruptDataError(
      `The state store in ${directory} has table files but lost its file CURRENT. Move the directory away: the state ` +
        'is rebuilt from the newest snapshot and the state log.',
    );
  }
  const diaries = names.filter((name) => name.startsWith('LOG.old.'));
  await Promise.all(diaries.map((name) => rm(path.join(directory, name), { force: true })));
}

class RocksDbStateStore implements StateStore {
  private readonly reads: ReadCalls;
  private readonly writes: WriteCalls;
  private readonly scans = new Set<Destroyable>();
  private readonly writeGate = new WriteGate();
  /** Ends when the snapshots asked for so far have ended; never rejects. */
  private snapshots: Promise<void> = Promise.resolve();
  private closing: Promise<void> | null = null;

  constructor(
    private readonly directory: string,
    private readonly native: NativeStore,
    state: NativeState,
    private readonly settings: RocksDbOptions,
  ) {
    this.reads = new ReadCalls(state);
    this.writes = new WriteCalls(state);
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | null)[]> {
    return this.run('read the state store', () => this.reads.getMany(keys));
  }

  async writeBatch(entries: readonly StateEntry[]): Promise<void> {
    return this.run('write to the state store', () => this.writeGate.pass(() => this.writes.apply(entries)));
  }

  async *scan(prefix: Uint8Array): AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    if (this.closing !== null) throw storeClosed(this.directory);
    const end = prefixEnd(prefix);
    const range = end === null ? { gte: prefix } : { gte: prefix, lt: end };
    const entries = this.native.iterator(range, { capacity: SCAN_PAGE });
    this.scans.add(entries);
    try {
      yield* entries;
    } catch (cause) {
      throw storeError('scan the state store', this.directory, cause);
    } finally {
      this.scans.delete(entries);
    }
  }

  async snapshot(directory: string): Promise<void> {
    if (this.closing !== null) throw storeClosed(this.directory);
    // One after the other, since suspending is not counted; closing waits for those asked for before.
    const taken = this.snapshots.then(() => this.copyTo(directory));
    this.snapshots = taken.catch(() => undefined); // whoever asked for it gets the error
    return taken;
  }

  async close(): Promise<void> {
    this.closing ??= this.closeOnce();
    return this.closing;
  }

  private async closeOnce(): Promise<void> {
    await this.snapshots; // closing would delete files under the copy
    for (const scan of this.scans) scan.destroy(storeClosed(this.directory));
    try {
      await this.native.close();
    } catch (cause) {
      throw storeError('close the state store', this.directory, cause);
    }
  }

  private async copyTo(directory: string): Promise<void> {
    try {
      await claimEmptyDirectory(directory);
      if ((await writeAheadLogBytes(this.directory)) > this.settings.snapshotFlushBytes) await this.native.flush();
      for (let attempt = 0; attempt < this.settings.liveCopyAttempts; attempt++) {
        const copied = await this.writeGate.hold(() => copyLive(this.native, this.directory, directory));
        if (!copied) continue;
        if (await opensWhole(directory)) return;
        await removeFiles(directory, await readdir(directory));
      }
      await this.copySuspended(directory);
    } catch (cause) {
      throw storeError(`copy the state store into ${directory} from what is`, this.directory, cause);
    }
  }

  /** Holds reads too, and waits for the compaction under way; the files cannot change meanwhile. */
  private async copySuspended(directory: string): Promise<void> {
    await this.native.suspend();
    try {
      await copyStanding(this.directory, directory);
    } finally {
      await this.native.resume();
    }
  }

  /** Refuses use after close, and names what goes wrong. */
  private async run<T>(what: string, call: () => Promise<T>): Promise<T> {
    if (this.closing !== null) throw storeClosed(this.directory);
    try {
      return await call();
    } catch (cause) {
      throw storeError(what, this.directory, cause);
    }
  }
}

/** Lets writes pass, any number at once, until somebody holds them; then they wait for each other. */
class WriteGate {
  private passing = 0;
  private held: Promise<void> | null = null;
  private onEmpty: () => void = () => undefined;

  async pass(write: () => Promise<void>): Promise<void> {
    while (this.held !== null) await this.held;
    this.passing++;
    try {
      await write();
    } finally {
      this.passing--;
      if (this.passing === 0) this.onEmpty();
    }
  }

  /** Runs `work` when the writes under way have ended, and lets none begin until it has. One holder at a time. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    let open: () => void = () => undefined;
    this.held = new Promise((resolve) => {
      open = resolve;
    });
    try {
      if (this.passing > 0) await new Promise<void>((resolve) => (this.onEmpty = resolve));
      return await work();
    } finally {
      this.held = null;
      open();
    }
  }
}

interface Destroyable {
  destroy(error: Error): void;
}

/** The first key after all keys with this prefix; null where there is none. */
function prefixEnd(prefix: Uint8Array): Uint8Array | null {
  let last = prefix.length - 1;
  while (last >= 0 && prefix[last] === 0xff) last--;
  if (last < 0) return null;
  // A copy: `slice` of a Buffer is a view, and raising its last byte would change the prefix itself.
  const end = Uint8Array.from(prefix.subarray(0, last + 1));
  end[last]++;
  return end;
}
