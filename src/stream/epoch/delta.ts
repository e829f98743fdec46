/**
 * Owns the records of the state log: the delta that an epoch leaves (what it covers and what it changed), and the
 * pointer that a checkpoint leaves. Both are cut into numbered chunks under the log's record limit; each chunk carries
 * a checksum, and a reader hands on whole records alone. Neighbours: `runtime/session.ts` writes, `recovery.ts` reads.
 *
 * Chunk: u32 magic, u8 form version, u8 kind, u16 chunk, u16 chunks, u16 0, u32 crc32 of the body, f64 epoch, body.
 * Delta body: f64 from, f64 to (source offsets), f64 max event time (NaN: none yet), u32 layout version,
 *   u16 cursors × (text id, f64 position), u32 changes × (u8 key length, key, partial value).
 * Pointer body: JSON {@link CheckpointPointer}.
 */
import { crc32 } from 'node:zlib';
import { CorruptDataError } from '../errors.js';
import { ByteReader, ByteWriter } from '../state/byte-writer.js';
import type { KeyedState } from '../state/keyed-state.js';
import type { ResumePoint } from '../state/stored-form.js';

const MAGIC = 0x45504f43;
const FORM = 1;
const HEAD_BYTES = 24;
const KIND = { delta: 1, pointer: 2 } as const;

/** What an epoch covers. `from` and `to` are source offsets, `to` exclusive. */
export interface EpochHead {
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

export type StateLogRecord = DeltaRecord | PointerRecord;

/** Encodes the open epoch's changes; the result is copied out of `out` and stays valid. */
export function encodeDelta(out: ByteWriter, head: EpochHead, state: KeyedState, maxRecordBytes: number): Buffer[] {
  out.clear();
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
    record.writeUInt32LE(crc32(part), 12);
    record.writeDoubleLE(epoch, 16);
    record.set(part, HEAD_BYTES);
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
      throw new CorruptDataError(`state log offset ${offset}: form ${value[4]}, this build reads form ${FORM}`);
    }
    const chunk = value.readUInt16LE(6);
    const chunks = value.readUInt16LE(8);
    const body = value.subarray(HEAD_BYTES);
    if (crc32(body) !== value.readUInt32LE(12)) {
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
        return decodePointer(whole, offset);
      case KIND.delta:
        return decodeDelta(whole, epoch, offset);
      default:
        throw new CorruptDataError(`state log offset ${offset}: a record of kind ${value[5]}, which is none`);
    }
  }
}

function decodePointer(body: Buffer, offset: number): PointerRecord {
  try {
    return { kind: 'pointer', pointer: JSON.parse(body.toString('utf8')) as CheckpointPointer };
  } catch (cause) {
    throw new CorruptDataError(`state log offset ${offset}: the checkpoint pointer cannot be read`, { cause });
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
  const head = { epoch, from: from.f64(), to: from.f64() };
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
