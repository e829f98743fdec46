/**
 * Owns the LMDB environment of the embedded log: its databases, topics, snapshots and blocking writes, and what LMDB's
 * errors mean. Neighbours: `partition-store.ts` knows heads and blocks; everything in this folder goes through these two,
 * nothing outside sees LMDB.
 *
 * Layout (keys are bytes, big endian, so that they order as numbers do):
 *   blocks  topic id (4) · partition (4) · base offset (8)  →  records, see `block.ts`
 *   facts   as blocks                                       →  size, span and time of the block, see `partition-store.ts`
 *   heads   topic id (4) · partition (4)                    →  version, start, end, bytes … see `partition-store.ts`
 *   tasks   task id                                         →  generation of its owner
 *   topics  name                                            →  {@link TopicMeta} as JSON
 *   meta    name                                            →  format mark, next topic id, progress of groups
 *
 * Invariants: a head's version rises by one with every change, and is its LMDB version too, so that a write can be made
 * conditional on it. A topic id is never given twice: readers of a deleted topic cannot meet a new one's records.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, statfsSync } from 'node:fs';
import { type Database, open, type RootDatabase } from 'lmdb';
import { StreamError } from '../../stream/errors.js';
import type { TopicSpec } from '../../stream/ports.js';

/** Raised when the layout above changes. */
const FORMAT = 'embedded-log 1';

export interface TopicMeta {
  readonly id: number;
  readonly partitions: number;
  readonly cleanup: TopicSpec['cleanup'];
  readonly maxRecordBytes: number;
  /** -1 keeps for ever, whatever the bytes. */
  readonly retentionMs: number;
}

export interface LogStore {
  readonly env: RootDatabase;
  readonly blocks: Database<Buffer, Buffer>;
  readonly facts: Database<Buffer, Buffer>;
  readonly heads: Database<Buffer, Buffer>;
  readonly tasks: Database<Buffer, Buffer>;
  readonly topics: Database<Buffer, Buffer>;
  readonly meta: Database<Buffer, Buffer>;
  readonly directory: string;
  /** Made with the log: no other log has it. */
  readonly logId: string;
  /** Set first thing on closing. */
  closed: boolean;
}

/**
 * Opens or makes the log in `directory`; several threads and processes may have it open.
 * Errors: `log-unavailable` (directory not usable), `log-format` (made by another version of this code).
 */
export function openStore(directory: string, maxBytes: number): LogStore {
  try {
    mkdirSync(directory, { recursive: true });
    const env = open({
      path: directory,
      noSubdir: false,
      maxDbs: 8,
      mapSize: maxBytes,
      // A commit is durable before it is visible: LMDB's own order, not the overlapped one of lmdb-js (ADR 3).
      overlappingSync: false,
      // Batches end with the call that makes them: the write lock is never held while this thread does other things.
      eventTurnBatching: false,
      txnStartThreshold: 1_000_000,
      encoding: 'binary',
    } as Parameters<typeof open>[0] & object);
    const database = (name: string, useVersions: boolean) =>
      env.openDB<Buffer, Buffer>({ name, keyEncoding: 'binary', encoding: 'binary', useVersions });
    const meta = database('meta', false);
    const store: LogStore = {
      env,
      blocks: database('blocks', false),
      facts: database('facts', false),
      heads: database('heads', true),
      tasks: database('tasks', true),
      topics: database('topics', false),
      meta,
      directory,
      logId: identify(env, meta, directory),
      closed: false,
    };
    return store;
  } catch (error) {
    if (error instanceof StreamError) throw error;
    throw new StreamError(
      'log-unavailable',
      `The embedded log in ${directory} cannot be opened: ${messageOf(error)}. Check that the directory is writable and on a local disk`,
      { cause: error },
    );
  }
}

/** Marks a new log with the format and an id of its own; refuses one of another format. Returns the id. */
function identify(env: RootDatabase, meta: Database<Buffer, Buffer>, directory: string): string {
  const formatKey = Buffer.from('format');
  const idKey = Buffer.from('log id');
  const { format, logId } = env.transactionSync(() => {
    const present = meta.getBinary(formatKey);
    if (!present) {
      meta.put(formatKey, Buffer.from(FORMAT));
      meta.put(idKey, Buffer.from(randomUUID()));
    }
    return { format: present?.toString() ?? FORMAT, logId: meta.getBinary(idKey)?.toString() ?? '' };
  });
  if (format === FORMAT) return logId;
  throw new StreamError(
    'log-format',
    `The embedded log in ${directory} has format "${format}", this version reads "${FORMAT}"; start over with an empty directory`,
  );
}

/**
 * Lets the reads that follow in this turn see everything committed until now, all from one snapshot.
 * A process killed in the very moment of its commit can leave it whole on disk, acknowledged to nobody and not yet shown
 * to readers: it appears with the next write of anyone. So what a task reads after `fence()`, a write, is the whole truth.
 */
export function refresh(store: LogStore): void {
  requireOpen(store);
  store.env.resetReadTxn();
}

/** Runs a blocking transaction: all of what `apply` puts is durable when it returns, or nothing if it throws. */
export function writeNow<T>(store: LogStore, apply: () => T): T {
  requireOpen(store);
  try {
    return store.env.transactionSync(apply);
  } catch (error) {
    throw fullError(store, error) ?? error;
  }
}

function requireOpen(store: LogStore): void {
  if (store.closed) throw new StreamError('log-closed', `The embedded log in ${store.directory} was closed`);
}

export function readTopic(store: LogStore, name: string): TopicMeta | null {
  const bytes = store.topics.getBinary(Buffer.from(name));
  return bytes ? JSON.parse(bytes.toString()) : null;
}

/** The topic, or an error that names it. */
export function requireTopic(store: LogStore, name: string): TopicMeta {
  const topic = readTopic(store, name);
  if (!topic) throw unknownTopic(store, name);
  return topic;
}

export function unknownTopic(store: LogStore, name: string): StreamError {
  return new StreamError(
    'unknown-topic',
    `Topic ${name} does not exist in the log at ${store.directory}; make it first`,
  );
}

/** Checks that the topic has the partition. */
export function requirePartition(name: string, topic: TopicMeta, partition: number): void {
  if (!Number.isInteger(partition) || partition < 0 || partition >= topic.partitions) {
    throw new StreamError(
      'unknown-partition',
      `Topic ${name} has partitions 0 to ${topic.partitions - 1}, not ${partition}`,
    );
  }
}

const MDB_MAP_FULL = -30792;
const EIO = 5;
const ENOSPC = 28;
const EDQUOT = 122;
/** Free space under which a write that the disk cut short is taken for a full disk. */
const LITTLE_SPACE_BYTES = 32 * 1024 * 1024;

/** The `log-full` error where LMDB or the disk has no room left, else null. */
export function fullError(store: LogStore, error: unknown): StreamError | null {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  if (code === MDB_MAP_FULL) return logFull(store, 'LMDB has reached the size that it may map', error);
  // LMDB reports a write that was cut short, as the last one before a full disk is, as an I/O error.
  const diskFull = code === ENOSPC || code === EDQUOT || (code === EIO && freeBytes(store) < LITTLE_SPACE_BYTES);
  return diskFull ? logFull(store, 'its disk has no space left', error) : null;
}

function freeBytes(store: LogStore): number {
  const { bavail, bsize } = statfsSync(store.directory);
  return bavail * bsize;
}

export function logFull(store: LogStore, why: string, cause?: unknown): StreamError {
  return new StreamError(
    'log-full',
    `The embedded log in ${store.directory} is full: ${why}. Nothing of this write was kept. Free disk space, raise the log's size limit or lower its retention, then start again`,
    { cause },
  );
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
