/**
 * Owns the state layout: the one declaration of what a keyed step remembers for a key. From it follow the typed-array
 * columns for hot keys (structure of arrays), the binary form in the store, and the delta in the state log.
 * Neighbours: `keyed-state.ts` gives keys their slots, `value-codec.ts` reads and writes the binary form.
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

/** A named, versioned declaration. `version` changes whenever the fields do; stored values of another version are refused. */
export interface StateLayout<F extends LayoutFields = LayoutFields> {
  readonly name: string;
  readonly version: number;
  readonly fields: F;
}

export function stateLayout<F extends LayoutFields>(
  name: string,
  options: { version: number },
  fields: F,
): StateLayout<F> {
  return { name, version: options.version, fields };
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
