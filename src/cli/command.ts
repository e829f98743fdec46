/**
 * Owns what a command of `fraud` is: flags of its own beside those of the configuration, and the surroundings it runs
 * in, all of which tests replace. Neighbours: `main.ts` picks one and runs it; each command has a file.
 */
import {
  type Configuration,
  didYouMean,
  type FlagKind,
  loadConfiguration,
  readCommandLine,
  settingFlagKinds,
} from '../app/configuration/index.js';
import { StreamError } from '../stream/errors.js';
import type { Clock, LogBackend } from '../stream/ports.js';

/** What a command sees of the process. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly clock: Clock;
  /** Aborts on Ctrl-C: the command ends at the next safe place and says how far it got. */
  readonly signal: AbortSignal;
  /** Results, one line each. */
  readonly print: (line: string) => void;
  /** What is not a result: progress, hints. */
  readonly tell: (line: string) => void;
  /** Where a progress bar may be drawn; null where there is no terminal. */
  readonly screen: NodeJS.WriteStream | null;
  readonly columns: number;
  /** Undefined where there is no such file. */
  readonly readFile: (path: string) => string | undefined;
  /** `makeMissing`: an embedded log that is not there is made. */
  readonly openBackend: (configuration: Configuration, makeMissing: boolean) => Promise<LogBackend>;
}

export interface CommandFlag {
  readonly kind: FlagKind;
  /** Shown behind the flag: `N|max`. */
  readonly value?: string;
  readonly doc: string;
}

export interface Command {
  readonly name: string;
  /** Words behind the name: `FILE`. */
  readonly words: string;
  readonly summary: string;
  readonly flags: Readonly<Record<string, CommandFlag>>;
  /** Further lines of its help. */
  readonly examples: readonly string[];
  /** Resolves to the exit code. */
  run(invocation: Invocation, surroundings: Surroundings): Promise<number>;
}

/** A command line taken apart. */
export interface Invocation {
  readonly words: readonly string[];
  /** The command's own flags; switches are `true`. */
  readonly flags: ReadonlyMap<string, string | true>;
  /** Read on first use, so that help works with a broken configuration. */
  readonly configuration: Configuration;
}

/** A command was called in a way that it does not have. */
export class UsageError extends StreamError {
  readonly exitCode = 2;
  constructor(message: string) {
    super('usage', message);
  }
}

/** Parts the command's own flags and words from those of the configuration. Errors: {@link UsageError}. */
export function parseInvocation(command: Command, argv: readonly string[], surroundings: Surroundings): Invocation {
  const own = Object.entries(command.flags).map(([name, flag]) => [name, flag.kind] as const);
  const kinds = new Map<string, FlagKind>([...settingFlagKinds(), ...own]);
  const line = readCommandLine(argv, kinds);
  const names = [...kinds.keys()].map((name) => `--${name}`);
  const wrong = [
    ...line.unknown.map((flag) => `There is no flag ${flag}.${didYouMean(flag, names)}`),
    ...line.withoutValue.map((flag) => `${flag} needs a value.`),
  ];
  if (wrong.length > 0) throw new UsageError(`${wrong.join('\n')}\nSee: fraud ${command.name} --help`);

  const flags = new Map<string, string | true>();
  const settingArguments: string[] = [];
  for (const { name, value, negated } of line.flags) {
    if (command.flags[name] !== undefined) flags.set(name, value ?? true);
    else settingArguments.push(`--${negated ? 'no-' : ''}${name}${value === null ? '' : `=${value}`}`);
  }
  const { env, cwd, readFile } = surroundings;
  let configuration: Configuration | null = null;
  return {
    words: line.words,
    flags,
    get configuration() {
      configuration ??= loadConfiguration({ argv: settingArguments, env, cwd, readFile });
      return configuration;
    },
  };
}

/** The value of a flag as a whole number. Errors: {@link UsageError}. */
export function wholeFlag(invocation: Invocation, name: string, fallback: number, minimum = 0): number {
  const text = invocation.flags.get(name);
  if (text === undefined) return fallback;
  const value = Number(text === true ? Number.NaN : text.replaceAll('_', ''));
  if (Number.isSafeInteger(value) && value >= minimum) return value;
  throw new UsageError(`--${name} must be a whole number, ${minimum} or more; it is ${String(text)}.`);
}

/** The value of a flag as text. */
export function textFlag(invocation: Invocation, name: string): string | null {
  const text = invocation.flags.get(name);
  return text === undefined || text === true ? null : text;
}

/** Opens the backend for the time of `use`, and closes it whatever happens. */
export async function withBackend<T>(
  invocation: Invocation,
  surroundings: Surroundings,
  options: { readonly makeMissing: boolean },
  use: (backend: LogBackend) => Promise<T>,
): Promise<T> {
  const backend = await surroundings.openBackend(invocation.configuration, options.makeMissing);
  try {
    return await use(backend);
  } finally {
    await backend.close();
  }
}
