/**
 * Owns bringing stored values from one version of a state layout to another: planned once for a savepoint, refused there
 * if a step is missing, then done key by key. Slow by design: it happens once a savepoint and never to a running task.
 * Neighbours: `layout.ts` declares the steps, `layout-description.ts` tells the old layout, `checkpoint/seed.ts` uses it.
 */
import { CorruptDataError, StreamError } from '../errors.js';
import { ByteReader } from './byte-writer.js';
import {
  type ColumnsOf,
  type LayoutFields,
  type MigratingValue,
  type Migration,
  makeColumns,
  type NumberColumn,
  type NumberField,
  RingColumns,
  type RingEntry,
  type StateLayout,
  TimerColumn,
} from './layout.js';
import { describeLayout, type FieldDescription, type LayoutDescription, layoutOf } from './layout-description.js';
import { ValueCodec } from './value-codec.js';

type NumberKind = NumberField['kind'];

/** What each kind may become without losing anything. */
const WIDENS_TO: Readonly<Record<NumberKind, readonly NumberKind[]>> = {
  u8: ['u8', 'u16', 'u32', 'i32', 'f32', 'f64'],
  u16: ['u16', 'u32', 'i32', 'f32', 'f64'],
  u32: ['u32', 'f64'],
  i32: ['i32', 'f64'],
  f32: ['f32', 'f64'],
  f64: ['f64'],
};

/** Reads values of a described layout into one slot of the present one. */
export class StoredValueReader {
  readonly columns: ColumnsOf<LayoutFields>;
  readonly codec: ValueCodec;
  private readonly old: OldValue | null;

  /** Errors: 'state-migration', which names what is missing; {@link CorruptDataError} for a bad description. */
  constructor(
    from: LayoutDescription,
    private readonly layout: StateLayout<LayoutFields>,
  ) {
    this.columns = makeColumns(layout, 1);
    this.codec = new ValueCodec(layout, this.columns);
    this.old = planned(from, layout);
  }

  /** Sets slot 0 to the value. Errors: {@link CorruptDataError}; whatever a migration throws. */
  read(value: Buffer): void {
    this.codec.clear(0);
    if (this.old !== null) {
      this.old.read(value);
      this.old.fill(this.layout, this.columns);
      return;
    }
    readWhole(this.codec, value);
  }
}

/** Null: values are read as they are. */
function planned(from: LayoutDescription, layout: StateLayout<LayoutFields>): OldValue | null {
  const to = describeLayout(layout);
  if (from.name !== to.name) {
    throw refusal(`it holds ${from.name} state, this build's layout is ${to.name}`);
  }
  if (from.version === to.version) {
    if (JSON.stringify(from.fields) === JSON.stringify(to.fields)) return null;
    throw refusal(
      `it holds ${from.name} state of version ${from.version}, as this build, but other fields: whoever changes fields gives the layout a new version and a migration`,
    );
  }
  if (from.version > to.version) {
    throw refusal(
      `it holds ${from.name} state of version ${from.version}, this build's is ${to.version}: only later builds can read it`,
    );
  }
  const steps = stepsBetween(from, layout);
  const reshaped = new Set(steps.flatMap(({ reshapes }) => reshapes ?? []));
  for (const field of to.fields) {
    const before = from.fields.find(({ name }) => name === field.name);
    if (before === undefined || reshaped.has(field.name)) continue;
    const problem = mismatch(before, field);
    if (problem !== null) {
      throw refusal(
        `${from.name}.${problem}, which loses something: name it in \`reshapes\` of the migration that does it`,
      );
    }
  }
  return new OldValue(from, steps);
}

function stepsBetween(from: LayoutDescription, layout: StateLayout<LayoutFields>): Migration[] {
  const steps: Migration[] = [];
  for (let version = from.version; version < layout.version; version++) {
    const step = (layout.migrations ?? []).find((one) => one.from === version);
    if (step === undefined) {
      throw refusal(
        `it holds ${from.name} state of version ${from.version}, this build's is ${layout.version}, and there is no migration from version ${version} to ${version + 1}: ` +
          'declare one with the layout (it may be empty), or begin with a build that has it',
      );
    }
    steps.push(step);
  }
  return steps;
}

/** What does not fit of two fields of one name, or null. */
function mismatch(before: FieldDescription, after: FieldDescription): string | null {
  if (before.type !== after.type) return `${after.name} was a ${before.type} and is a ${after.type}`;
  if (before.type === 'number' && after.type === 'number') return narrowing(after.name, before.kind, after.kind);
  if (before.type !== 'ring' || after.type !== 'ring') return null;
  if (after.size < before.size) return `${after.name} held ${before.size} entries and holds ${after.size}`;
  for (const column of after.entry) {
    const old = before.entry.find(({ name }) => name === column.name);
    const problem = old && narrowing(`${after.name}.${column.name}`, old.kind, column.kind);
    if (problem) return problem;
  }
  return null;
}

const narrowing = (name: string, before: NumberKind, after: NumberKind): string | null =>
  WIDENS_TO[before].includes(after) ? null : `${name} was ${before} and is ${after}`;

interface OldRing {
  /** Entries ever appended. */
  total: number;
  entries: readonly RingEntry[];
}

/** A value as plain data, from its old layout through every step. */
class OldValue implements MigratingValue {
  private readonly columns: Readonly<Record<string, unknown>>;
  private readonly codec: ValueCodec;
  private readonly numbers = new Map<string, number>();
  private readonly rings = new Map<string, OldRing>();

  constructor(
    description: LayoutDescription,
    private readonly steps: readonly Migration[],
  ) {
    const layout = layoutOf(description);
    this.columns = makeColumns(layout, 1);
    this.codec = new ValueCodec(layout, this.columns);
  }

  number(field: string): number {
    const value = this.numbers.get(field);
    if (value === undefined) throw absent(field);
    return value;
  }

  setNumber(field: string, value: number): void {
    this.numbers.set(field, value);
  }

  ring(field: string): readonly RingEntry[] {
    const ring = this.rings.get(field);
    if (ring === undefined) throw absent(field);
    return ring.entries;
  }

  setRing(field: string, entries: readonly RingEntry[]): void {
    const total = this.rings.get(field)?.total ?? 0;
    this.rings.set(field, { total: Math.max(total, entries.length), entries });
  }

  remove(field: string): void {
    this.numbers.delete(field);
    this.rings.delete(field);
  }

  /** Takes a value in and runs the steps. */
  read(value: Buffer): void {
    this.codec.clear(0);
    readWhole(this.codec, value);
    this.numbers.clear();
    this.rings.clear();
    for (const [name, column] of Object.entries(this.columns)) {
      if (column instanceof RingColumns) this.rings.set(name, entriesOf(column));
      else if (column instanceof TimerColumn) this.numbers.set(name, column.due[0]);
      else this.numbers.set(name, (column as Float64Array)[0]);
    }
    for (const step of this.steps) step.migrate?.(this);
  }

  /** Sets slot 0 of a layout's columns to what there is of its fields. */
  fill(layout: StateLayout<LayoutFields>, columns: ColumnsOf<LayoutFields>): void {
    for (const [name, field] of Object.entries(layout.fields)) {
      const column: unknown = columns[name];
      if (column instanceof RingColumns) {
        const ring = this.rings.get(name);
        if (ring !== undefined) fillRing(name, column, ring);
      } else {
        const value = this.numbers.get(name) ?? 0;
        if (column instanceof TimerColumn) column.due[0] = value;
        else setChecked(name, field as NumberField, column as NumberColumn, 0, value);
      }
    }
  }
}

/** A migration must not let a number overflow unseen. */
function setChecked(name: string, { kind }: NumberField, column: NumberColumn, at: number, value: number): void {
  column[at] = value;
  if (kind === 'f32' || kind === 'f64' || column[at] === value) return;
  throw refusal(`a migration gives ${name} (${kind}) the value ${value}, which it cannot hold`);
}

function entriesOf(column: RingColumns): OldRing {
  const entries: RingEntry[] = [];
  for (let back = column.length(0) - 1; back >= 0; back--) {
    const at = column.newest(0, back);
    entries.push(Object.fromEntries(Object.entries(column.entry).map(([name, values]) => [name, values[at]])));
  }
  return { total: column.total[0], entries };
}

function fillRing(name: string, { field, entry, total }: RingColumns, ring: OldRing): void {
  const kept = ring.entries.slice(-field.size);
  // Where there is room left, what is held is all that was ever appended: the form has no room for more to have been.
  const appended = kept.length < field.size ? kept.length : ring.total;
  total[0] = appended;
  kept.forEach((values, i) => {
    const at = (appended - kept.length + i) & (field.size - 1);
    for (const [column, numbers] of Object.entries(entry)) {
      setChecked(`${name}.${column}`, field.entry[column], numbers, at, values[column] ?? 0);
    }
  });
}

function readWhole(codec: ValueCodec, value: Buffer): void {
  const from = new ByteReader(value);
  codec.read(from, 0);
  if (from.left > 0) throw new CorruptDataError(`a stored value has ${from.left} bytes more than its layout says`);
}

const absent = (field: string): RangeError =>
  new RangeError(`a migration asks for ${field}, which the value does not have at that version`);

const refusal = (why: string): StreamError =>
  new StreamError('state-migration', `the savepoint's state cannot be brought over: ${why}`);
