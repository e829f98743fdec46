/**
 * Owns child processes of tests: they run the sources, say what they have done line by line, and are always killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';

const HOOKS = path.resolve(import.meta.dirname, 'typescript.mjs');

/** Flags under which this Node runs a TypeScript file of the checkout. */
export const typescriptFlags: readonly string[] = ['--import', HOOKS];

export interface TestChild {
  readonly process: ChildProcess;
  /** Lines of standard output so far. */
  readonly lines: readonly string[];
  /** Resolves with the first line that begins with `prefix`; rejects when the child ends or `timeoutMs` pass before. */
  line(prefix: string, timeoutMs?: number): Promise<string>;
  /** Sends the signal and waits for the end. Resolves with the exit code, or null after a signal. */
  kill(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts `file` (absolute path of a .ts file) as a process of its own. */
export function startChild(
  file: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv } = {},
): TestChild {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...typescriptFlags, file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...options.env },
  });
  const lines: string[] = [];
  let errors = '';
  let onChange: (() => void)[] = [];
  const changed = (): void => {
    const waiting = onChange;
    onChange = [];
    for (const wake of waiting) wake();
  };
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    changed();
  });
  child.stderr.on('data', (chunk) => {
    errors = (errors + chunk).slice(-10_000);
  });
  const ended = new Promise<number | null>((resolve) =>
    child.once('close', (code) => {
      resolve(code);
      changed();
    }),
  );
  const running = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    process: child,
    lines,
    async line(prefix, timeoutMs = 30_000) {
      const deadline = Date.now() + timeoutMs;
      for (;;) {
        const found = lines.find((line) => line.startsWith(prefix));
        if (found !== undefined) return found;
        const left = deadline - Date.now();
        if (!running() || left <= 0) {
          throw new Error(`No line "${prefix}" from ${path.basename(file)}; it said: ${lines.slice(-5)} ${errors}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, left);
          onChange.push(() => {
            clearTimeout(timer);
            resolve();
          });
        });
      }
    },
    async kill(signal) {
      if (running()) child.kill(signal);
      return ended;
    },
  };
}
