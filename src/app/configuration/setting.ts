/**
 * Owns what a setting is: a zod schema with its default, and beside it what people need to know of it (doc, unit, other
 * names, whether it is secret). Help, the documentation page, the names of flags and environment variables and the
 * reading of text into values are all derived from here. Neighbours: `schema.ts` declares, `sources.ts` reads,
 * `load.ts` validates, `help.ts` prints.
 *
 * S1 A setting's path (`epoch.maxMs`) is its only name; flag (`--epoch-max-ms`) and variable (`FRAUD_EPOCH_MAX_MS`)
 *    follow from it, so no two names can drift apart. Aliases are few and written down.
 */
import { z } from 'zod';

/** What is known of a setting beyond its type. */
export interface AboutSetting {
  /** One or two plain sentences, full stop at the end. */
  readonly doc: string;
  /** As printed: `ms`, `payments`, `MiB` … */
  readonly unit?: string;
  /** What happens where it is not given, if the schema's default does not say it. */
  readonly defaultNote?: string;
  /** A second flag, without dashes. */
  readonly flagAlias?: string;
  /** A second environment variable; the `FRAUD_` one wins over it. */
  readonly envAlias?: string;
  /** Never printed. */
  readonly secret?: boolean;
  /** A place on disk: made absolute against the working directory, or the configuration file's. */
  readonly path?: boolean;
  /** The file's content, trimmed, becomes the value of the setting with this path. */
  readonly contentOf?: string;
}

const about = z.registry<AboutSetting>();

/** Declares a leaf of the schema. Each leaf needs a schema object of its own: what is known hangs on that object. */
export function setting<T extends z.ZodType>(schema: T, description: AboutSetting): T {
  if (about.has(schema))
    throw new TypeError(`One schema object describes two settings; the second: ${description.doc}`);
  about.add(schema, description);
  return schema;
}

/** How text from a flag or a variable turns into a value. */
export type SettingKind = 'whole' | 'number' | 'boolean' | 'list' | 'text';

/** A leaf of the schema with all its names. */
export interface Setting {
  /** `epoch.maxMs` */
  readonly path: string;
  readonly keys: readonly string[];
  /** First key, or `general` for a setting that stands alone. */
  readonly group: string;
  /** Flags without dashes, the derived one first. */
  readonly flags: readonly string[];
  /** Environment variables in falling precedence. */
  readonly variables: readonly string[];
  readonly kind: SettingKind;
  /** In words: `a whole number from 1 to 1000`. */
  readonly allowed: string;
  /** The schema's default; undefined where there is none. */
  readonly defaultValue: unknown;
  readonly about: AboutSetting;
  readonly schema: z.ZodType;
}

/** `epoch.maxMs` → `epoch-max-ms`; runs of capitals stay one word (`budgetMiB` → `budget-mib`). */
export function kebab(path: string): string {
  return path
    .replace(/MiB/g, 'Mib')
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .replaceAll('.', '-')
    .toLowerCase();
}

/** All leaves of an object schema, in the order of their declaration. Throws on a leaf that was not declared by {@link setting}. */
export function listSettings(schema: z.ZodObject): readonly Setting[] {
  const found: Setting[] = [];
  const walk = (object: z.ZodObject, keys: readonly string[]): void => {
    for (const [key, child] of Object.entries(object.shape)) {
      const path = [...keys, key];
      if (child instanceof z.ZodObject) walk(child, path);
      else found.push(describeLeaf(child as z.ZodType, path));
    }
  };
  walk(schema, []);
  return found;
}

function describeLeaf(schema: z.ZodType, keys: readonly string[]): Setting {
  const path = keys.join('.');
  const known = about.get(schema);
  if (known === undefined) throw new TypeError(`Setting ${path} has no description; declare it with setting().`);
  const base = unwrap(schema);
  const kebabName = kebab(path);
  return {
    path,
    keys,
    group: keys.length > 1 ? keys[0] : 'general',
    flags: known.flagAlias === undefined ? [kebabName] : [kebabName, known.flagAlias],
    variables: [
      `FRAUD_${kebabName.replaceAll('-', '_').toUpperCase()}`,
      ...(known.envAlias === undefined ? [] : [known.envAlias]),
    ],
    kind: kindOf(base),
    allowed: allowedValues(schema),
    defaultValue: defaultOf(schema),
    about: known,
    schema,
  };
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return unwrap(schema.unwrap() as z.ZodType);
  return schema;
}

function defaultOf(schema: z.ZodType): unknown {
  return schema instanceof z.ZodDefault ? schema.def.defaultValue : undefined;
}

function kindOf(base: z.ZodType): SettingKind {
  if (base instanceof z.ZodNumber) return base.isInt ? 'whole' : 'number';
  if (base instanceof z.ZodBoolean) return 'boolean';
  if (base instanceof z.ZodArray) return 'list';
  return 'text';
}

function allowedValues(schema: z.ZodType): string {
  const base = unwrap(schema);
  if (base instanceof z.ZodNumber) return numberRange(base);
  if (base instanceof z.ZodBoolean) return 'true or false';
  if (base instanceof z.ZodEnum) return `one of ${base.options.join(', ')}`;
  if (base instanceof z.ZodArray)
    return `a list, separated by commas; each ${allowedValues(base.element as z.ZodType)}`;
  return describedForm(schema) ?? 'text';
}

/** `describe()` makes a copy of the schema that it is called on, so the words may be on any layer around the base. */
function describedForm(schema: z.ZodType): string | undefined {
  if (schema.description !== undefined) return schema.description;
  if (!(schema instanceof z.ZodDefault || schema instanceof z.ZodOptional)) return undefined;
  return describedForm(schema.unwrap() as z.ZodType);
}

function numberRange(base: z.ZodNumber): string {
  const noun = base.isInt ? 'a whole number' : 'a number';
  const { minValue, maxValue } = base;
  const hasMaximum = maxValue !== null && Number.isFinite(maxValue) && maxValue < Number.MAX_SAFE_INTEGER;
  if (minValue === null) return noun;
  const excluded = base.def.checks?.some(
    ({ _zod: { def } }) => def.check === 'greater_than' && !('inclusive' in def && def.inclusive),
  );
  if (excluded) return `${noun} above ${minValue}`;
  return hasMaximum ? `${noun} from ${minValue} to ${maxValue}` : `${noun}, ${minValue} or more`;
}
