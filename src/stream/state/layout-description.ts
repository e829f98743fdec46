/**
 * Owns a state layout as plain data, which travels with stored values beyond the build that declared it, and making a
 * layout of it again: so values can be decoded by a build whose own layout is another one.
 * Neighbours: `migration.ts` brings such values over, `checkpoint/savepoint-manifest.ts` keeps descriptions.
 */
import { CorruptDataError } from '../errors.js';
import {
  f32,
  f64,
  i32,
  type LayoutField,
  type LayoutFields,
  type NumberField,
  ring,
  type StateLayout,
  stateLayout,
  timer,
  u8,
  u16,
  u32,
} from './layout.js';

type NumberKind = NumberField['kind'];

export type FieldDescription =
  | { readonly name: string; readonly type: 'number'; readonly kind: NumberKind }
  | { readonly name: string; readonly type: 'timer' }
  | {
      readonly name: string;
      readonly type: 'ring';
      readonly size: number;
      readonly entry: readonly { readonly name: string; readonly kind: NumberKind }[];
    };

export interface LayoutDescription {
  readonly name: string;
  readonly version: number;
  /** In declared order, which is the order of the binary form. */
  readonly fields: readonly FieldDescription[];
}

const NUMBERS: Readonly<Record<NumberKind, NumberField>> = { u8, u16, u32, i32, f32, f64 };

export function describeLayout(layout: StateLayout<LayoutFields>): LayoutDescription {
  const fields = Object.entries(layout.fields).map(([name, field]) => describeField(name, field));
  return { name: layout.name, version: layout.version, fields };
}

function describeField(name: string, field: LayoutField): FieldDescription {
  switch (field.type) {
    case 'number':
      return { name, type: 'number', kind: field.kind };
    case 'timer':
      return { name, type: 'timer' };
    case 'ring': {
      const entry = Object.entries(field.entry).map(([column, { kind }]) => ({ name: column, kind }));
      return { name, type: 'ring', size: field.size, entry };
    }
  }
}

/** The layout that was described. Errors: {@link CorruptDataError} where no layout can be described so. */
export function layoutOf(description: LayoutDescription): StateLayout<LayoutFields> {
  const fields = Object.fromEntries(description.fields.map((field) => [field.name, fieldOf(field)]));
  return stateLayout(description.name, { version: description.version }, fields);
}

function fieldOf(field: FieldDescription): LayoutField {
  if (field.type === 'timer') return timer;
  if (field.type === 'number') return numberOf(field);
  if (field.type !== 'ring') {
    const { name, type } = field as { readonly name: string; readonly type: string };
    throw new CorruptDataError(`field ${name} is of the unknown type ${type}`);
  }
  try {
    return ring(field.size, Object.fromEntries(field.entry.map((column) => [column.name, numberOf(column)])));
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new CorruptDataError(`ring ${field.name}: ${cause.message}`, { cause });
  }
}

function numberOf({ name, kind }: { readonly name: string; readonly kind: NumberKind }): NumberField {
  const field: NumberField | undefined = NUMBERS[kind];
  if (field === undefined) throw new CorruptDataError(`field ${name} is of the unknown kind ${kind}`);
  return field;
}
