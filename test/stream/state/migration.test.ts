/** Owns the tests of bringing values from one layout version to another: carried, widened, migrated, or refused by name. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteWriter } from '../../../src/stream/state/byte-writer.js';
import {
  f32,
  f64,
  i32,
  type LayoutField,
  type LayoutFields,
  type LayoutOptions,
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
import { describeLayout, layoutOf } from '../../../src/stream/state/layout-description.js';
import { StoredValueReader } from '../../../src/stream/state/migration.js';
import { ValueCodec } from '../../../src/stream/state/value-codec.js';

type Plain = Record<string, number | Record<string, number>[]>;

const layoutWith = (fields: LayoutFields, options: LayoutOptions = { version: 1 }) =>
  stateLayout<LayoutFields>('card', options, fields);

/** A value's bytes under a layout. Rings get the entries one after the other, so that more than fit wrap around. */
function encode(layout: ReturnType<typeof layoutWith>, value: Plain): Buffer {
  const columns = makeColumns(layout, 1) as Record<string, unknown>;
  for (const [name, given] of Object.entries(value)) {
    const column = columns[name];
    if (column instanceof TimerColumn) column.due[0] = given as number;
    else if (!(column instanceof RingColumns)) (column as Float64Array)[0] = given as number;
    else {
      for (const entry of given as Record<string, number>[]) {
        const at = column.append(0);
        for (const [key, number] of Object.entries(entry)) column.entry[key][at] = number;
      }
    }
  }
  const out = new ByteWriter();
  new ValueCodec(layout, columns).writeWhole(out, 0);
  return Buffer.from(out.written());
}

function decoded(reader: StoredValueReader): Plain {
  const plain: Plain = {};
  for (const [name, column] of Object.entries(reader.columns as Record<string, unknown>)) {
    if (column instanceof TimerColumn) plain[name] = column.due[0];
    else if (!(column instanceof RingColumns)) plain[name] = (column as Float64Array)[0];
    else {
      const entries: Record<string, number>[] = [];
      for (let back = column.length(0) - 1; back >= 0; back--) {
        const at = column.newest(0, back);
        entries.push(Object.fromEntries(Object.entries(column.entry).map(([key, values]) => [key, values[at]])));
      }
      plain[name] = entries;
    }
  }
  return plain;
}

/** A value as a build with the layout `to` reads it, which one with `from` wrote. */
function brought(from: ReturnType<typeof layoutWith>, to: ReturnType<typeof layoutWith>, value: Plain): Plain {
  const reader = new StoredValueReader(JSON.parse(JSON.stringify(describeLayout(from))), to);
  reader.read(encode(from, { ...value }));
  return decoded(reader);
}

const step = (from: number) => ({ from, what: 'nothing' });
const refusal = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    expect(error).toMatchObject({ code: 'state-migration' });
    return String(error);
  }
  throw new Error('it was not refused');
};

describe('a layout', () => {
  it('is the same again after its description went through JSON', () => {
    const number = fc.constantFrom<NumberField>(u8, u16, u32, i32, f32, f64);
    const name = fc.stringMatching(/^[a-z][A-Za-z0-9]{0,9}$/);
    const field = fc.oneof<fc.Arbitrary<LayoutField>[]>(
      number,
      fc.constant(timer),
      fc.tuple(fc.constantFrom(1, 2, 8, 32), fc.dictionary(name, number, { minKeys: 1 })).map(([n, e]) => ring(n, e)),
    );
    fc.assert(
      fc.property(fc.dictionary(name, field), fc.nat(), (fields, version) => {
        const layout = layoutWith(fields, { version });
        const description = describeLayout(layout);
        const again = layoutOf(JSON.parse(JSON.stringify(description)));
        expect(describeLayout(again)).toEqual(description);
        expect(Object.keys(again.fields)).toEqual(Object.keys(layout.fields));
      }),
    );
  });

  it('that cannot be described so is refused as corrupt', () => {
    const described = (fields: unknown) => () => layoutOf({ name: 'card', version: 1, fields } as never);
    expect(described([{ name: 'a', type: 'text' }])).toThrow('field a is of the unknown type text');
    expect(described([{ name: 'a', type: 'number', kind: 'u64' }])).toThrow('field a is of the unknown kind u64');
    expect(described([{ name: 'a', type: 'ring', size: 3, entry: [] }])).toThrow('ring a: ');
  });
});

describe('a value of an earlier version', () => {
  const v1 = layoutWith({ gone: f64, count: u16, due: timer, recent: ring(4, { value: f32, merchant: u32 }) });
  const recent = [1, 2, 3, 4, 5, 6].map((i) => ({ value: i / 2, merchant: i }));
  const value = { gone: 1, count: 60_000, due: 77, recent };

  it('keeps fields of the same name, wherever they are now; numbers widen, new ones are 0, others go', () => {
    const v2 = layoutWith(
      { recent: ring(4, { added: u8, value: f64 }), due: timer, count: f64, fresh: i32, none: ring(2, { x: u8 }) },
      { version: 2, migrations: [step(1)] },
    );
    expect(brought(v1, v2, value)).toEqual({
      recent: [3, 4, 5, 6].map((i) => ({ added: 0, value: i / 2 })),
      due: 77,
      count: 60_000,
      fresh: 0,
      none: [],
    });
  });

  it('goes through every step in turn, each of which sees what the one before made', () => {
    const v4 = layoutWith(
      { total: f64, newest: f64, sum: f64 },
      {
        version: 4,
        migrations: [
          { from: 3, what: 'newest', migrate: (old) => old.setNumber('newest', old.ring('values').at(-1)?.value ?? 0) },
          {
            from: 1,
            what: 'gone becomes total',
            migrate: (old) => {
              old.setNumber('total', old.number('gone') + 1);
              old.remove('gone');
            },
          },
          {
            from: 2,
            what: 'the ring has another name',
            migrate: (old) => {
              expect(() => old.number('gone')).toThrow(/a migration asks for gone/);
              old.setRing('values', old.ring('recent').slice(1));
              old.setNumber('sum', old.number('total') + old.number('count'));
            },
          },
        ],
      },
    );
    expect(brought(v1, v4, value)).toEqual({ total: 2, newest: 3, sum: 60_002 });
  });

  it('whose ring has another size keeps the newest entries that fit, in order, and goes on from there', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(1000), { maxLength: 20 }),
        fc.constantFrom(1, 2, 4, 8),
        fc.constantFrom(1, 2, 4, 8),
        (all, small, large) => {
          const from = layoutWith({ recent: ring(small, { value: f64 }) });
          const to = layoutWith(
            { recent: ring(large, { value: f64 }) },
            { version: 2, migrations: [{ ...step(1), reshapes: ['recent'] }] },
          );
          const entries = all.map((number) => ({ value: number }));
          const reader = new StoredValueReader(describeLayout(from), to);
          reader.read(encode(from, { recent: entries }));
          const held = entries.slice(-Math.min(small, large));
          expect(decoded(reader)).toEqual({ recent: held.slice(-large) });
          // What it was brought to is a value like any other: written and read again it is the same.
          const out = new ByteWriter();
          reader.codec.writeWhole(out, 0);
          const again = new StoredValueReader(describeLayout(to), to);
          again.read(Buffer.from(out.written()));
          expect(decoded(again)).toEqual(decoded(reader));
          const column = again.columns.recent as unknown as RingColumns;
          column.entry.value[column.append(0)] = -1;
          expect(decoded(again)).toEqual({ recent: [...held, { value: -1 }].slice(-large) });
        },
      ),
    );
  });

  it('without the steps between is refused, naming the missing one', () => {
    const v4 = layoutWith({ count: u16 }, { version: 4, migrations: [step(1), step(3)] });
    expect(refusal(() => brought(v1, v4, value))).toMatch(
      /card state of version 1, this build's is 4, and there is no migration from version 2 to 3: declare one/,
    );
    expect(refusal(() => brought(v1, layoutWith({ count: u16 }, { version: 2 }), value))).toContain(
      'from version 1 to 2',
    );
  });

  it.each<[string, LayoutFields, string]>([
    ['a narrower number', { count: u8 }, 'card.count was u16 and is u8'],
    ['a number that would lose its sign or its fractions', { gone: i32 }, 'card.gone was f64 and is i32'],
    ['another kind of field', { due: f64 }, 'card.due was a timer and is a number'],
    ['a smaller ring', { recent: ring(2, { value: f32 }) }, 'card.recent held 4 entries and holds 2'],
    ['a narrower column of a ring', { recent: ring(4, { merchant: u16 }) }, 'card.recent.merchant was u32 and is u16'],
  ])('that would lose something in %s is refused unless a step takes it upon itself', (_what, fields, said) => {
    const to = (reshapes: string[]) => layoutWith(fields, { version: 2, migrations: [{ ...step(1), reshapes }] });
    const message = refusal(() => brought(v1, to([]), value));
    expect(message).toContain(said);
    expect(message).toContain('reshapes');
    expect(() => brought(v1, to(Object.keys(fields)), { ...value, count: 200 })).not.toThrow();
  });

  it('does not overflow unseen', () => {
    const to = layoutWith({ count: u8 }, { version: 2, migrations: [{ ...step(1), reshapes: ['count'] }] });
    expect(refusal(() => brought(v1, to, { count: 256 }))).toContain('gives count (u8) the value 256');
    const inRing = layoutWith(
      { recent: ring(4, { merchant: u8 }) },
      { version: 2, migrations: [{ ...step(1), reshapes: ['recent'] }] },
    );
    expect(refusal(() => brought(v1, inRing, { recent: [{ merchant: 999 }] }))).toContain('recent.merchant (u8)');
  });

  it('of another state, a later version, or other fields under the same version is refused', () => {
    expect(refusal(() => brought(layoutWith({}, { version: 3 }), v1, {}))).toContain('only later builds can read it');
    expect(refusal(() => brought(layoutWith({ count: u32 }), v1, {}))).toContain('but other fields');
    const merchant = stateLayout<LayoutFields>('merchant', { version: 1 }, {});
    expect(refusal(() => brought(merchant, v1, {}))).toContain("merchant state, this build's layout is card");
  });

  it('that is cut or too long is refused as corrupt, also under the same version', () => {
    const to = layoutWith({ count: u16 }, { version: 2, migrations: [step(1)] });
    const bytes = encode(v1, value);
    for (const layout of [v1, to]) {
      for (const wrong of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.alloc(1)])]) {
        expect(() => new StoredValueReader(describeLayout(v1), layout).read(wrong)).toThrow(
          expect.objectContaining({ code: 'corrupt-data' }),
        );
      }
    }
  });
});
