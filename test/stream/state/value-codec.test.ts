/** Owns the tests of a key's binary form: what is written is read again, whole and as a change, and bad bytes are said to be bad. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CorruptDataError } from '../../../src/stream/errors.js';
import { ByteReader, ByteWriter } from '../../../src/stream/state/byte-writer.js';
import {
  f32,
  f64,
  i32,
  type LayoutField,
  type LayoutFields,
  makeColumns,
  type NumberField,
  RingColumns,
  ring,
  stateLayout,
  TimerColumn,
  timer,
  u8,
  u16,
  u32,
} from '../../../src/stream/state/layout.js';
import { ValueCodec } from '../../../src/stream/state/value-codec.js';

const SLOTS = 3;
const NUMBERS: readonly NumberField[] = [u8, u16, u32, i32, f32, f64];

const anyNumber = fc.constantFrom(...NUMBERS);
const anyField: fc.Arbitrary<LayoutField> = fc.oneof(
  anyNumber,
  fc.constant(timer),
  fc
    .tuple(fc.constantFrom(1, 2, 4, 8), fc.array(anyNumber, { minLength: 1, maxLength: 3 }))
    .map(([size, entry]) => ring(size, Object.fromEntries(entry.map((field, i) => [`e${i}`, field])))),
);
const anyLayout = fc
  .array(anyField, { minLength: 1, maxLength: 6 })
  .map((fields) => stateLayout('any', { version: 1 }, Object.fromEntries(fields.map((f, i) => [`f${i}`, f]))));

type Columns = Record<string, unknown>;

/** Columns of a layout with a codec over them. */
function make(layout: ReturnType<typeof stateLayout<LayoutFields>>) {
  const columns = makeColumns(layout, SLOTS) as Columns;
  return { columns, codec: new ValueCodec(layout, columns) };
}

/** A value that each kind of column keeps as it is. */
const nextNumber = (random: () => number) => Math.floor(random() * 200);

function change(columns: Columns, slot: number, appends: number, random: () => number): void {
  for (const column of Object.values(columns)) {
    if (column instanceof RingColumns) {
      for (let i = 0; i < appends; i++) {
        const at = column.append(slot);
        for (const part of Object.values(column.entry)) (part as Float64Array)[at] = nextNumber(random);
      }
    } else if (column instanceof TimerColumn) column.due[slot] = nextNumber(random);
    else (column as Float64Array)[slot] = nextNumber(random);
  }
}

/** Everything a slot holds, newest ring entries first. */
function contents(columns: Columns, slot: number): unknown {
  return Object.entries(columns).map(([name, column]) => {
    if (column instanceof TimerColumn) return [name, column.due[slot]];
    if (!(column instanceof RingColumns)) return [name, (column as Float64Array)[slot]];
    const entries: unknown[] = [];
    for (let back = 0; back < column.length(slot); back++) {
      const at = column.newest(slot, back);
      entries.push(Object.values(column.entry).map((part) => (part as Float64Array)[at]));
    }
    return [name, column.total[slot], entries];
  });
}

const marksOf = (codec: ValueCodec, slot: number) => {
  const marks = new Uint32Array(SLOTS * Math.max(1, codec.ringCount));
  for (let i = 0; i < codec.ringCount; i++) marks[slot * codec.ringCount + i] = codec.ringTotal(i, slot);
  return marks;
};

const anyRandom = fc.integer().map((seed) => {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 0) / 4294967296;
  };
});

describe('a value', () => {
  it('is read as it was written, whatever the layout and the slot', () => {
    fc.assert(
      fc.property(anyLayout, fc.nat(20), anyRandom, (layout, appends, random) => {
        const from = make(layout);
        change(from.columns, 1, appends, random);
        const out = new ByteWriter(4);
        out.u8(7);
        from.codec.writeWhole(out, 1);
        expect(out.length - 1).toBeLessThanOrEqual(from.codec.maxBytes);
        const into = make(layout);
        change(into.columns, 2, 3, random);
        change(into.columns, 0, 3, random);
        const neighbour = contents(into.columns, 0);
        const reader = new ByteReader(Buffer.from(out.written()));
        reader.u8();
        into.codec.read(reader, 2);
        expect(reader.left).toBe(0);
        expect(contents(into.columns, 2)).toEqual(contents(from.columns, 1));
        expect(contents(into.columns, 0)).toEqual(neighbour);
      }),
    );
  });

  it('is brought up to date by its change alone, however many entries came to the rings', () => {
    fc.assert(
      fc.property(anyLayout, fc.nat(12), fc.nat(20), anyRandom, (layout, before, later, random) => {
        const from = make(layout);
        change(from.columns, 1, before, random);
        const whole = new ByteWriter();
        from.codec.writeWhole(whole, 1);
        const into = make(layout);
        into.codec.read(new ByteReader(Buffer.from(whole.written())), 0);
        const marks = marksOf(from.codec, 1);
        change(from.columns, 1, later, random);
        const partial = new ByteWriter();
        from.codec.writeSince(partial, 1, marks);
        into.codec.read(new ByteReader(Buffer.from(partial.written())), 0);
        expect(contents(into.columns, 0)).toEqual(contents(from.columns, 1));
      }),
    );
  });

  it('holds in a change only the entries that are new', () => {
    const layout = stateLayout('one', { version: 1 }, { recent: ring(8, { value: f64 }) });
    const { columns, codec } = make(layout);
    change(columns, 0, 6, Math.random);
    const marks = marksOf(codec, 0);
    change(columns, 0, 1, Math.random);
    const partial = new ByteWriter();
    codec.writeSince(partial, 0, marks);
    expect(partial.length).toBe(6 + 8);
  });

  it('is passed over exactly, without setting anything', () => {
    fc.assert(
      fc.property(anyLayout, fc.nat(12), anyRandom, (layout, appends, random) => {
        const { columns, codec } = make(layout);
        change(columns, 0, appends, random);
        const before = contents(columns, 0);
        const out = new ByteWriter();
        codec.writeWhole(out, 0);
        const reader = new ByteReader(Buffer.from(out.written()));
        codec.skip(reader);
        expect(reader.left).toBe(0);
        expect(contents(columns, 0)).toEqual(before);
      }),
    );
  });

  it('is empty again after it was cleared', () => {
    fc.assert(
      fc.property(anyLayout, anyRandom, (layout, random) => {
        const { columns, codec } = make(layout);
        const empty = contents(columns, 1);
        change(columns, 1, 5, random);
        codec.clear(1);
        expect(contents(columns, 1)).toEqual(empty);
      }),
    );
  });
});

describe('bytes that are no value', () => {
  const layout = stateLayout(
    'bad',
    { version: 1 },
    { count: u32, due: timer, recent: ring(4, { value: f64, kind: u8 }) },
  );

  it('are read as something or refused as corrupt, never otherwise', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        const { codec } = make(layout);
        try {
          codec.read(new ByteReader(Buffer.from(bytes)), 0);
        } catch (error) {
          expect(error).toBeInstanceOf(CorruptDataError);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('are refused wherever a good value is cut short', () => {
    const { columns, codec } = make(layout);
    change(columns, 0, 9, Math.random);
    const out = new ByteWriter();
    codec.writeWhole(out, 0);
    for (let length = 0; length < out.length; length++) {
      const short = Buffer.from(out.written().subarray(0, length));
      expect(() => codec.read(new ByteReader(short), 1)).toThrow(CorruptDataError);
    }
  });

  it('are refused when a ring claims more entries than it can hold, or than it ever had', () => {
    const { codec } = make(layout);
    const claim = (total: number, count: number) => {
      const bytes = Buffer.alloc(12 + 6 + 9 * 8);
      bytes.writeUInt32LE(total, 12);
      bytes.writeUInt16LE(count, 16);
      return new ByteReader(bytes);
    };
    expect(() => codec.read(claim(9, 5), 0)).toThrow(/claims 5 entries of 9/);
    expect(() => codec.read(claim(2, 3), 0)).toThrow(/claims 3 entries of 2/);
    expect(() => codec.read(claim(9, 4), 0)).not.toThrow();
  });
});
