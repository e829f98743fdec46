/**
 * Owns how a task's state lies in its store: which keys, and the head of each value.
 *
 *   00 'resume'   → resume point (JSON): what the store reflects at least, and where replay goes on
 *   01 <key>      → f64 epoch, u16 layout version, whole value (`value-codec.ts`)
 *   02 <key>      → f64 due time of each timer that the key has pending
 *
 * A value and its timer entry are written in the same batch. Neighbours: `keyed-state.ts`, `write-behind.ts`, recovery.
 */
import { CorruptDataError, StreamError } from '../errors.js';
import type { StateStore } from '../ports.js';
import type { ByteReader, ByteWriter } from './byte-writer.js';
import type { LayoutFields, StateLayout } from './layout.js';
import type { ValueCodec } from './value-codec.js';

export const RESUME_KEY = Buffer.from('\0resume');
export const STATE_PREFIX = Buffer.from([1]);
export const TIMER_PREFIX = Buffer.from([2]);
/** Epoch and layout version before each value. */
export const STORED_HEAD_BYTES = 10;

/** A position from which replaying the state log brings the store up to date. */
export interface ResumePoint {
  /** Every change up to and including this epoch is in the store. -1: none yet. */
  readonly epoch: number;
  /** Source offset after that epoch. Null: the configured start position. */
  readonly sourceOffset: number | null;
  /** Where reading the state log goes on after that epoch. Null: at the log's start. */
  readonly stateLogOffset: number | null;
  /** Highest event time accepted up to then; null before the first record. */
  readonly maxEventTimeMs: number | null;
  /** Broadcast positions applied up to then, by step id. */
  readonly cursors: Readonly<Record<string, number>>;
}

export const FRESH_START: ResumePoint = {
  epoch: -1,
  sourceOffset: null,
  stateLogOffset: null,
  maxEventTimeMs: null,
  cursors: {},
};

export function stateKey(key: Uint8Array): Buffer {
  const stored = Buffer.allocUnsafe(key.length + 1);
  stored[0] = 1;
  stored.set(key, 1);
  return stored;
}

export function timerKey(key: Uint8Array): Buffer {
  const stored = Buffer.allocUnsafe(key.length + 1);
  stored[0] = 2;
  stored.set(key, 1);
  return stored;
}

export function encodeStoredValue(
  out: ByteWriter,
  epoch: number,
  version: number,
  codec: ValueCodec,
  slot: number,
): void {
  out.reserve(STORED_HEAD_BYTES + codec.maxBytes);
  out.f64(epoch);
  out.u16(version);
  codec.writeWhole(out, slot);
}

/** Sets the slot's columns; returns the epoch that the value reflects. */
export function decodeStoredValue(
  from: ByteReader,
  layout: StateLayout<LayoutFields>,
  codec: ValueCodec,
  slot: number,
  key: Buffer,
): number {
  if (from.left < STORED_HEAD_BYTES) {
    throw new CorruptDataError(`the stored value of a key of ${key.length} bytes is cut short (${from.left} bytes)`);
  }
  const epoch = from.f64();
  const version = from.u16();
  if (version !== layout.version) {
    throw stateVersionError('the store', layout, version);
  }
  codec.read(from, slot);
  return epoch;
}

/** State of another layout version: it comes over in a savepoint alone, whose values carry their description with them. */
export function stateVersionError(where: string, layout: StateLayout<LayoutFields>, version: number): StreamError {
  return new StreamError(
    'state-version',
    `${where} holds ${layout.name} state of version ${version}, this build reads version ${layout.version}. ` +
      'To bring the state over, make a savepoint with the build that wrote it (fraud savepoint create <name>) and begin with ' +
      'this one from there (fraud start --from-savepoint <name>); to give it up and read the source anew, start with --fresh',
  );
}

/** The layout version of a store's values; null where it has none. All values of a store are of one version. */
export async function storedVersion(store: StateStore): Promise<number | null> {
  for await (const { value } of store.scan(STATE_PREFIX)) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).readUInt16LE(8);
  }
  return null;
}

/** Due times of a slot's pending timers, f64 each; null where there is none. */
export function encodePendingTimers(codec: ValueCodec, slot: number): Buffer | null {
  let count = 0;
  for (const { column } of codec.timers) if (column.due[slot] > 0) count++;
  if (count === 0) return null;
  const due = Buffer.allocUnsafe(8 * count);
  let at = 0;
  for (const { column } of codec.timers) {
    if (column.due[slot] > 0) at = due.writeDoubleLE(column.due[slot], at);
  }
  return due;
}

export function encodeResumePoint(point: ResumePoint): Buffer {
  return Buffer.from(JSON.stringify(point));
}

export function decodeResumePoint(bytes: Uint8Array | null): ResumePoint | null {
  if (bytes === null) return null;
  try {
    const point = JSON.parse(Buffer.from(bytes).toString('utf8')) as ResumePoint;
    if (!Number.isSafeInteger(point.epoch)) throw new TypeError('epoch is not a whole number');
    return point;
  } catch (cause) {
    throw new CorruptDataError('the resume point in the state store cannot be read', { cause });
  }
}
