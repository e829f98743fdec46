/**
 * Owns how the configuration of a process comes about: defaults < file < environment < flags, validated against the
 * schema, secrets read from files, paths made absolute, derived values settled. Pure but for `readFile`, which is
 * handed in. Neighbours: `sources.ts` reads each source, `checks.ts` holds what settings demand of each other.
 *
 * S2 Whoever starts the process learns of everything that is wrong in one go.
 * S3 No value of a secret setting is in any message.
 */
import { resolve } from 'node:path';
import type { z } from 'zod';
import { type Accepted, checkTogether } from './checks.js';
import type { FlagKind } from './flags.js';
import { ConfigurationError, type ConfigurationProblem, didYouMean } from './problems.js';
import { configurationSchema, type Role, type Settings } from './schema.js';
import { listSettings, type Setting } from './setting.js';
import {
  flagKinds,
  type GivenValue,
  type ReadTextFile,
  readConfigFile,
  readFlags,
  readOrReport,
  readVariables,
  SOURCE_RANK,
  type SourceReading,
} from './sources.js';

export type { ReadTextFile } from './sources.js';

/** Every setting, with its name, type and description. */
export const SETTINGS: readonly Setting[] = listSettings(configurationSchema);

type DeepReadonly<T> = T extends readonly (infer E)[]
  ? readonly DeepReadonly<E>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

/** The settings of this process, valid and complete. Plain data: it can be handed to worker threads. */
export type Configuration = DeepReadonly<
  Omit<Settings, 'roles' | 'backend' | 'demo' | 'kafka' | 'access' | 'rules'> & {
    /** Never `all`: what it stands for is listed. */
    roles: Exclude<Role, 'all'>[];
    backend: 'embedded' | 'kafka';
    demo: Omit<Settings['demo'], 'enabled'> & { enabled: boolean };
    kafka: Omit<Settings['kafka'], 'group'> & { group: string };
    rules: Omit<Settings['rules'], 'fourEyes'> & { fourEyes: boolean };
    access: Omit<Settings['access'], 'local'> & {
      local: Omit<Settings['access']['local'], 'enabled'> & { enabled: boolean };
    };
  }
> & {
  /** Where each setting that is not at its default came from, by path: `flag --port`. */
  readonly origins: Readonly<Record<string, string>>;
};

export interface ConfigurationInputs {
  /** Without the program's own name. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly readFile: ReadTextFile;
}

/** What the command line asks for besides running. */
export function askedFor(argv: readonly string[]): 'help' | 'version' | null {
  const words = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  if (words.includes('--help') || words.includes('-h')) return 'help';
  return words.includes('--version') || words.includes('-v') ? 'version' : null;
}

/** Every flag that sets a setting, and whether it takes a value. */
export const settingFlagKinds = (): ReadonlyMap<string, FlagKind> => flagKinds(SETTINGS);

/** Reads and validates. Errors: {@link ConfigurationError} with every problem there is (S2). */
export function loadConfiguration(inputs: ConfigurationInputs): Configuration {
  const { argv, env, cwd, readFile } = inputs;
  const flags = readFlags(argv, SETTINGS, cwd);
  const variables = readVariables(env, SETTINGS, cwd);
  const file = readConfigFile(flags.configFile ?? variables.configFile, SETTINGS, cwd, readFile);
  const given = overlay([file, variables, flags]);
  const problems = [...file.problems, ...variables.problems, ...flags.problems];

  readSecretFiles(given, cwd, readFile, problems);
  const accepted = validate(given, cwd, problems);
  problems.push(...checkTogether(accepted));
  if (problems.length > 0) throw new ConfigurationError(problems);
  return assemble(accepted);
}

function overlay(sources: readonly SourceReading[]): Map<string, GivenValue> {
  const given = new Map<string, GivenValue>();
  for (const source of sources) for (const [path, value] of source.values) given.set(path, value);
  return given;
}

/** Puts a file's content in the place of the setting it stands for, unless that was given with more weight. */
function readSecretFiles(
  given: Map<string, GivenValue>,
  cwd: string,
  readFile: ReadTextFile,
  problems: ConfigurationProblem[],
): void {
  for (const setting of SETTINGS) {
    const target = setting.about.contentOf;
    const from = given.get(setting.path);
    if (target === undefined || from === undefined || typeof from.value !== 'string') continue;
    const direct = given.get(target);
    if (direct !== undefined && direct.rank > from.rank) continue;
    const report = (message: string) =>
      problems.push({ source: from.source, path: setting.path, value: show(from.value, setting), message });
    if (direct !== undefined && direct.rank === from.rank) {
      report(`${target} is given as well (${direct.source}); give one of the two.`);
      continue;
    }
    const path = resolve(from.baseDirectory, from.value);
    const { text, reported } = readOrReport(readFile, path, report);
    const content = text?.trim();
    if (reported) continue;
    if (content === undefined) report(`There is no such file (looked for ${path}, working directory ${cwd}).`);
    else if (content === '') report(`The file ${path} is empty.`);
    else given.set(target, { ...from, value: content, source: `${from.source} (${path})` });
  }
}

function validate(
  given: ReadonlyMap<string, GivenValue>,
  cwd: string,
  problems: ConfigurationProblem[],
): ReadonlyMap<string, Accepted> {
  const accepted = new Map<string, Accepted>();
  for (const setting of SETTINGS) {
    const from = given.get(setting.path);
    const parsed = setting.schema.safeParse(from?.value);
    if (parsed.success) {
      const value = setting.about.path ? absolute(parsed.data, from?.baseDirectory ?? cwd) : parsed.data;
      accepted.set(setting.path, { value, source: from?.source ?? 'default', rank: from?.rank ?? SOURCE_RANK.default });
    } else {
      const source = from?.source ?? 'default';
      problems.push({
        source,
        path: setting.path,
        value: show(from?.value, setting),
        message: refusal(setting, from?.value, parsed.error),
      });
    }
  }
  return accepted;
}

/** Addresses such as s3://bucket/prefix are left as they are. */
function absolute(value: unknown, baseDirectory: string): unknown {
  return typeof value === 'string' && !value.includes('://') ? resolve(baseDirectory, value) : value;
}

function refusal(setting: Setting, value: unknown, error: z.ZodError): string {
  const unit = setting.about.unit ? ` (${setting.about.unit})` : '';
  const issue = error.issues[0];
  const wrong = Array.isArray(value) && typeof issue.path[0] === 'number' ? value[issue.path[0]] : value;
  const options = issue.code === 'invalid_value' ? issue.values.map(String) : [];
  const hint = typeof wrong === 'string' ? didYouMean(wrong, options) : '';
  return `Must be ${setting.allowed}${unit}.${hint}`;
}

/** A value as people may see it (S3). */
function show(value: unknown, setting: Setting): string {
  if (setting.about.secret === true) return '(hidden)';
  const text = typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

/** Nests the accepted values and settles those that follow from others. */
function assemble(accepted: ReadonlyMap<string, Accepted>): Configuration {
  const root: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  for (const setting of SETTINGS) {
    const { value, source, rank } = accepted.get(setting.path) ?? { value: undefined, source: 'default', rank: 0 };
    if (rank > SOURCE_RANK.default) origins[setting.path] = source;
    let group = root;
    for (const key of setting.keys.slice(0, -1)) {
      group[key] ??= {};
      group = group[key] as Record<string, unknown>;
    }
    if (value !== undefined) group[setting.keys[setting.keys.length - 1]] = value;
  }
  const settings = root as Settings;
  const backend = chosenBackend(accepted);
  const { ssl } = settings.kafka;
  const demoEnabled = settings.demo.enabled ?? backend === 'embedded';
  const { local, oidc } = settings.access;
  const localEnabled = local.enabled ?? (oidc.issuer === undefined && (backend === 'embedded' || demoEnabled));
  return {
    ...settings,
    roles: settings.roles.includes('all')
      ? ['detector', 'api', 'projector']
      : [...new Set(settings.roles)].filter((role) => role !== 'all'),
    backend,
    demo: { ...settings.demo, enabled: demoEnabled },
    rules: { ...settings.rules, fourEyes: settings.rules.fourEyes ?? !demoEnabled },
    access: { ...settings.access, local: { ...local, enabled: localEnabled } },
    kafka: {
      ...settings.kafka,
      group: settings.kafka.group ?? settings.pipeline.name,
      ssl: { ...ssl, enabled: ssl.enabled || ssl.caFile !== undefined || ssl.certFile !== undefined },
    },
    origins,
  };
}

/** Brokers select Kafka, unless a source of the same or more weight says embedded (`checks.ts` refuses the same). */
function chosenBackend(accepted: ReadonlyMap<string, Accepted>): 'embedded' | 'kafka' {
  const backend = accepted.get('backend');
  const brokers = accepted.get('kafka.brokers');
  const named = Array.isArray(brokers?.value) && brokers.value.length > 0;
  if (backend?.value === 'kafka') return 'kafka';
  return named && (backend?.value === undefined || backend.rank < (brokers?.rank ?? 0)) ? 'kafka' : 'embedded';
}
