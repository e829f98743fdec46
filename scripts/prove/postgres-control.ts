/**
 * Owns a Postgres of the proof's own, from the binaries that come with the project, which can be ended the hard ways and
 * started again on what it left. Services are given its address like any other database's.
 * Neighbours: `src/adapters/postgres/embedded-postgres.ts` prepares and starts it, `nemeses/` ends it.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEmbeddedPostgres } from '../../src/adapters/postgres/embedded-postgres.js';
import type { PostgresControl } from './nemeses/nemesis.js';

export interface PostgresOptions {
  readonly directory: string;
  readonly port: number;
}

const END_MS = 15_000;
const POLL_MS = 20;

export class OwnPostgres implements PostgresControl {
  private stopOrderly: (() => Promise<void>) | null = null;
  private paused: readonly number[] = [];

  private constructor(
    private readonly options: PostgresOptions,
    readonly url: string,
  ) {}

  /** Prepares it where needed, and starts it. */
  static async open(options: PostgresOptions): Promise<OwnPostgres> {
    const { url, stop } = await run(options);
    const postgres = new OwnPostgres(options, url);
    postgres.stopOrderly = stop;
    return postgres;
  }

  async start(): Promise<void> {
    if (this.stopOrderly !== null) return;
    this.stopOrderly = (await run(this.options)).stop;
  }

  async stopAtOnce(): Promise<void> {
    const [server] = await this.processes();
    if (server !== undefined) await this.end([server], 'SIGQUIT');
  }

  async kill(): Promise<void> {
    await this.end(await this.processes(), 'SIGKILL');
  }

  async pause(): Promise<void> {
    this.paused = await this.processes();
    for (const pid of this.paused) signal(pid, 'SIGSTOP');
  }

  async resume(): Promise<void> {
    for (const pid of this.paused) signal(pid, 'SIGCONT');
    this.paused = [];
  }

  async close(): Promise<void> {
    await this.resume();
    await this.stopOrderly?.();
    this.stopOrderly = null;
  }

  private async end(pids: readonly number[], how: NodeJS.Signals): Promise<void> {
    const all = await this.processes();
    for (const pid of pids) signal(pid, how);
    this.stopOrderly = null;
    this.paused = [];
    const deadline = Date.now() + END_MS;
    // All of them: the next server is refused while a session of the old one holds its memory.
    while ((await Promise.all(all.map(isAlive))).includes(true)) {
      if (Date.now() > deadline) throw new Error(`Postgres did not end within ${END_MS} ms of ${how}`);
      await sleep(POLL_MS);
    }
  }

  /** The server first, then its children; empty where it does not run. */
  private async processes(): Promise<readonly number[]> {
    if (this.stopOrderly === null) return [];
    const lock = await readFile(join(this.options.directory, 'cluster', 'postmaster.pid'), 'utf8');
    const server = Number(lock.split('\n')[0]);
    const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger);
    const parents = await Promise.all(pids.map(parentOf));
    return [server, ...pids.filter((_, index) => parents[index] === server)];
  }
}

async function run({ directory, port }: PostgresOptions) {
  // Ending is what this is for: whoever uses the database is to notice.
  return startEmbeddedPostgres({ directory, port, log: () => {}, onUnexpectedEnd: () => {} });
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    // A child that ended meanwhile is well.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Null where there is no such process. */
async function parentOf(pid: number): Promise<number | null> {
  const stat = await statOf(pid);
  return stat === null ? null : Number(stat[1]);
}

async function isAlive(pid: number): Promise<boolean> {
  const stat = await statOf(pid);
  return stat !== null && stat[0] !== 'Z';
}

/** State and parent: what follows the command's name, which may hold anything, in parentheses. */
async function statOf(pid: number): Promise<readonly string[] | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')) return null;
    throw error;
  }
}
