/** The embedded Postgres: made on first use, and never in its own way after any end of our process. */
import { execFileSync, spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/adapters/postgres/embedded-postgres.js';
import type { StreamError } from '../../src/stream/errors.js';
import { startChild, type TestChild } from '../support/child.js';

const CHILD = path.resolve(import.meta.dirname, 'embedded-postgres.child.ts');

describe('the embedded Postgres', () => {
  let base = '';
  let directory = '';
  let lines: string[] = [];
  let unexpected: StreamError[] = [];
  const started: EmbeddedPostgres[] = [];
  const children: TestChild[] = [];

  const start = async (options: { port?: number; directory?: string } = {}): Promise<EmbeddedPostgres> => {
    const postgres = await startEmbeddedPostgres({
      directory,
      ...options,
      log: (line) => lines.push(line),
      onUnexpectedEnd: (error) => unexpected.push(error),
    });
    started.push(postgres);
    return postgres;
  };
  const query = async (postgres: EmbeddedPostgres, text: string): Promise<Record<string, unknown>[]> => {
    const client = new pg.Client(postgres.url);
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  const childThatWroteARow = async (): Promise<TestChild> => {
    const child = startChild(CHILD, [directory]);
    children.push(child);
    await child.line('started');
    return child;
  };
  const serverPid = async (): Promise<number> =>
    Number((await readFile(path.join(directory, 'cluster', 'postmaster.pid'), 'utf8')).split('\n')[0]);
  const parentOf = (pid: number): number =>
    Number(execFileSync('ps', ['-p', String(pid), '-o', 'ppid='], { encoding: 'utf8' }));
  const isAlive = (pid: number): boolean => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  const endOf = async (pid: number, withinMs: number): Promise<boolean> => {
    for (const deadline = Date.now() + withinMs; Date.now() < deadline; await wait(20)) if (!isAlive(pid)) return true;
    return false;
  };

  beforeEach(async () => {
    base = await mkdtemp(path.join(tmpdir(), 'embedded-postgres-'));
    await chmod(base, 0o711);
    directory = path.join(base, 'postgres');
    lines = [];
    unexpected = [];
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.kill('SIGKILL');
    for (const postgres of started.splice(0)) await postgres.stop();
    const left = await readFile(path.join(directory, 'cluster', 'postmaster.pid'), 'utf8').catch(() => null);
    if (left !== null) await endOf(Number(left.split('\n')[0]), 5_000);
    await rm(base, { recursive: true, force: true });
  });

  it('is made on first use, durable, on 127.0.0.1 alone, its password in a file for us alone', async () => {
    const postgres = await start();
    const [settings] = await query(
      postgres,
      `select version(), current_setting('fsync') fsync, current_setting('listen_addresses') listen,
              current_setting('unix_socket_directories') sockets, current_setting('shared_buffers') buffers`,
    );
    expect(settings).toMatchObject({ fsync: 'on', listen: '127.0.0.1', sockets: '', buffers: '64MB' });
    expect(settings?.version).toMatch(/^PostgreSQL 18/);
    expect((await stat(path.join(directory, 'password'))).mode & 0o777).toBe(0o600);
    const wrong = new pg.Client(postgres.url.replace(/:[^:@]+@/, ':wrong@'));
    await expect(wrong.connect()).rejects.toThrow(/password/);
    expect(lines.join()).not.toContain(new URL(postgres.url).password);
  });

  it('keeps its rows, password and port over a restart', async () => {
    const first = await start();
    await query(first, 'create table kept (x int)');
    await query(first, 'insert into kept values (7)');
    await first.stop();
    const second = await start();
    expect(second.url).toBe(first.url);
    expect(await query(second, 'select x from kept')).toEqual([{ x: 7 }]);
  });

  it.runIf(process.platform === 'linux')(
    'stops within 3 s though a session is open, leaving no process, lock or shared memory',
    async () => {
      const segments = () => execFileSync('ipcs', ['-m'], { encoding: 'utf8' });
      const [memoryBefore, shmBefore] = [segments(), await readdir('/dev/shm')];
      const postgres = await start();
      const pid = await serverPid();
      const client = new pg.Client(postgres.url);
      const cut = new Promise((resolve) => client.on('error', resolve));
      await client.connect();
      await client.query('begin');
      const before = performance.now();
      await postgres.stop();
      expect(performance.now() - before).toBeLessThan(3_000);
      await cut;
      expect(isAlive(pid)).toBe(false);
      expect(await readdir(path.join(directory, 'cluster'))).not.toContain('postmaster.pid');
      expect(segments()).toBe(memoryBefore);
      expect(await readdir('/dev/shm')).toEqual(shmBefore);
      expect(unexpected).toEqual([]);
      await postgres.stop(); // a second time is harmless
    },
  );

  it('leaves our signals and exit alone', async () => {
    const listeners = () => process.eventNames().map((name) => [name, process.listenerCount(name)]);
    const before = listeners();
    await start();
    expect(listeners()).toEqual(before);
  });

  it('ends by itself when our process is killed, and starts again at once with every row', async () => {
    const child = await childThatWroteARow();
    const pid = await serverPid();
    await child.kill('SIGKILL');
    const again = await start();
    expect(await query(again, 'select x from kept')).toEqual([{ x: 1 }]);
    expect(isAlive(pid)).toBe(false);
    await again.stop();
    const second = await childThatWroteARow();
    const secondPid = await serverPid();
    await second.kill('SIGKILL');
    expect(await endOf(secondPid, 3_000)).toBe(true); // nobody started anything
  });

  it('ends when our process ends without stopping it, and does not hold it up', async () => {
    const child = startChild(CHILD, [directory, 'end']);
    children.push(child);
    await child.line('started');
    const pid = await serverPid();
    await new Promise((resolve) => child.process.once('exit', resolve));
    expect(await endOf(pid, 3_000)).toBe(true);
  });

  it('stops a server that outlived both our process and its keeper, and starts again with every row', async () => {
    const child = await childThatWroteARow();
    const pid = await serverPid();
    process.kill(parentOf(pid), 'SIGSTOP'); // the keeper's watcher is its child and goes on; so:
    for (const watcher of execFileSync('pgrep', ['-P', String(parentOf(pid))], { encoding: 'utf8' }).split('\n')) {
      if (watcher !== '' && Number(watcher) !== pid) process.kill(Number(watcher), 'SIGKILL');
    }
    process.kill(parentOf(pid), 'SIGKILL');
    await child.kill('SIGKILL');
    await wait(300);
    expect(isAlive(pid)).toBe(true);
    const again = await start();
    expect(lines.join('\n')).toContain(`pid ${pid}`);
    expect(await query(again, 'select x from kept')).toEqual([{ x: 1 }]);
  });

  it('starts after the server itself was killed, and told us that it was', async () => {
    const postgres = await start();
    await query(postgres, 'create table kept (x int)');
    process.kill(await serverPid(), 'SIGKILL');
    for (let i = 0; i < 100 && unexpected.length === 0; i++) await wait(20);
    expect(unexpected).toHaveLength(1);
    expect(unexpected[0]?.code).toBe('embedded-postgres-failed');
    expect(await query(await start(), 'select x from kept')).toEqual([]);
  });

  it('starts though the lock file left behind names a process that is not ours, and leaves that one alone', async () => {
    const postgres = await start();
    const lock = path.join(directory, 'cluster', 'postmaster.pid');
    const text = await readFile(lock, 'utf8');
    await postgres.stop();
    const stranger = spawn('sleep', ['60']);
    try {
      await writeFile(lock, text.replace(/^\d+/, String(stranger.pid)));
      await start();
      expect(stranger.exitCode).toBeNull();
      expect(stranger.signalCode).toBeNull();
    } finally {
      stranger.kill('SIGKILL');
    }
  });

  it('makes the cluster anew when the first run was killed in the middle of making it', async () => {
    await mkdir(path.join(directory, 'cluster.new', 'base'), { recursive: true });
    await writeFile(path.join(directory, 'cluster.new', 'PG_VERSION'), '18');
    expect(await query(await start(), 'select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('moves to another port when the remembered one is taken, and refuses one that was asked for', async () => {
    const postgres = await start();
    const { port } = postgres;
    await postgres.stop();
    const other: Server = createServer();
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
    try {
      await expect(start({ port })).rejects.toMatchObject({ code: 'embedded-postgres-port' });
      const moved = await start();
      expect(moved.port).not.toBe(port);
      expect(await query(moved, 'select 1 as one')).toEqual([{ one: 1 }]);
    } finally {
      other.close();
    }
  });

  it('listens on the port asked for', async () => {
    expect((await start({ port: 15_433 })).port).toBe(15_433);
  });

  it("says in Postgres' own words why it does not start", async () => {
    await (await start()).stop();
    await writeFile(path.join(directory, 'cluster', 'PG_VERSION'), '12\n');
    await expect(start()).rejects.toThrow(/version 12|not compatible/);
  });

  it.runIf(process.getuid?.() === 0)('runs below a directory that only root may enter', async () => {
    const closed = path.join(base, 'closed');
    await mkdir(closed, { mode: 0o700 });
    const postgres = await start({ directory: path.join(closed, 'postgres') });
    expect(await query(postgres, 'select 1 as one')).toEqual([{ one: 1 }]);
    await postgres.stop();
  });
});
