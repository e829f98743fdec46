/**
 * Owns the command line `fraud`: picks the command, prints help, turns errors into messages and exit codes (0 done,
 * 1 failed, 2 called wrongly, 130 stopped by Ctrl-C). Neighbours: `command.ts` says what a command is, `process.ts`
 * hands in the real process.
 */
import { didYouMean, wrap } from '../app/configuration/index.js';
import { auditCommand } from './audit.js';
import { type Command, parseInvocation, type Surroundings, UsageError } from './command.js';
import { deadLettersCommand } from './dead-letters.js';
import { feedCommand } from './feed.js';
import { rescaleCommand } from './rescale.js';
import { savepointCommand } from './savepoint.js';
import { startCommand } from './start.js';
import { topicsCommand } from './topics.js';

const COMMANDS: readonly Command[] = [
  startCommand,
  feedCommand,
  topicsCommand,
  deadLettersCommand,
  savepointCommand,
  rescaleCommand,
  auditCommand,
];

/** Runs one command line (without program names). Resolves to the exit code; never rejects. */
export async function runCommandLine(
  argv: readonly string[],
  surroundings: Surroundings,
  version: string,
): Promise<number> {
  const [name, ...rest] = argv;
  if (name === '--version' || name === '-v') {
    surroundings.print(version);
    return 0;
  }
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const about = COMMANDS.find((command) => command.name === rest[0]);
    surroundings.print(about === undefined ? overview() : commandHelp(about, surroundings.columns));
    return 0;
  }
  const command = COMMANDS.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const hint = didYouMean(
      name,
      COMMANDS.map((candidate) => candidate.name),
    );
    surroundings.tell(`There is no command ${name}.${hint}\nSee: fraud help`);
    return 2;
  }
  // `start` prints the help of the service itself.
  if ((rest.includes('--help') || rest.includes('-h')) && command !== startCommand) {
    surroundings.print(commandHelp(command, surroundings.columns));
    return 0;
  }
  try {
    const invocation = command === startCommand ? startInvocation(rest) : parseInvocation(command, rest, surroundings);
    return await command.run(invocation, surroundings);
  } catch (error) {
    surroundings.tell(describeError(error));
    return exitCodeOf(error);
  }
}

/** The service reads its own command line. */
const startInvocation = (argv: readonly string[]) => ({
  words: argv,
  flags: new Map<string, string | true>(),
  get configuration(): never {
    throw new UsageError('start reads its own configuration.');
  },
});

function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : '';
  const known = error instanceof UsageError || error.name === 'ConfigurationError';
  return known ? error.message : `${error.message}${code}`;
}

function exitCodeOf(error: unknown): number {
  return error instanceof Error && 'exitCode' in error && typeof error.exitCode === 'number' ? error.exitCode : 1;
}

function overview(): string {
  const width = Math.max(...COMMANDS.map((command) => command.name.length));
  return [
    'Usage: fraud COMMAND …',
    '',
    ...COMMANDS.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    'fraud help COMMAND tells more of one. Every setting of the service is a flag here as well: --kafka, --data-dir …',
  ].join('\n');
}

function commandHelp(command: Command, columns: number): string {
  const width = Math.max(40, Math.min(columns, 120));
  const lines = [`Usage: fraud ${command.name} ${command.words}`.trimEnd(), '', ...wrap(command.summary, width)];
  const flags = Object.entries(command.flags);
  if (flags.length > 0) lines.push('', 'Flags');
  for (const [name, flag] of flags) {
    lines.push(`  --${name}${flag.value === undefined ? '' : ` ${flag.value}`}`);
    lines.push(...wrap(flag.doc, width - 6).map((line) => `      ${line}`));
  }
  lines.push(
    '',
    'Settings of the service are flags too, such as --kafka HOST:PORT and --data-dir PATH (fraud start --help).',
  );
  if (command.examples.length > 0) lines.push('', 'Examples', ...command.examples.map((example) => `  ${example}`));
  return lines.join('\n');
}
