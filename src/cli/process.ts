/** Owns the entry of the command `fraud`: hands the real process to `main.ts`. Neighbour: `bin/fraud.js` starts it. */
import { readFileSync } from 'node:fs';
import { VERSION } from '../app/version.js';
import { systemClock } from '../stream/runtime/system-clock.js';
import { runCommandLine } from './main.js';
import { openCommandBackend } from './open-backend.js';

const stopping = new AbortController();
let asked = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    asked++;
    stopping.abort();
    // The second one means it.
    if (asked > 1) process.exit(130);
  });
}

function readFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The reader of our output may leave first (`fraud dead-letters list | head`): that is no failure. */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await runCommandLine(
  process.argv.slice(2),
  {
    env: process.env,
    cwd: process.cwd(),
    clock: systemClock,
    signal: stopping.signal,
    print: (line) => process.stdout.write(`${line}\n`),
    tell: (line) => process.stderr.write(`${line}\n`),
    screen: process.stderr.isTTY ? process.stderr : null,
    // Whoever reads a pipe wants whole lines.
    columns: process.stdout.columns || 1_000,
    readFile,
    openBackend: openCommandBackend,
  },
  VERSION,
);
