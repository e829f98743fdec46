/**
 * Owns the running service as tests of it see it: a process of its own, what it says, its API, its end, and that nothing
 * of it is left. Neighbours: `topic-contents.ts` reads the log that it leaves behind.
 *
 * What is run is the build, as `npm start` does; it is made anew where a source is newer.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

export const ROOT = path.resolve(import.meta.dirname, '../..');
const ENTRY = path.join(ROOT, 'dist/src/main.js');

/** A start may take this long, by the promise made to newcomers. */
export const START_LIMIT_MS = 30_000;
/** And a stop this long. */
export const STOP_LIMIT_MS = 5_000;
const POLL_MS = 20;
/** Preset, as an operator would. */
const API_KEY = 'service-tests-preset-api-key';

/** The card world in a hurry: much fraud, many broken messages, quick status lines. */
export const BUSY_DEMO: readonly string[] = [
  '--demo-rate=400',
  '--demo-fraud-per-thousand=40',
  '--demo-malformed-per-thousand=30',
  '--terminal-line-interval-ms=1000',
];

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** As people start it, rather than Node itself. */
  readonly npm?: boolean;
  readonly nodeFlags?: readonly string[];
}

export class Service {
  readonly startedAtMs = performance.now();
  readonly pid: number;
  /** Resolves when the process has ended and all of its output has come. */
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  private end: Ended | null = null;

  constructor(child: ChildProcess) {
    this.pid = child.pid ?? -1;
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stdout += chunk;
    });
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.stderr += chunk;
    });
    this.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.end = { code, signal };
        resolve(this.end);
      });
    });
  }

  get lines(): readonly string[] {
    return this.stdout.split('\n').filter((line) => line !== '');
  }

  get lastLine(): string {
    return this.lines.at(-1) ?? '';
  }

  /** Waits for `what` to give something else than null, false or undefined; errors tell what the service said. */
  async until<T>(name: string, what: () => Promise<T> | T, limitMs = START_LIMIT_MS): Promise<NonNullable<T>> {
    const deadline = performance.now() + limitMs;
    for (;;) {
      const found = await Promise.resolve().then(what).catch(laterIfUnreachable);
      if (found !== null && found !== undefined && found !== false) return found;
      if (this.end !== null) throw new Error(`It ended (${JSON.stringify(this.end)}) before: ${name}.\n${this.said()}`);
      if (performance.now() > deadline) throw new Error(`Not within ${limitMs} ms: ${name}.\n${this.said()}`);
      await wait(POLL_MS);
    }
  }

  /** The first line of standard output that matches. */
  line(pattern: RegExp, limitMs = START_LIMIT_MS): Promise<RegExpMatchArray> {
    return this.until(
      String(pattern),
      () => this.lines.map((line) => line.match(pattern)).find((match) => match !== null),
      limitMs,
    );
  }

  /** Resolves to the API's address once everything is up. */
  async up(): Promise<string> {
    return (await this.line(/^API (http:\S+) {2}docs http:\S+\/docs$/))[1];
  }

  async get(route: string): Promise<Response> {
    const headers = { 'x-api-key': API_KEY };
    return fetch(`${await this.up()}${route}`, { headers, signal: AbortSignal.timeout(10_000) });
  }

  async json<T>(route: string): Promise<T> {
    const answer = await this.get(route);
    if (!answer.ok) throw new Error(`${route} answers ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  pipeline(): Promise<PipelineView> {
    return this.json('/v1/pipeline');
  }

  /** Sends the signal; `group` sends it to all of the process's group, as a terminal does with Ctrl-C. */
  async stop(
    signal: NodeJS.Signals,
    { group = false }: { readonly group?: boolean } = {},
  ): Promise<Ended & { readonly tookMs: number }> {
    const askedAt = performance.now();
    process.kill(group ? -this.pid : this.pid, signal);
    const end = await Promise.race([this.ended, wait(20_000, null, { ref: false })]);
    if (end === null) throw new Error(`It does not stop on ${signal}.\n${this.said()}`);
    return { ...end, tookMs: performance.now() - askedAt };
  }

  said(): string {
    return `stdout:\n${this.stdout.slice(-4_000)}\nstderr:\n${this.stderr.slice(-4_000)}`;
  }

  isRunning(): boolean {
    return this.end === null;
  }
}

/** A process that is just ending refuses connections: what it said is the better error. */
function laterIfUnreachable(error: unknown): null {
  if (error instanceof TypeError && error.message === 'fetch failed') return null;
  throw error;
}

/** The parts of `/v1/pipeline` that are looked at. */
export interface PipelineView {
  readonly lag: number;
  readonly tasks: readonly {
    readonly state: string;
    readonly committedOffset: number;
    readonly endOffset: number;
    readonly records: number;
    readonly alerts: number;
    readonly deadLetters: number;
    readonly checkpoint: { readonly id: string | null; readonly failures: number };
  }[];
  readonly workers: readonly { readonly restarts: number }[];
  readonly projector: { readonly state: string; readonly lag: number } | null;
}

export const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, one) => total + one, 0);

/** What a test file starts and makes; `clear` ends and removes all of it, whatever happened. */
export class Workshop {
  private readonly services: Service[] = [];
  private readonly directories: string[] = [];
  private readonly servers: Server[] = [];

  /** A new directory under the system's one for temporary files. */
  directory(): string {
    const made = mkdtempSync(path.join(tmpdir(), 'fraud-service-'));
    this.directories.push(made);
    return made;
  }

  /** Starts the service with these flags, in a process group of its own. */
  start(flags: readonly string[], { env = {}, cwd = ROOT, npm = false, nodeFlags = [] }: StartOptions = {}): Service {
    makeBuild();
    const [command, ...args] = npm
      ? ['npm', 'start', '--', ...flags]
      : [process.execPath, ...nodeFlags, ENTRY, ...flags];
    const child = spawn(command, args, {
      cwd,
      env: { ...withoutSettings(process.env), FRAUD_API_KEY: API_KEY, ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const service = new Service(child);
    this.services.push(service);
    return service;
  }

  /** Occupies a port on this machine; returns its number. */
  async occupyPort(): Promise<number> {
    const server = createServer();
    this.servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as { port: number }).port;
  }

  /** A port that was free a moment ago. */
  async freePort(): Promise<number> {
    const port = await this.occupyPort();
    await new Promise((resolve) => this.servers.pop()?.close(resolve));
    return port;
  }

  async clear(): Promise<void> {
    for (const service of this.services.splice(0)) {
      if (!service.isRunning()) continue;
      process.kill(-service.pid, 'SIGKILL');
      await service.ended;
    }
    for (const directory of this.directories.splice(0)) {
      for (const { pid } of processesAt(directory)) killIfThere(pid);
      await leftAt(directory, 5_000);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    }
    for (const server of this.servers.splice(0)) server.close();
  }
}

/** Processes whose command line names a path: the service, its Postgres, and whatever else it started. */
export function processesAt(directory: string): readonly { readonly pid: number; readonly command: string }[] {
  return listProcesses().filter(({ pid, command }) => pid !== process.pid && command.includes(directory));
}

/** Waits for the last of them to end; returns those that are still there after `limitMs`. */
export async function leftAt(directory: string, limitMs: number): Promise<readonly string[]> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const left = processesAt(directory).map(({ pid, command }) => `${pid} ${command.slice(0, 200)}`);
    if (left.length === 0 || performance.now() > deadline) return left;
    await wait(POLL_MS);
  }
}

function listProcesses(): { pid: number; command: string }[] {
  if (process.platform !== 'linux') {
    const said = execFileSync('ps', ['-A', '-o', 'pid=,args='], { encoding: 'utf8' });
    return [...said.matchAll(/^\s*(\d+) (.*)$/gm)].map(([, pid, command]) => ({ pid: Number(pid), command }));
  }
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return [{ pid: Number(name), command: readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ') }];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended meanwhile
  }
}

/** Settings of whoever runs the tests are not ours. */
function withoutSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const ours = /^(FRAUD_|PORT$|KAFKA_|DATABASE_URL$|FORCE_COLOR$|NODE_OPTIONS$|npm_)/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !ours.test(name)));
}

let built = false;

function makeBuild(): void {
  if (built) return;
  const newest = Math.max(
    ...['src', 'migrations'].flatMap((folder) =>
      readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
        .map((entry) => statSync(path.join(entry.parentPath, entry.name)).mtimeMs),
    ),
  );
  const builtAt = statSync(ENTRY, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (newest > builtAt) execFileSync('npm', ['run', '-s', 'build'], { cwd: ROOT, timeout: 60_000 });
  built = true;
}
