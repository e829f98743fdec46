/**
 * Owns the records of the state log: the delta that an epoch leaves (what it covers and what it changed), the pointer
 * that a checkpoint leaves, the seed with which a task of a later generation begins, and the seal with which one of an
 * earlier generation ends. All are cut into numbered chunks under the log's record limit; each chunk carries a
 * checksum, and a reader hands on whole records alone.
 * Neighbours: `runtime/session.ts` and `checkpoint/{checkpoints,seed,seal}.ts` write, `replay.ts` reads.
 *
 * Chunk: u32 magic, u8 form version, u8 kind, u16 chunk, u16 chunks, u16 0, u32 crc32, f64 epoch, body. The checksum
 *   covers all of the chunk but itself.
 * Delta body: text task id, f64 from, f64 to (source offsets), f64 max event time (NaN: none yet), u32 layout version,
 *   u16 cursors × (text id, f64 position), u32 changes × (u8 key length, key, partial value).
 * Body of the others: JSON of {@link CheckpointPointer}, {@link Seed}, {@link Seal} or null.
 */
import { crc32 } from 'node:zlib';
import { CorruptDataError } from '../errors.js';
import { ByteReader, ByteWriter } from '../state/byte-writer.js';
import type { KeyedState } from '../state/keyed-state.js';
import type { ResumePoint } from '../state/stored-form.js';

const MAGIC = 0x45504f43;
const FORM = 2;
const HEAD_BYTES = 24;
/** Where the checksum lies in a chunk. */
const CRC_AT = 12;
const KIND = { delta: 1, pointer: 2, seed: 3, seal: 4 } as const;

/** What an epoch covers. `from` and `to` are source offsets, `to` exclusive. */
export interface EpochHead {
  /** Whose epoch it is: a task refuses the state log of another. */
  readonly taskId: string;
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
  readonly maxEventTimeMs: number | null;
  readonly cursors: Readonly<Record<string, number>>;
}

/** A completed checkpoint, as the state log remembers it. */
export interface CheckpointPointer {
  readonly snapshotId: string;
  readonly completedAtMs: number;
  readonly resume: ResumePoint;
}

export interface DeltaRecord {
  readonly kind: 'delta';
  readonly head: EpochHead;
  readonly layoutVersion: number;
  /** Positioned at the first change: key and partial value, `changeCount` times. */
  readonly changes: ByteReader;
  readonly changeCount: number;
}

export interface PointerRecord {
  readonly kind: 'pointer';
  readonly pointer: CheckpointPointer;
}

/** How a task of a generation after the first began: the first record of its state log. */
export interface Seed {
  readonly taskId: string;
  readonly generation: number;
  /** The savepoint's name, and an id that no other savepoint of that name has. */
  readonly savepoint: string;
  readonly savepointId: string;
  /** Checkpoint that holds the state: without it the task's state is lost. */
  readonly snapshotId: string;
  /** Where the task goes on. Its `stateLogOffset` lies before the seed. */
  readonly resume: ResumePoint;
}

/** The generation that goes on where the sealed one ended. */
export interface Seal {
  /** Of the one that goes on. */
  readonly generation: number;
  /** Its state-log topic, its source topic, and how many partitions both have. */
  readonly stateLog: string;
  readonly source: string;
  readonly partitions: number;
  /** Name of the savepoint that its tasks are seeded from. */
  readonly savepoint: string;
}

export interface SeedRecord {
  readonly kind: 'seed';
  readonly seed: Seed;
}

export interface SealRecord {
  readonly kind: 'seal';
  /** Null: opened again, an earlier seal holds no more. */
  readonly seal: Seal | null;
}

export type StateLogRecord = DeltaRecord | PointerRecord | SeedRecord | SealRecord;

/** A task's first epoch, where it begins with a seed. */
export const SEED_EPOCH = 1;

/** Encodes the open epoch's changes; the result is copied out of `out` and stays valid. */
export function encodeDelta(out: ByteWriter, head: EpochHead, state: KeyedState, maxRecordBytes: number): Buffer[] {
  out.clear();
  out.text(head.taskId);
  out.f64(head.from);
  out.f64(head.to);
  out.f64(head.maxEventTimeMs ?? Number.NaN);
  out.u32(state.layout.version);
  const cursors = Object.entries(head.cursors);
  out.u16(cursors.length);
  for (const [id, position] of cursors) {
    out.text(id);
    out.f64(position);
  }
  const changed = state.changedSlots;
  out.u32(changed.length);
  const { codec, index, ringMarks } = state;
  for (let i = 0; i < changed.length; i++) {
    const slot = changed[i];
    const key = index.key(slot);
    out.u8(key.length);
    out.raw(key);
    codec.writeSince(out, slot, ringMarks);
  }
  return cut(KIND.delta, head.epoch, out.written(), maxRecordBytes);
}

export function encodePointer(epoch: number, pointer: CheckpointPointer, maxRecordBytes: number): Buffer[] {
  return cut(KIND.pointer, epoch, Buffer.from(JSON.stringify(pointer)), maxRecordBytes);
}

export function encodeSeed(seed: Seed, maxRecordBytes: number): Buffer[] {
  return cut(KIND.seed, SEED_EPOCH, Buffer.from(JSON.stringify(seed)), maxRecordBytes);
}

/** A seal is no epoch: it stands behind the last one. */
export function encodeSeal(seal: Seal | null, maxRecordBytes: number): Buffer[] {
  return cut(KIND.seal, Number.NaN, Buffer.from(JSON.stringify(seal)), maxRecordBytes);
}

/** Of everything but the checksum itself. */
function checksumOf(chunk: Buffer): number {
  return crc32(chunk.subarray(CRC_AT + 4), crc32(chunk.subarray(0, CRC_AT)));
}

function cut(kind: number, epoch: number, body: Buffer, maxRecordBytes: number): Buffer[] {
  const room = maxRecordBytes - HEAD_BYTES;
  const chunks = Math.max(1, Math.ceil(body.length / room));
  const records: Buffer[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    const part = body.subarray(chunk * room, (chunk + 1) * room);
    const record = Buffer.allocUnsafe(HEAD_BYTES + part.length);
    record.writeUInt32LE(MAGIC, 0);
    record[4] = FORM;
    record[5] = kind;
    record.writeUInt16LE(chunk, 6);
    record.writeUInt16LE(chunks, 8);
    record.writeUInt16LE(0, 10);
    record.writeDoubleLE(epoch, 16);
    record.set(part, HEAD_BYTES);
    record.writeUInt32LE(checksumOf(record), CRC_AT);
    records.push(record);
  }
  return records;
}

/** Puts chunks together again, in log order. Errors: {@link CorruptDataError} naming the state log's offset. */
export class StateLogDecoder {
  private parts: Buffer[] = [];
  private begun = false;

  /** Null until a record's last chunk has come. The result is a copy. */
  push(value: Buffer, offset: number): StateLogRecord | null {
    if (value.length < HEAD_BYTES || value.readUInt32LE(0) !== MAGIC) {
      throw new CorruptDataError(`state log offset ${offset}: not a state-log record`);
    }
    if (value[4] !== FORM) {
      throw new CorruptDataError(
        `state log offset ${offset}: form ${value[4]}, this build reads form ${FORM}; run the build that wrote it or, to give the state up, start with --fresh`,
      );
    }
    const chunk = value.readUInt16LE(6);
    const chunks = value.readUInt16LE(8);
    const body = value.subarray(HEAD_BYTES);
    if (checksumOf(value) !== value.readUInt32LE(CRC_AT)) {
      throw new CorruptDataError(`state log offset ${offset}: checksum of chunk ${chunk} does not match`);
    }
    // Retention can cut a log in the middle of a record: the rest of that record is passed over, and the gap in the
    // epochs tells whether anything that is needed went with it.
    if (chunk > 0 && !this.begun) return null;
    this.begun = true;
    if (chunk !== this.parts.length) {
      throw new CorruptDataError(`state log offset ${offset}: chunk ${chunk} where ${this.parts.length} was due`);
    }
    this.parts.push(Buffer.from(body));
    if (chunk + 1 < chunks) return null;
    const whole = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
    this.parts = [];
    const epoch = value.readDoubleLE(16);
    switch (value[5]) {
      case KIND.pointer:
        return { kind: 'pointer', pointer: decodeJson(whole, offset, 'checkpoint pointer') as CheckpointPointer };
      case KIND.seed:
        return { kind: 'seed', seed: decodeJson(whole, offset, 'seed') as Seed };
      case KIND.seal:
        return { kind: 'seal', seal: decodeJson(whole, offset, 'seal') as Seal | null };
      case KIND.delta:
        return decodeDelta(whole, epoch, offset);
      default:
        throw new CorruptDataError(`state log offset ${offset}: a record of kind ${value[5]}, which is none`);
    }
  }
}

function decodeJson(body: Buffer, offset: number, what: string): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new CorruptDataError(`state log offset ${offset}: the ${what} cannot be read`, { cause });
  }
}

function decodeDelta(body: Buffer, epoch: number, offset: number): DeltaRecord {
  try {
    return readDelta(new ByteReader(body), epoch);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new CorruptDataError(`state log offset ${offset}: the delta of epoch ${epoch} ends early`, { cause });
  }
}

function readDelta(from: ByteReader, epoch: number): DeltaRecord {
  const head = { taskId: from.text(), epoch, from: from.f64(), to: from.f64() };
  const maxEventTimeMs = from.f64();
  const layoutVersion = from.u32();
  const cursors: Record<string, number> = {};
  for (let left = from.u16(); left > 0; left--) {
    const id = from.text();
    cursors[id] = from.f64();
  }
  return {
    kind: 'delta',
    head: { ...head, maxEventTimeMs: Number.isNaN(maxEventTimeMs) ? null : maxEventTimeMs, cursors },
    layoutVersion,
    changeCount: from.u32(),
    changes: from,
  };
}
