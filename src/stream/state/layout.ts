/**
 * Owns the state layout: the one declaration of what a keyed step remembers for a key. From it follow the typed-array
 * columns for hot keys (structure of arrays), the binary form in the store, and the delta in the state log.
 * Neighbours: `keyed-state.ts` gives keys their slots, `value-codec.ts` reads and writes the binary form,
 * `migration.ts` brings values of an earlier version over.
 * Domain code reads and writes columns by slot; nothing here allocates per payment.
 */

export type NumberColumn = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array | Float64Array;

/** One fixed-width number a key. */
export interface NumberField<A extends NumberColumn = NumberColumn> {
  readonly type: 'number';
  readonly kind: 'u8' | 'u16' | 'u32' | 'i32' | 'f32' | 'f64';
  readonly bytes: number;
  make(length: number): A;
}

/** One pending event-time timer a key. */
export interface TimerField {
  readonly type: 'timer';
}

/** The last `size` entries a key, oldest overwritten first. */
export interface RingField<E extends Record<string, NumberField> = Record<string, NumberField>> {
  readonly type: 'ring';
  readonly size: number;
  readonly entry: E;
}

export type LayoutField = NumberField | TimerField | RingField;
export type LayoutFields = Record<string, LayoutField>;

export const u8: NumberField<Uint8Array> = { type: 'number', kind: 'u8', bytes: 1, make: (n) => new Uint8Array(n) };
export const u16: NumberField<Uint16Array> = { type: 'number', kind: 'u16', bytes: 2, make: (n) => new Uint16Array(n) };
export const u32: NumberField<Uint32Array> = { type: 'number', kind: 'u32', bytes: 4, make: (n) => new Uint32Array(n) };
export const i32: NumberField<Int32Array> = { type: 'number', kind: 'i32', bytes: 4, make: (n) => new Int32Array(n) };
export const f32: NumberField<Float32Array> = {
  type: 'number',
  kind: 'f32',
  bytes: 4,
  make: (n) => new Float32Array(n),
};
export const f64: NumberField<Float64Array> = {
  type: 'number',
  kind: 'f64',
  bytes: 8,
  make: (n) => new Float64Array(n),
};
export const timer: TimerField = { type: 'timer' };

/** Declares a ring of `size` entries; `size` must be a power of two, so that a position is a mask and not a division. */
export function ring<E extends Record<string, NumberField>>(size: number, entry: E): RingField<E> {
  if (size < 1 || (size & (size - 1)) !== 0) throw new RangeError(`a ring's size must be a power of two, got ${size}`);
  return { type: 'ring', size, entry };
}

/**
 * One version's step to the next, for values that come from a savepoint. Fields of the same name and shape come over by
 * themselves, numbers may have become wider; fields that are new are 0 or empty unless a step sets them.
 */
export interface Migration {
  /** From this version to the one after it. */
  readonly from: number;
  /** What changed, for people. */
  readonly what: string;
  /** Fields whose shape changed under the same name: `migrate` says what becomes of them. */
  readonly reshapes?: readonly string[];
  migrate?(value: MigratingValue): void;
}

/** A ring's entry by column names. */
export type RingEntry = Record<string, number>;

/** A key's value on its way to a later layout. Errors: RangeError for a field that the version did not have. */
export interface MigratingValue {
  number(field: string): number;
  /** Sets a number or a timer's due time, of a field present or new. */
  setNumber(field: string, value: number): void;
  /** Entries held, oldest first. They may be changed in place. */
  ring(field: string): readonly RingEntry[];
  /** Replaces a ring, or makes a new one; oldest entry first. */
  setRing(field: string, entries: readonly RingEntry[]): void;
  /** Takes a field away whose name now means something else. */
  remove(field: string): void;
}

export interface LayoutOptions<F extends LayoutFields = LayoutFields> {
  readonly version: number;
  /** Steps from earlier versions, in any order; a chain without gaps is used. */
  readonly migrations?: readonly Migration[];
  /**
   * Called for every key that comes from a savepoint to the task of another partition, or of another source: what the
   * columns of `slot` say about places in the source holds no more.
   */
  moved?(columns: ColumnsOf<F>, slot: number): void;
}

/** A named, versioned declaration. `version` changes whenever the fields do; stored values of another version are refused. */
export interface StateLayout<F extends LayoutFields = LayoutFields> extends LayoutOptions<F> {
  readonly name: string;
  readonly fields: F;
}

export function stateLayout<F extends LayoutFields>(
  name: string,
  options: LayoutOptions<F>,
  fields: F,
): StateLayout<F> {
  return { ...options, name, fields };
}

/** A ring's columns for all slots. Entry `i` of slot `s` lies at an index that `append` or `newest` returns. */
export class RingColumns<E extends Record<string, NumberField> = Record<string, NumberField>> {
  /** Entries ever appended, a slot. */
  readonly total: Uint32Array;
  readonly entry: { readonly [K in keyof E]: ReturnType<E[K]['make']> };
  private readonly mask: number;

  constructor(
    readonly field: RingField<E>,
    slots: number,
  ) {
    this.total = new Uint32Array(slots);
    this.mask = field.size - 1;
    this.entry = Object.fromEntries(
      Object.entries(field.entry).map(([name, column]) => [name, column.make(slots * field.size)]),
    ) as { readonly [K in keyof E]: ReturnType<E[K]['make']> };
  }

  /** Entries held now for a slot: at most the ring's size. */
  length(slot: number): number {
    const total = this.total[slot];
    return Math.min(total, this.field.size);
  }

  /** Makes room for a new entry (over the oldest one when full) and returns its index in the entry columns. */
  append(slot: number): number {
    const total = this.total[slot];
    this.total[slot] = total + 1;
    return slot * this.field.size + (total & this.mask);
  }

  /** Index of the entry `back` appends ago: 0 is the newest. The caller keeps `back` below `length(slot)`. */
  newest(slot: number, back: number): number {
    return slot * this.field.size + ((this.total[slot] - 1 - back) & this.mask);
  }
}

/** A timer's column. Setting a due time schedules it; the task fires it once event time has passed it. */
export class TimerColumn {
  /** Due event time in ms, 0 where none is pending. Written through `set` and `clear` alone. */
  readonly due: Float64Array;
  /** Bound by the keyed state: tells the timer queue of a new due time. */
  onSet: (slot: number, dueMs: number) => void = () => {};

  constructor(slots: number) {
    this.due = new Float64Array(slots);
  }

  /** Replaces whatever was pending for the slot. `dueMs` must be above 0. */
  set(slot: number, dueMs: number): void {
    this.due[slot] = dueMs;
    this.onSet(slot, dueMs);
  }

  clear(slot: number): void {
    this.due[slot] = 0;
  }
}

export type ColumnsOf<F extends LayoutFields> = {
  readonly [K in keyof F]: F[K] extends RingField<infer E>
    ? RingColumns<E>
    : F[K] extends TimerField
      ? TimerColumn
      : F[K] extends NumberField<infer A>
        ? A
        : never;
};

/** Allocates a layout's columns for `slots` keys. */
export function makeColumns<F extends LayoutFields>(layout: StateLayout<F>, slots: number): ColumnsOf<F> {
  const columns: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(layout.fields)) {
    if (field.type === 'ring') columns[name] = new RingColumns(field, slots);
    else if (field.type === 'timer') columns[name] = new TimerColumn(slots);
    else columns[name] = field.make(slots);
  }
  return columns as ColumnsOf<F>;
}
