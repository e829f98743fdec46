/**
 * Owns the narrow doors through which the stream core reaches logs, stores and time. The core knows no Kafka, no
 * RocksDB and no file: adapters in `src/adapters` stand behind these ports, each port has one contract suite in
 * `test/contract`, and every adapter, the in-memory ones of `testing/` too, passes it.
 */
import type { OutputRecord, RecordBatch } from './records.js';

/** Where a reader starts: an offset, the oldest record kept, or the end of the log. */
export type StartPosition = number | 'earliest' | 'latest';

/**
 * Reads one partition, committed records only, in offset order. Fetches ahead in the background within a bound.
 * Errors: {@link OffsetOutOfRangeError} when its position is not in the log (never skips, I8); a topic deleted and
 * made again under the same name is an error too. Retriable trouble (leader moved, connection lost) is handled inside.
 */
export interface PartitionReader {
  readonly topic: string;
  readonly partition: number;
  /** Offset after everything handed out so far, gaps (control records, aborted records) included. */
  readonly position: number;
  /** The end of the committed log as last seen in passing, for lag displays. */
  readonly knownEndOffset: number;
  /**
   * Fills `batch` with what has been fetched already: at most its capacity, all from one buffer, and sets its
   * `fromOffset` and `nextOffset`. Returns the record count. 0 means that nothing is buffered; `position` (and
   * `batch.nextOffset`) can move past a gap even so. Never waits. Throws if reading has failed for good.
   */
  read(batch: RecordBatch): number;
  /** Resolves when `read` may move `position`, when `timeoutMs` has passed, or on close. Rejects if reading failed. */
  whenReadable(timeoutMs: number): Promise<void>;
  /** The end of the committed log now: the offset after the last stable record. */
  endOffset(): Promise<number>;
  close(): Promise<void>;
}

/** Everything an epoch makes visible at once. */
export interface EpochWrites {
  readonly outputs: readonly OutputRecord[];
  /** Values appended to the task's state-log partition, in order, each within `EpochLog.maxRecordBytes`. */
  readonly stateLog: readonly Buffer[];
}

/** Where an epoch's state-log records came to lie. */
export interface CommitReceipt {
  readonly firstStateLogOffset: number;
  /** Where reading the state log goes on after this epoch. */
  readonly nextStateLogOffset: number;
}

/**
 * One task's way to commit epochs atomically and to read its own state log back.
 * Protocol: `fence()` first; then `commit` one at a time. After any rejected `commit` the log refuses further commits
 * until `fence()` has succeeded again (I3). Nothing of a rejected commit may be retried by the caller.
 */
export interface EpochLog {
  /** Largest value that one state-log record may have, in bytes. */
  readonly maxRecordBytes: number;
  /**
   * Takes ownership: from its resolution on, no commit of any earlier owner of the same task can become visible, and
   * every epoch that is visible is readable by `readStateLog`. Errors: {@link FencedError} never; connection trouble
   * is retried to a deadline.
   */
  fence(): Promise<void>;
  /**
   * Makes all of `writes` visible to read-committed readers, or none.
   * Errors: {@link FencedError} (a later owner exists), {@link CommitDoubtfulError} (outcome unknown).
   */
  commit(writes: EpochWrites): Promise<CommitReceipt>;
  /** First offset kept and the end (committed) of this task's state log. */
  stateLogRange(): Promise<{ readonly start: number; readonly end: number }>;
  /**
   * Hands every committed state-log value from `fromOffset` to the present end to `onRecord`, in order; returns where
   * reading goes on. `nextOffset` is the resume point after that record. The buffer is valid until what `onRecord`
   * returned has settled; the next record is handed over after that, so memory stays bounded by what is read ahead.
   * Errors: {@link OffsetOutOfRangeError} if `fromOffset` is before the first offset kept.
   */
  readStateLog(
    fromOffset: number,
    onRecord: (value: Buffer, offset: number, nextOffset: number) => void | Promise<void>,
  ): Promise<number>;
  /** Lets the log forget everything before `offset`. May keep more than asked. */
  truncateStateLog(offset: number): Promise<void>;
  close(): Promise<void>;
}

/** What a topic shall be when it is made. Existing topics are left as they are. */
export interface TopicSpec {
  readonly name: string;
  readonly partitions: number;
  readonly cleanup: 'delete' | 'compact';
  /** Largest record accepted, in bytes; the backend's default where left out. */
  readonly maxRecordBytes?: number;
  /** -1 keeps for ever. The backend's default where left out. */
  readonly retentionMs?: number;
}

/** A partition's kept range, committed records. */
export interface PartitionRange {
  readonly partition: number;
  readonly start: number;
  readonly end: number;
  /** The end of all that is written: above `end` while a Kafka transaction is open over it. */
  readonly writtenEnd: number;
}

/** Control plane: topics and displays. Low rates. */
export interface TopicAdmin {
  /** Makes the topics that are missing; returns the names made. Errors name the topic and the broker's reason. */
  ensure(topics: readonly TopicSpec[]): Promise<readonly string[]>;
  /** Partition count, or null where the topic does not exist. */
  partitionCount(topic: string): Promise<number | null>;
  /** Adds partitions until the topic has as many. Never takes any away: more than asked for are left as they are. */
  grow(topic: string, partitions: number): Promise<void>;
  /** All topics there are, sorted; those that the log keeps for itself left out. */
  names(): Promise<readonly string[]>;
  ranges(topic: string): Promise<readonly PartitionRange[]>;
  /**
   * Names this very topic: other after it was deleted and made again, or on another cluster. Local state is kept under
   * the identity of its state log, so that it can never be taken for the state of another log.
   */
  identity(topic: string): Promise<string>;
  delete(topics: readonly string[]): Promise<void>;
  /** Publishes progress under a group name for lag displays alone; the state log is the authority (I1). */
  publishProgress(group: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void>;
  /** Last published progress by partition; empty where none. */
  progress(group: string, topic: string): Promise<ReadonlyMap<number, number>>;
  /** Who takes part in a group now, in words; one that died counts until its session times out. */
  groupMembers(group: string): Promise<readonly string[]>;
  /** What each of them claims to run; null where it claims nothing, or the group is just being shared out. */
  groupClaims(group: string): Promise<readonly (string | null)[]>;
  close(): Promise<void>;
}

/** Appends records outside epochs (feeds, the card world, rules and risk rows). Idempotent per attempt, acknowledged by all replicas. */
export interface RecordWriter {
  /** Resolves when all records are durable. Bounded: callers await it before they send much more. */
  write(records: readonly OutputRecord[]): Promise<void>;
  close(): Promise<void>;
}

/** A unit of assignment: one partition of one source topic, which one task reads. */
export interface SourcePartition {
  readonly topic: string;
  readonly partition: number;
}

/** What a process runs: tasks of its own, and standbys that keep the state of others' tasks warm. No unit is in both. */
export interface Assigned {
  readonly active: readonly SourcePartition[];
  readonly standby: readonly SourcePartition[];
}

/** Source topics by their names (a missing one is an error), or all whose whole name matches a regular expression. */
export type SourceTopics = { readonly topics: readonly string[] } | { readonly pattern: string };

export interface AssignmentOptions {
  readonly group: string;
  readonly source: SourceTopics;
  /** Members besides its owner that are given each partition as a standby; 0 where left out. */
  readonly standbys?: number;
  /**
   * What this process runs, as a sentence for messages: whoever shares work must claim the very same. One that claims
   * something else than those that own partitions already is refused: 'pipeline-name-taken'. Empty where left out.
   */
  readonly claim?: string;
  /** New topics and partitions are looked for this often; 30,000 where left out. */
  readonly discoveryMs?: number;
}

/** Tells which source partitions this process owns. One process alone owns all; Kafka's group protocol shares them. */
export interface Assignment {
  /**
   * Starts to take part. `onAssigned` is called with the whole set whenever it changes, and not again before what it
   * returned has settled; a unit that left the set must be given up (its task closed) by then. `onLost` reports that
   * membership ended unexpectedly: everything is to be dropped at once, a fenced zombie can do no harm (I4).
   */
  join(handlers: {
    onAssigned(assigned: Assigned): Promise<void>;
    onLost(reason: string): Promise<void>;
    /** After the first assignment, membership was refused in a way that joining again cannot cure. */
    onFailed(error: Error): void;
  }): Promise<void>;
  leave(): Promise<void>;
}

/** A backend: one kind of log, opened once a thread. */
export interface LogBackend {
  readonly kind: 'kafka' | 'embedded' | 'memory';
  openReader(options: {
    readonly topic: string;
    readonly partition: number;
    readonly from: StartPosition;
    /** Bytes fetched ahead at most; 2 MiB where left out. */
    readonly bufferBytes?: number;
  }): Promise<PartitionReader>;
  openEpochLog(options: {
    readonly taskId: string;
    /** The name under which ownership is taken: fencing is among those of one name. The task's id where left out. */
    readonly ownerId?: string;
    readonly stateLog: { readonly topic: string; readonly partition: number };
  }): Promise<EpochLog>;
  openWriter(): Promise<RecordWriter>;
  openAdmin(): Promise<TopicAdmin>;
  openAssignment(options: AssignmentOptions): Promise<Assignment>;
  close(): Promise<void>;
}

/** Keyed values of one task on local disk. Keys and values are bytes; keys order as bytes do. */
export interface StateStore {
  /** Values in the order of the keys; null where absent. The returned bytes are the caller's to keep. */
  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | null)[]>;
  /** Applies all of it or, after a crash, none; a null value deletes. Buffers may be reused once it resolves. */
  writeBatch(entries: readonly StateEntry[]): Promise<void>;
  /** All entries whose key begins with `prefix`, in key order. */
  scan(prefix: Uint8Array): AsyncIterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>;
  /**
   * Writes a consistent copy of everything acknowledged so far into the new, empty `directory`, by hard links where it
   * can. Reads and writes may go on meanwhile; they can wait for some ms. Opening the copy gives a working store.
   */
  snapshot(directory: string): Promise<void>;
  close(): Promise<void>;
}

export interface StateEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

/** The directories under which stores and snapshots lie. All of it idempotent. */
export interface LocalDisk {
  /** Makes the directory and those above it. */
  make(directory: string): Promise<void>;
  /** Removes the directory with all that is in it; a missing one is fine. */
  remove(directory: string): Promise<void>;
  /** Renames a directory; `to` must not exist. */
  move(from: string, to: string): Promise<void>;
}

/** Opens a task's store in a directory, making it where it does not exist. */
export type OpenStateStore = (directory: string) => Promise<StateStore>;

/** Keeps snapshots beyond this machine's disk: a directory today, object storage alike. */
export interface SnapshotStore {
  /** Uploads the directory's files as snapshot `id` of `task`; files already kept under the same name and size are not sent again. */
  put(task: string, id: string, directory: string): Promise<{ readonly sizeBytes: number; readonly newBytes: number }>;
  /** Brings snapshot `id` into the new, empty `directory`. Errors: {@link CorruptDataError} naming a missing or bad file. */
  restore(task: string, id: string, directory: string): Promise<void>;
  /** Ids kept for a task, oldest first. */
  list(task: string): Promise<readonly string[]>;
  delete(task: string, id: string): Promise<void>;
}

/**
 * Named bytes beyond this machine's memory and disk: a directory or S3. `object-names.ts` says what a name may be.
 * Errors: StreamErrors that name the place and say what to do. `object-store-unreachable` (trouble that passes, retried
 * inside to a bound), `object-store-denied`, `object-store-missing-bucket`, `object-store-wrong-region`,
 * `object-store-full`, `object-store-local-file`, `object-store-refused` (anything else), and `object-name`.
 */
export interface ObjectStore {
  /** Where the objects lie, for messages: a directory, or `s3://bucket/prefix`. */
  readonly place: string;
  /** Keeps the bytes under the name, whole or not at all, and durably once it resolves. Overwrites. */
  put(name: string, bytes: Buffer): Promise<void>;
  /** As `put`, with the content of the file at `path`, which must not change meanwhile. Memory stays bounded. */
  putFile(name: string, path: string): Promise<void>;
  /** The bytes, or null where there is no such object. */
  get(name: string): Promise<Buffer | null>;
  /** Writes the object's bytes into the new file `path`; false, and no file, where there is no such object. */
  getFile(name: string, path: string): Promise<boolean>;
  /** Size in bytes, or null where there is no such object. */
  sizeOf(name: string): Promise<number | null>;
  /** The names of all objects that begin with `prefix` (any prefix of characters), sorted by their characters. */
  list(prefix: string): Promise<readonly string[]>;
  /** Removes the objects; those that are not there are fine. */
  delete(names: readonly string[]): Promise<void>;
}

/** Time and waiting, injected so that the simulator can own both. */
export interface Clock {
  /** Wall clock, ms since 1970. */
  now(): number;
  /** Monotonic ms with fractions, for durations. */
  monotonic(): number;
  /** Calls `fire` once after `delayMs`; returns a function that takes it back. */
  schedule(delayMs: number, fire: () => void): () => void;
}
