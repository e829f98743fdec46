/**
 * Owns the binary form of a key's columns, derived from the state layout. One form serves twice: whole (every ring
 * entry held) as the value in the store, partial (only the entries appended since a mark) as the change in a delta.
 * Reading either sets the numbers and writes ring entries where they belong, so replaying a delta is decoding it.
 *
 * Form: numbers and timers in declared order, then for each ring: u32 total, u16 n, and n newest entries, oldest
 * first, field after field. Little-endian. Neighbours: `keyed-state.ts`, `epoch/delta.ts`.
 */
import { CorruptDataError } from '../errors.js';
import type { ByteReader, ByteWriter } from './byte-writer.js';
import {
  type LayoutFields,
  type NumberColumn,
  type NumberField,
  RingColumns,
  type StateLayout,
  TimerColumn,
} from './layout.js';

interface Scalar {
  readonly kind: NumberField['kind'];
  readonly bytes: number;
  readonly column: NumberColumn;
}

interface RingPart {
  readonly ring: RingColumns;
  readonly size: number;
  readonly entryBytes: number;
  readonly fields: readonly Scalar[];
}

/** Writes and reads the columns of one {@link StateLayout}. */
export class ValueCodec {
  private readonly scalars: readonly Scalar[];
  private readonly rings: readonly RingPart[];
  private readonly scalarBytes: number;
  /** Upper bound of a whole value, in bytes. */
  readonly maxBytes: number;
  readonly timers: readonly { readonly name: string; readonly column: TimerColumn }[];

  constructor(layout: StateLayout<LayoutFields>, columns: Readonly<Record<string, unknown>>) {
    const scalars: Scalar[] = [];
    const rings: RingPart[] = [];
    const timers: { name: string; column: TimerColumn }[] = [];
    for (const [name, field] of Object.entries(layout.fields)) {
      const column = columns[name];
      if (field.type === 'ring' && column instanceof RingColumns) rings.push(ringPart(column));
      else if (field.type === 'timer' && column instanceof TimerColumn) {
        timers.push({ name, column });
        scalars.push({ kind: 'f64', bytes: 8, column: column.due });
      } else if (field.type === 'number') {
        scalars.push({ kind: field.kind, bytes: field.bytes, column: column as NumberColumn });
      }
    }
    this.scalars = scalars;
    this.rings = rings;
    this.timers = timers;
    this.scalarBytes = scalars.reduce((sum, { bytes }) => sum + bytes, 0);
    this.maxBytes = this.scalarBytes + rings.reduce((sum, part) => sum + 6 + part.size * part.entryBytes, 0);
  }

  get ringCount(): number {
    return this.rings.length;
  }

  /** Appends so far of ring number `ring`, for marks. */
  ringTotal(ring: number, slot: number): number {
    return this.rings[ring].ring.total[slot];
  }

  /** Appends the slot's whole value to `out`. */
  writeWhole(out: ByteWriter, slot: number): void {
    out.reserve(this.maxBytes);
    this.writeScalars(out, slot);
    for (const part of this.rings) writeEntries(out, part, slot, part.ring.length(slot));
  }

  /** Appends numbers and the ring entries that came after `marks[slot * ringCount + ring]`. */
  writeSince(out: ByteWriter, slot: number, marks: Uint32Array): void {
    out.reserve(this.maxBytes);
    this.writeScalars(out, slot);
    const count = this.rings.length;
    for (let i = 0; i < count; i++) {
      const part = this.rings[i];
      const appended = (part.ring.total[slot] - marks[slot * count + i]) >>> 0;
      writeEntries(out, part, slot, Math.min(appended, part.size));
    }
  }

  /** Sets the slot from either form. Errors: {@link CorruptDataError} when the bytes end early or make no sense. */
  read(from: ByteReader, slot: number): void {
    let position = from.position;
    try {
      const { view } = from;
      for (const { kind, bytes, column } of this.scalars) {
        column[slot] = readNumber(view, position, kind);
        position += bytes;
      }
      for (const part of this.rings) position = readEntries(view, position, part, slot);
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new CorruptDataError(`a stored value ends early, at byte ${position}`, { cause });
    }
    from.position = position;
  }

  /** Passes over a value without setting anything. */
  skip(from: ByteReader): void {
    let position = from.position + this.scalarBytes;
    for (const part of this.rings) position += 6 + from.view.getUint16(position + 4, true) * part.entryBytes;
    from.position = position;
  }

  /** Sets a slot to what a key has that was never seen. */
  clear(slot: number): void {
    for (const { column } of this.scalars) column[slot] = 0;
    for (const { ring } of this.rings) ring.total[slot] = 0;
  }

  private writeScalars(out: ByteWriter, slot: number): void {
    const { view } = out;
    let position = out.length;
    for (const { kind, bytes, column } of this.scalars) {
      writeNumber(view, position, kind, column[slot]);
      position += bytes;
    }
    out.length = position;
  }
}

function ringPart(ring: RingColumns): RingPart {
  const fields = Object.entries(ring.field.entry).map(([name, field]) => ({
    kind: field.kind,
    bytes: field.bytes,
    column: ring.entry[name],
  }));
  return { ring, size: ring.field.size, entryBytes: fields.reduce((sum, { bytes }) => sum + bytes, 0), fields };
}

function writeEntries(out: ByteWriter, part: RingPart, slot: number, count: number): void {
  const { view } = out;
  const total = part.ring.total[slot];
  view.setUint32(out.length, total, true);
  view.setUint16(out.length + 4, count, true);
  let position = out.length + 6;
  const base = slot * part.size;
  const mask = part.size - 1;
  for (const { kind, bytes, column } of part.fields) {
    for (let i = total - count; i < total; i++) {
      writeNumber(view, position, kind, column[base + (i & mask)]);
      position += bytes;
    }
  }
  out.length = position;
}

function readEntries(view: DataView, start: number, part: RingPart, slot: number): number {
  const total = view.getUint32(start, true);
  const count = view.getUint16(start + 4, true);
  if (count > part.size || count > total) {
    throw new CorruptDataError(`a stored ring claims ${count} entries of ${total}, its size is ${part.size}`);
  }
  let position = start + 6;
  const base = slot * part.size;
  const mask = part.size - 1;
  for (const { kind, bytes, column } of part.fields) {
    for (let i = total - count; i < total; i++) {
      column[base + (i & mask)] = readNumber(view, position, kind);
      position += bytes;
    }
  }
  part.ring.total[slot] = total;
  return position;
}

function writeNumber(view: DataView, position: number, kind: NumberField['kind'], value: number): void {
  switch (kind) {
    case 'f64':
      view.setFloat64(position, value, true);
      return;
    case 'f32':
      view.setFloat32(position, value, true);
      return;
    case 'u32':
      view.setUint32(position, value, true);
      return;
    case 'i32':
      view.setInt32(position, value, true);
      return;
    case 'u16':
      view.setUint16(position, value, true);
      return;
    case 'u8':
      view.setUint8(position, value);
  }
}

function readNumber(view: DataView, position: number, kind: NumberField['kind']): number {
  switch (kind) {
    case 'f64':
      return view.getFloat64(position, true);
    case 'f32':
      return view.getFloat32(position, true);
    case 'u32':
      return view.getUint32(position, true);
    case 'i32':
      return view.getInt32(position, true);
    case 'u16':
      return view.getUint16(position, true);
    case 'u8':
      return view.getUint8(position);
  }
}
