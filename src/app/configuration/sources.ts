/**
 * Owns the reading of settings from their three sources: a JSON or YAML file, the environment, the command line. Each
 * gives values by path, with their origin; nothing is validated here but that every name is known. Neighbours:
 * `flags.ts` splits command lines, `load.ts` puts the sources over one another.
 */
import { createRequire } from 'node:module';
import { dirname, resolve } from 'node:path';
import { type FlagKind, readCommandLine } from './flags.js';
import { type ConfigurationProblem, didYouMean } from './problems.js';
import type { Setting } from './setting.js';

/** Sources in rising precedence; the default is below them all. */
export const SOURCE_RANK = { default: 0, file: 1, variable: 2, flag: 3 } as const;

/** A value that a source gives for a setting. */
export interface GivenValue {
  readonly value: unknown;
  /** `flag --port`, `variable PORT`, `file fraud.config.json`. */
  readonly source: string;
  readonly rank: number;
  /** Directory against which a relative path is meant. */
  readonly baseDirectory: string;
}

/** What one source gives, by path of the setting. */
export interface SourceReading {
  readonly values: ReadonlyMap<string, GivenValue>;
  readonly problems: readonly ConfigurationProblem[];
}

/** Content of a file as text. Undefined, or an error with code ENOENT, where there is none. */
export type ReadTextFile = (path: string) => string | undefined;

/** Reads a file; undefined where there is none, and where it cannot be read, which is reported. */
export function readOrReport(
  readFile: ReadTextFile,
  path: string,
  report: (message: string) => void,
): { readonly text: string | undefined; readonly reported: boolean } {
  try {
    return { text: readFile(path), reported: false };
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { text: undefined, reported: false };
    report(`Cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    return { text: undefined, reported: true };
  }
}

const CONFIG_VARIABLE = 'FRAUD_CONFIG';
const USUAL_FILES = ['fraud.config.json', 'fraud.config.yaml', 'fraud.config.yml'];

/** Flag names of all settings and the plain ones, with whether they take a value. */
export function flagKinds(settings: readonly Setting[]): ReadonlyMap<string, FlagKind> {
  const kinds = new Map<string, FlagKind>([
    ['config', 'value'],
    ['help', 'switch'],
    ['version', 'switch'],
  ]);
  for (const setting of settings) {
    for (const flag of setting.flags) kinds.set(flag, setting.kind === 'boolean' ? 'switch' : 'value');
  }
  return kinds;
}

/** Reads the command line. `configFile` is what `--config` named. */
export function readFlags(
  argv: readonly string[],
  settings: readonly Setting[],
  cwd: string,
): SourceReading & { readonly configFile: string | null } {
  const kinds = flagKinds(settings);
  const byFlag = new Map(settings.flatMap((setting) => setting.flags.map((flag) => [flag, setting] as const)));
  const line = readCommandLine(argv, kinds);
  const values = new Map<string, GivenValue>();
  const problems: ConfigurationProblem[] = [];
  let configFile: string | null = null;
  for (const flag of line.flags) {
    if (flag.name === 'config') configFile = flag.value;
    const setting = byFlag.get(flag.name);
    if (setting === undefined) continue;
    const text = flag.value ?? (flag.negated ? 'false' : 'true');
    const source = `flag --${flag.negated ? 'no-' : ''}${flag.name}`;
    values.set(setting.path, { value: fromText(text, setting), source, rank: SOURCE_RANK.flag, baseDirectory: cwd });
  }
  const flagNames = [...kinds.keys()].map((name) => `--${name}`);
  for (const name of line.unknown) {
    problems.push(problem(`flag ${name}`, `There is no such flag.${didYouMean(name, flagNames)}`));
  }
  for (const name of line.withoutValue) {
    const setting = byFlag.get(name.slice(2));
    problems.push(problem(`flag ${name}`, `Needs a value: ${setting?.allowed ?? 'a file'}.`));
  }
  for (const word of line.words) {
    problems.push(problem('command line', `“${word}” is no flag; flags begin with two dashes.`));
  }
  return { values, problems, configFile };
}

/** Orchestrators name the addresses of a service called “fraud…” like this, as URLs or numbers; none of ours looks so. */
const SERVICE_LINK = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?)$/;

/** Reads the environment. An empty variable counts as not given. `configFile` is what `FRAUD_CONFIG` named. */
export function readVariables(
  env: Readonly<Record<string, string | undefined>>,
  settings: readonly Setting[],
  cwd: string,
): SourceReading & { readonly configFile: string | null } {
  const values = new Map<string, GivenValue>();
  const known = new Set<string>([CONFIG_VARIABLE]);
  for (const setting of settings) {
    for (const name of setting.variables) known.add(name);
    const name = setting.variables.find((candidate) => (env[candidate] ?? '') !== '');
    if (name === undefined) continue;
    const value = fromText(env[name] ?? '', setting);
    values.set(setting.path, { value, source: `variable ${name}`, rank: SOURCE_RANK.variable, baseDirectory: cwd });
  }
  const problems: ConfigurationProblem[] = [];
  for (const name of Object.keys(env)) {
    if (!name.startsWith('FRAUD_') || known.has(name) || SERVICE_LINK.test(name)) continue;
    problems.push(problem(`variable ${name}`, `There is no such setting.${didYouMean(name, [...known])}`));
  }
  return { values, problems, configFile: env[CONFIG_VARIABLE] || null };
}

/** Reads the file that was named, or the usual one of the working directory where there is one. */
export function readConfigFile(
  named: string | null,
  settings: readonly Setting[],
  cwd: string,
  readFile: ReadTextFile,
): SourceReading {
  const problems: ConfigurationProblem[] = [];
  const values = new Map<string, GivenValue>();
  const candidates = named === null ? USUAL_FILES : [named];
  for (const name of candidates) {
    const path = resolve(cwd, name);
    const source = `file ${name}`;
    const { text, reported } = readOrReport(readFile, path, (message) => problems.push(problem(source, message)));
    if (text === undefined) {
      if (named !== null && !reported) problems.push(problem(source, `There is no such file (looked for ${path}).`));
      continue;
    }
    const document = parseDocument(name, text, (message) => problems.push(problem(source, message)));
    collect(document, settings, { values, problems, source, baseDirectory: dirname(path) });
    break;
  }
  return { values, problems };
}

/** Most starts read no YAML, and the parser takes 20 ms to load. */
function readYaml(text: string): unknown {
  const { parse } = createRequire(import.meta.url)('yaml') as typeof import('yaml');
  return parse(text);
}

function parseDocument(name: string, text: string, report: (message: string) => void): Record<string, unknown> {
  try {
    const parsed: unknown = name.endsWith('.json') ? JSON.parse(text) : readYaml(text);
    if (parsed === null) return {};
    if (isGroup(parsed)) return parsed;
    report('Must hold one object of groups and settings.');
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    report(`Is no valid ${name.endsWith('.json') ? 'JSON' : 'YAML'}: ${reason}`);
  }
  return {};
}

interface Collecting {
  readonly values: Map<string, GivenValue>;
  readonly problems: ConfigurationProblem[];
  readonly source: string;
  readonly baseDirectory: string;
}

function collect(
  document: Record<string, unknown>,
  settings: readonly Setting[],
  into: Collecting,
  prefix: readonly string[] = [],
): void {
  const depth = prefix.length;
  const here = settings.filter((setting) => prefix.every((key, index) => setting.keys[index] === key));
  for (const [key, value] of Object.entries(document)) {
    const keys = [...prefix, key];
    const below = here.filter((setting) => setting.keys[depth] === key);
    const leaf = below.find((setting) => setting.keys.length === depth + 1);
    if (leaf !== undefined) {
      const { source, baseDirectory } = into;
      into.values.set(leaf.path, { value, source, rank: SOURCE_RANK.file, baseDirectory });
    } else if (below.length > 0) {
      if (isGroup(value)) collect(value, settings, into, keys);
      else if (value !== null) into.problems.push(problem(into.source, 'Is a group of settings, not a value.', keys));
    } else {
      const siblings = [...new Set(here.map((setting) => [...prefix, setting.keys[depth]].join('.')))];
      const everywhere = settings.map((setting) => setting.path);
      const hint = didYouMean(keys.join('.'), [...siblings, ...everywhere]);
      into.problems.push(problem(into.source, `There is no such setting.${hint}`, keys));
    }
  }
}

/** Text as the setting's kind would have it; text that is no such thing stays text, for the schema to refuse. */
function fromText(text: string, setting: Setting): unknown {
  const trimmed = text.trim();
  switch (setting.kind) {
    case 'whole':
    case 'number':
      return /^-?\d[\d_]*(\.\d+)?$/.test(trimmed) ? Number(trimmed.replaceAll('_', '')) : text;
    case 'boolean':
      return { true: true, yes: true, 1: true, false: false, no: false, 0: false }[trimmed.toLowerCase()] ?? text;
    case 'list':
      return trimmed
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '');
    case 'text':
      return text;
  }
}

function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function problem(source: string, message: string, keys: readonly string[] | null = null): ConfigurationProblem {
  return { source, path: keys?.join('.') ?? null, value: null, message };
}
