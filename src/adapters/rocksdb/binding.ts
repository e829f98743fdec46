/**
 * Owns the typings of `rocksdb-native`, which ships none, and the two ways into it: its object for the lifecycle
 * (open, suspend, resume, iterate, close), its raw calls for reads and writes, where one promise a key costs more than
 * the read itself (8.1 against 4.9 µs of JavaScript a get).
 * Neighbour: `rocksdb-state-store.ts`, the only user. The package version is pinned: what is named here is not its
 * public face, so {@link nativeState} checks the shape once a store and refuses a stranger.
 */
import { createRequire } from 'node:module';
import path from 'node:path';
import { StreamError } from '../../stream/errors.js';

/** An ArrayBuffer that the binding filled with a native struct; must stay referenced while it is in use. */
export type NativeHandle = ArrayBuffer & { readonly __native: unique symbol };

export interface ReadOperation {
  readonly type: number;
  readonly columnFamily: NativeHandle;
  readonly key: Uint8Array;
}

export interface WriteOperation {
  readonly type: number;
  readonly columnFamily: NativeHandle;
  readonly key: Uint8Array;
  /** Absent in a delete. */
  readonly value: Uint8Array | null;
}

/** Keys and values are used by pointer until the callback: whoever calls keeps them referenced and unchanged. */
export interface RawCalls {
  readonly GET: number;
  readonly PUT: number;
  readonly DELETE: number;
  readInit(): NativeHandle;
  /** Room for `capacity` reads; the buffer given back must stay referenced as long as the handle. */
  readBuffer(handle: NativeHandle, capacity: number): ArrayBuffer;
  /** `self` is referenced natively until `onDone` is called on it. */
  read<S extends object>(
    db: NativeHandle,
    handle: NativeHandle,
    operations: readonly ReadOperation[],
    snapshot: undefined,
    asyncIo: boolean,
    fillCache: boolean,
    self: S,
    onDone: (this: S, errors: (Error | undefined)[], values: (ArrayBuffer | null)[]) => void,
  ): void;
  writeInit(): NativeHandle;
  writeBuffer(handle: NativeHandle, capacity: number): ArrayBuffer;
  write<S extends object>(
    db: NativeHandle,
    handle: NativeHandle,
    operations: readonly WriteOperation[],
    self: S,
    onDone: (this: S, error: Error | null | undefined) => void,
  ): void;
}

/** Counts calls in flight; suspending and closing wait until it is back at 0. */
interface InFlight {
  inc(): void;
  dec(): void;
}

/** The parts of the package's inner state that raw calls need. */
export interface NativeState {
  readonly _handle: NativeHandle;
  readonly io: InFlight;
  readonly columnFamilies: readonly { readonly _handle: NativeHandle }[];
  /** Not null from the beginning of a suspension to its end. */
  readonly resumed: object | null;
  /** Gives the caller's `io` count back while it waits; false when the store closed meanwhile. */
  waitForResume(): Promise<boolean>;
}

/** The package's defaults hold for what is left out. */
export interface NativeOptions {
  readonly readOnly?: boolean;
  readonly createIfMissing?: boolean;
  readonly writeBufferSize?: number;
  readonly maxWriteBufferNumber?: number;
  readonly maxBackgroundJobs?: number;
  readonly maxOpenFiles?: number;
  readonly tableBlockSize?: number;
  readonly filterPolicy?: object;
}

/** The package's object for one store. */
export interface NativeStore {
  ready(): Promise<void>;
  close(): Promise<void>;
  /** Waits for calls in flight, holds later ones, pauses flushes and compactions: files stand still until `resume`. */
  suspend(): Promise<void>;
  resume(): Promise<void>;
  /** Writes the memtable to a table file. */
  flush(): Promise<void>;
  iterator(
    range: { readonly gte?: Uint8Array; readonly lt?: Uint8Array },
    options: { readonly capacity: number },
  ): AsyncIterable<{ readonly key: Buffer; readonly value: Buffer }> & { destroy(error: Error): void };
  getProperty(name: string): Promise<string | null>;
  readonly _state: NativeState;
}

interface NativePackage {
  new (directory: string, options: NativeOptions): NativeStore;
  readonly BloomFilterPolicy: new (bitsPerKey: number) => object;
}

export interface NativeRocksDb {
  readonly Store: NativePackage;
  readonly raw: RawCalls;
}

let loaded: NativeRocksDb | null = null;

/**
 * Loads the addon of this platform, once a thread.
 * Errors: `rocksdb-unavailable` where the package has no prebuilt addon for the platform.
 */
export function loadRocksDb(): NativeRocksDb {
  if (loaded !== null) return loaded;
  const require = createRequire(import.meta.url);
  try {
    const entry = require.resolve('rocksdb-native');
    // The raw calls are a file of the package that its export map hides; an absolute path reaches it.
    const raw: RawCalls = require(path.join(path.dirname(entry), 'binding.js'));
    const Store: NativePackage = require(entry);
    loaded = { Store, raw };
    return loaded;
  } catch (cause) {
    throw new StreamError(
      'rocksdb-unavailable',
      `RocksDB's native addon cannot be loaded on ${process.platform}-${process.arch}, Node ${process.versions.node}: ` +
        `${cause instanceof Error ? cause.message : String(cause)}. It ships for linux, macOS and Windows on x64 and ` +
        'arm64; run npm install on this machine.',
      { cause },
    );
  }
}

/** The inner state of an opened store. Errors: `rocksdb-unavailable` if the package is not the version this was written for. */
export function nativeState(store: NativeStore): NativeState {
  const state: Partial<NativeState> | undefined = store._state;
  const sound =
    state?._handle instanceof ArrayBuffer &&
    state.columnFamilies?.[0]?._handle instanceof ArrayBuffer &&
    typeof state.io?.inc === 'function' &&
    typeof state.waitForResume === 'function' &&
    state.resumed === null;
  if (!sound) {
    throw new StreamError(
      'rocksdb-unavailable',
      'The installed rocksdb-native is not the version that this adapter was written for. Install the pinned one (npm install).',
    );
  }
  return store._state;
}
