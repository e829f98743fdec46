/**
 * Owns processes of the service: real ones, started as `npm start` starts them, killed and stopped as operators and
 * machines do. Each writes its output to a file. Whatever is still running when this process ends is killed with it.
 * Neighbours: `runs.ts`, and the tests that need a whole service.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname } from 'node:path';
import { commandEntry, serviceEntry } from './project.js';

export interface ServiceExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ServiceProcess {
  readonly pid: number;
  readonly startedAtMs: number;
  readonly exit: Promise<ServiceExit>;
  /** Rejects, with the end of its output, when the process ends without having been told to. */
  readonly unexpectedEnd: Promise<never>;
  /** The end of what it said. */
  said(): string;
  /** kill -9; resolves once it is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with how it ended and how long that took. Killed after `timeoutMs`. */
  stop(timeoutMs?: number): Promise<ServiceExit & { readonly tookMs: number }>;
}

const TAIL_CHARACTERS = 3_000;
const STOP_TIMEOUT_MS = 30_000;

/** Starts the service with these flags; `output` is the file that gets everything it says. */
export function startService(flags: readonly string[], output: string): ServiceProcess {
  if (!existsSync(serviceEntry)) throw new Error('the service is not built: npm run build');
  const file = openSync(output, 'a');
  const child = spawn(process.execPath, [serviceEntry, ...flags], {
    stdio: ['ignore', file, file],
    // Not the checkout, where somebody's configuration file may lie.
    cwd: dirname(output),
    env: withoutOurSettings(process.env),
  });
  closeSync(file);
  return new StartedService(child, output);
}

const COMMAND_MS = 120_000;
const COMMAND_BYTES = 8 * 1024 * 1024;

/** Runs `fraud` with these words and flags to its end; killed after two minutes, which is the code null. */
export function runCommand(
  argv: readonly string[],
): Promise<{ readonly code: number | null; readonly output: string }> {
  const options = {
    timeout: COMMAND_MS,
    killSignal: 'SIGKILL',
    maxBuffer: COMMAND_BYTES,
    cwd: tmpdir(),
    env: withoutOurSettings(process.env),
  } as const;
  return new Promise((resolve) => {
    execFile(process.execPath, [commandEntry, ...argv], options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ code, output: `${stderr}${stdout}` });
    });
  });
}

/** Settings of whoever runs this must not reach the service: the flags say all. */
function withoutOurSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const foreign = /^(FRAUD_|KAFKA_|VITEST)|^(PORT|DATABASE_URL|NODE_OPTIONS|NODE_ENV)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !foreign.test(name)));
}

class StartedService implements ServiceProcess {
  readonly pid: number;
  readonly startedAtMs = performance.now();
  readonly exit: Promise<ServiceExit>;
  readonly unexpectedEnd: Promise<never>;
  private told = false;

  constructor(
    private readonly child: ChildProcess,
    private readonly output: string,
  ) {
    if (child.pid === undefined) throw new Error('the service could not be started');
    this.pid = child.pid;
    const killWithUs = () => child.kill('SIGKILL');
    process.once('exit', killWithUs);
    this.exit = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        process.removeListener('exit', killWithUs);
        resolve({ code, signal });
      });
    });
    this.unexpectedEnd = this.exit.then(({ code, signal }) => {
      if (this.told) return new Promise<never>(() => {});
      throw new Error(`the service ended by itself (code ${code}, signal ${signal}); it said:\n${this.said()}`);
    });
    // Whoever waits for something sees it; nobody has to.
    this.unexpectedEnd.catch(() => {});
  }

  said(): string {
    return readFileSync(this.output, 'utf8').slice(-TAIL_CHARACTERS);
  }

  async kill(): Promise<void> {
    this.told = true;
    this.child.kill('SIGKILL');
    await this.exit;
  }

  async stop(timeoutMs = STOP_TIMEOUT_MS): Promise<ServiceExit & { readonly tookMs: number }> {
    this.told = true;
    const askedAtMs = performance.now();
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
    const ended = await this.exit;
    clearTimeout(timer);
    return { ...ended, tookMs: performance.now() - askedAtMs };
  }
}
