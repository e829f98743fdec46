/**
 * Owns the grammar of command lines: `--name value`, `--name=value`, switches `--name` and `--no-name`, `--` before
 * words that are no flags. It knows no setting; `sources.ts` and the commands of `src/cli` say which flags there are.
 */

export interface GivenFlag {
  /** Without dashes, as declared. */
  readonly name: string;
  /** Text after `=` or the next word; null for a bare switch. */
  readonly value: string | null;
  /** `--no-name` was written. */
  readonly negated: boolean;
}

export interface CommandLine {
  readonly flags: readonly GivenFlag[];
  readonly words: readonly string[];
  /** As written, up to the `=`. */
  readonly unknown: readonly string[];
  readonly withoutValue: readonly string[];
}

export type FlagKind = 'switch' | 'value';

/** Splits a command line. Never throws: what it cannot place is reported. */
export function readCommandLine(argv: readonly string[], kinds: ReadonlyMap<string, FlagKind>): CommandLine {
  const flags: GivenFlag[] = [];
  const words: string[] = [];
  const unknown: string[] = [];
  const withoutValue: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index];
    if (argument === '--') {
      words.push(...argv.slice(index + 1));
      break;
    }
    if (!argument.startsWith('-') || argument === '-') {
      words.push(argument);
      continue;
    }
    const flag = splitFlag(argument, kinds);
    if (flag === null) {
      unknown.push(argument.split('=')[0]);
      // Its value, most likely: one mistake is reported once.
      if (!argument.includes('=') && argv[index + 1]?.startsWith('-') === false) index++;
      continue;
    }
    if (flag.value !== null || kinds.get(flag.name) === 'switch') {
      flags.push(flag);
      continue;
    }
    const next = argv[index + 1];
    if (next === undefined || next.startsWith('--')) {
      withoutValue.push(`--${flag.name}`);
      continue;
    }
    index++;
    flags.push({ ...flag, value: next });
  }
  return { flags, words, unknown, withoutValue };
}

function splitFlag(argument: string, kinds: ReadonlyMap<string, FlagKind>): GivenFlag | null {
  if (!argument.startsWith('--')) return null;
  const equals = argument.indexOf('=');
  const written = equals === -1 ? argument.slice(2) : argument.slice(2, equals);
  const value = equals === -1 ? null : argument.slice(equals + 1);
  if (kinds.has(written)) return { name: written, value, negated: false };
  const positive = written.startsWith('no-') ? written.slice(3) : null;
  if (positive !== null && value === null && kinds.get(positive) === 'switch') {
    return { name: positive, value: null, negated: true };
  }
  return null;
}
