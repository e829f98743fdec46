/**
 * Owns the in-memory disk of tests and of the simulator: directories that hold state stores and files, and what a crash
 * leaves of them. Neighbours: `memory-snapshot-store.ts` keeps snapshots of such directories; the port is in `ports.ts`.
 * Invariants:
 *   M1 What was acknowledged stays on the disk; a batch is on it whole or not at all.
 *   M2 A directory has at most one live handle: opening it again kills the handle before, as kill -9 would have done.
 */
import { CorruptDataError, StreamError } from '../errors.js';
import type { LocalDisk, OpenStateStore, StateEntry, StateStore } from '../ports.js';

export type StoreOperation = 'open' | 'getMany' | 'writeBatch' | 'scan' | 'snapshot' | 'close';

/** Runs before each operation: throw to make it fail, wait to make it slow. The operation has had no effect yet. */
export type StoreFault = (operation: StoreOperation, directory: string) => void | Promise<void>;

/** Keys are kept as latin-1 text: its code units are the bytes, so text order is byte order. */
type Entries = Map<string, Uint8Array>;

export interface MemoryDirectory {
  /** Files beside the store; a snapshot is one of them. */
  readonly files: Map<string, Uint8Array>;
  entries: Entries | null;
  handle: MemoryStateStore | null;
}

/** The file that a snapshot writes, and that opening a directory without a store reads. */
const SNAPSHOT_FILE = 'entries.bin';

/** What survives a crash of the process under test. Share one between the runs of a test. */
export class MemoryDisk {
  private readonly directories = new Map<string, MemoryDirectory>();

  /** The directory of that name, made where it does not exist. */
  directory(name: string): MemoryDirectory {
    let found = this.directories.get(name);
    if (found === undefined) {
      found = { files: new Map(), entries: null, handle: null };
      this.directories.set(name, found);
    }
    return found;
  }

  /** Removes a directory with all that is in it; whoever has it open holds a dead handle from now on. */
  remove(name: string): void {
    this.directories.get(name)?.handle?.kill();
    this.directories.delete(name);
  }

  /** Renames a directory. */
  move(from: string, to: string): void {
    const moved = this.directory(from);
    moved.handle?.kill();
    this.directories.delete(from);
    this.directories.set(to, moved);
  }

  /** The port through which the core makes, removes and renames directories of this disk. */
  get local(): LocalDisk {
    return {
      make: async (name) => {
        this.directory(name);
      },
      remove: async (name) => this.remove(name),
      move: async (from, to) => this.move(from, to),
    };
  }

  /** What kill -9 does: every open handle dies, every write acknowledged before stays. */
  crash(): void {
    for (const directory of this.directories.values()) directory.handle?.kill();
  }
}

/**
 * Opens stores on `disk`; the same directory name finds the same data again.
 * Errors: `state-store-closed` from a handle that was closed, crashed or superseded.
 */
export function memoryStateStore(
  options: { readonly disk?: MemoryDisk; readonly fault?: StoreFault } = {},
): OpenStateStore {
  const disk = options.disk ?? new MemoryDisk();
  const fault = options.fault ?? (() => undefined);
  return async (name) => {
    await fault('open', name);
    const directory = disk.directory(name);
    directory.handle?.kill(); // M2
    directory.entries ??= loadEntries(directory, name);
    const store = new MemoryStateStore(disk, name, directory.entries, fault);
    directory.handle = store;
    return store;
  };
}

class MemoryStateStore implements StateStore {
  private live = true;

  constructor(
    private readonly disk: MemoryDisk,
    private readonly name: string,
    private readonly entries: Entries,
    private readonly fault: StoreFault,
  ) {}

  kill(): void {
    this.live = false;
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | null)[]> {
    await this.before('getMany');
    return keys.map((key) => {
      const value = this.entries.get(keyText(key));
      return value === undefined ? null : value.slice();
    });
  }

  async writeBatch(entries: readonly StateEntry[]): Promise<void> {
    await this.before('writeBatch');
    // No wait from here on: the batch is applied whole or, if the handle died above, not at all. (M1)
    for (const { key, value } of entries) {
      if (value === null) this.entries.delete(keyText(key));
      else this.entries.set(keyText(key), Uint8Array.from(value));
    }
  }

  /** Sees the store as it was when the first entry was asked for. */
  async *scan(prefix: Uint8Array): AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
    await this.before('scan');
    const begin = keyText(prefix);
    const found = [...this.entries].filter(([key]) => key.startsWith(begin)).sort(byKey);
    for (const [key, value] of found) {
      this.assertLive();
      yield { key: keyBytes(key), value: value.slice() };
    }
  }

  async snapshot(directory: string): Promise<void> {
    await this.before('snapshot');
    const target = this.disk.directory(directory);
    if (target.files.size > 0 || target.entries !== null) {
      throw new StreamError(
        'snapshot-directory-not-empty',
        `Cannot write a snapshot into ${directory}: it is not empty. Give a new directory.`,
      );
    }
    target.files.set(SNAPSHOT_FILE, encodeEntries(this.entries));
  }

  async close(): Promise<void> {
    if (!this.live) return;
    await this.before('close');
    this.live = false;
    const directory = this.disk.directory(this.name);
    if (directory.handle === this) directory.handle = null;
  }

  private async before(operation: StoreOperation): Promise<void> {
    this.assertLive();
    await this.fault(operation, this.name);
    this.assertLive(); // it may have died while the fault made us wait
  }

  private assertLive(): void {
    if (this.live) return;
    throw new StreamError(
      'state-store-closed',
      `The state store in ${this.name} is closed, or was opened again by a later owner. Open it before using it.`,
    );
  }
}

function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

function keyBytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

function byKey([a]: [string, Uint8Array], [b]: [string, Uint8Array]): number {
  return a < b ? -1 : 1;
}

/** Key length, value length (u32 little endian each), key, value; entry after entry in key order. */
function encodeEntries(entries: Entries): Uint8Array {
  const parts: Buffer[] = [];
  for (const [key, value] of [...entries].sort(byKey)) {
    const head = Buffer.alloc(8);
    head.writeUInt32LE(key.length, 0);
    head.writeUInt32LE(value.length, 4);
    parts.push(head, Buffer.from(key, 'latin1'), Buffer.from(value));
  }
  return Uint8Array.from(Buffer.concat(parts));
}

function loadEntries(directory: MemoryDirectory, name: string): Entries {
  const entries: Entries = new Map();
  const stored = directory.files.get(SNAPSHOT_FILE);
  if (stored === undefined) return entries;
  const bytes = Buffer.from(stored);
  for (let at = 0; at < bytes.length; ) {
    const keyEnd = at + 8 + (at + 8 <= bytes.length ? bytes.readUInt32LE(at) : 0);
    const end = keyEnd + (at + 8 <= bytes.length ? bytes.readUInt32LE(at + 4) : 1);
    if (end > bytes.length) throw new CorruptDataError(`${name}/${SNAPSHOT_FILE} ends within an entry at byte ${at}.`);
    entries.set(bytes.toString('latin1', at + 8, keyEnd), Uint8Array.from(bytes.subarray(keyEnd, end)));
    at = end;
  }
  return entries;
}
