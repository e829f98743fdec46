/** How the service ends: through npm as people start it, in the middle of a start, and when a part of it dies. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { caughtUp } from './outcome.js';
import { BUSY_DEMO, leftAt, type Service, STOP_LIMIT_MS, sum, Workshop } from './service.js';
import { readAlertIds } from './topic-contents.js';
import { WorkerStrike } from './worker-strike.js';

const workshop = new Workshop();
afterEach(() => workshop.clear());

const flagsFor = (directory: string) => [`--data-dir=${directory}`, '--port=0', ...BUSY_DEMO];

describe('the service started with npm start', () => {
  const ways = [
    ['Ctrl-C in the terminal, which reaches npm and all it started', 'SIGINT', true],
    ['SIGTERM to npm alone', 'SIGTERM', false],
    ['SIGTERM to the whole group', 'SIGTERM', true],
  ] as const;
  for (const [way, signal, group] of ways) {
    it(`stops cleanly on ${way}`, async () => {
      const directory = workshop.directory();
      const service = workshop.start(flagsFor(directory), { npm: true });
      await service.up();
      const end = await service.stop(signal, { group });
      // A shell that stays between npm and the service ends by the signal, and npm does as it did.
      expect([0, signal], service.said()).toContain(end.code ?? end.signal);
      expect(end.tookMs).toBeLessThan(STOP_LIMIT_MS);
      expect(service.lastLine).toMatch(/^stopped in \d\.\d s, nothing pending$/);
      expect(await leftAt(directory, 1_000)).toEqual([]);
    });
  }
});

describe('the service asked to stop twice', () => {
  it('takes signals in quick succession for one: npm passes on what the terminal has sent already', async () => {
    const directory = workshop.directory();
    const service = workshop.start(flagsFor(directory));
    await service.up();
    process.kill(service.pid, 'SIGINT'); // another one than the next, or the kernel would make one of both
    const { code } = await service.stop('SIGTERM');
    expect(code, service.said()).toBe(0);
    expect(service.lastLine).toMatch(/^stopped in \d\.\d s, nothing pending$/);
  });

  it('ends at once where the first time is taking long', async () => {
    const directory = workshop.directory();
    // A broker that takes connections and never says anything holds the start up.
    const kafka = `--kafka=127.0.0.1:${await workshop.occupyPort()}`;
    const service = workshop.start([`--data-dir=${directory}`, '--port=0', '--no-demo', kafka]);
    await service.until('it is at work', () => existsSync(path.join(directory, 'state', 'group-instance-id')));
    process.kill(service.pid, 'SIGINT');
    await service.line(/^stopping: SIGINT/);
    await wait(1_050);
    const { signal, tookMs } = await service.stop('SIGINT');
    expect(signal, service.said()).toBe('SIGKILL');
    // Less than the start's grace by far, and room for a busy machine.
    expect(tookMs).toBeLessThan(900);
    expect(service.stderr).toContain('ended at once');
    expect(await leftAt(directory, 1_000)).toEqual([]);
  });
});

describe('the service asked to stop while it starts', () => {
  it('stops at whatever it is at, and starts again afterwards', async () => {
    const directory = workshop.directory();
    for (const afterMs of [50, 400, 1_000]) {
      const service = workshop.start(flagsFor(directory));
      await service.line(/./);
      await wait(afterMs);
      const { code, tookMs } = await service.stop('SIGTERM');
      expect(code, service.said()).toBe(0);
      expect(tookMs).toBeLessThan(STOP_LIMIT_MS);
      expect(service.lastLine).toMatch(/^stopped in/);
      expect(await leftAt(directory, 1_000)).toEqual([]);
    }
    const last = workshop.start(flagsFor(directory));
    await last.up();
    expect((await last.stop('SIGTERM')).code).toBe(0);
  });

  it('does not wait for a database that never answers', async () => {
    const directory = workshop.directory();
    const port = await workshop.freePort();
    const service = workshop.start(flagsFor(directory), {
      env: { DATABASE_URL: `postgres://fraud@127.0.0.1:${port}/fraud` },
    });
    await service.line(/^embedded log: ready/);
    await wait(500);
    const { code, tookMs } = await service.stop('SIGINT');
    expect(code, service.said()).toBe(0);
    expect(tookMs).toBeLessThan(STOP_LIMIT_MS);
  });
});

describe('the service when a part of it dies', () => {
  it('starts a worker thread again that died, and loses and doubles nothing', async () => {
    const directory = workshop.directory();
    const service = workshop.start(flagsFor(directory), { nodeFlags: ['--inspect=127.0.0.1:0'] });
    await service.up();
    const strike = await WorkerStrike.open(await inspectorOf(service));
    await service.until('payments', async () => (await service.pipeline()).tasks.some(({ records }) => records > 50));
    await strike.throwInWorker(0);
    await service.line(/worker \d died .*struck by a test/);
    const offsets = async () => (await service.pipeline()).tasks.map(({ committedOffset }) => committedOffset);
    const before = await offsets();
    await service.until('both tasks go on', async () =>
      (await offsets()).every((offset, task) => offset > (before[task] ?? 0) + 50),
    );
    const { workers } = await service.pipeline();
    expect(workers.map(({ restarts }) => restarts).sort()).toEqual([0, 1]);
    strike.close();
    expect((await service.stop('SIGTERM')).code, service.said()).toBe(0);
    const ids = await readAlertIds(directory);
    expect(new Set(ids).size).toBe(ids.length);
    const quiet = workshop.start([...flagsFor(directory), '--no-demo']);
    await caughtUp(quiet);
    expect((await quiet.stop('SIGTERM')).code).toBe(0);
  });

  it('ends with code 1 and the reason when a worker dies again and again', async () => {
    const directory = workshop.directory();
    const flags = ['--roles=detector', '--workers=1', ...flagsFor(directory)];
    const service = workshop.start(flags, { nodeFlags: ['--inspect=127.0.0.1:0'] });
    await service.up();
    const strike = await WorkerStrike.open(await inspectorOf(service));
    const offset = async () => sum((await service.pipeline()).tasks.map(({ committedOffset }) => committedOffset));
    for (let death = 0; death < 6; death++) {
      const before = await offset();
      await service.until('it works (again)', async () => (await offset()) > before);
      await strike.throwInWorker(death);
    }
    await service.line(/^stopped in /);
    strike.close(); // Node waits for its debuggers to leave
    const { code } = await service.ended;
    expect(code, service.said()).toBe(1);
    expect(service.stderr).toMatch(/^fraud: worker 0 died 6 times within a minute, last: .*struck by a test/m);
    expect(await leftAt(directory, 1_000)).toEqual([]);
  }, 120_000);

  it('ends with code 1 and says so when its Postgres dies', async () => {
    const directory = workshop.directory();
    const service = workshop.start(flagsFor(directory));
    await service.up();
    const [pid] = readFileSync(`${directory}/postgres/cluster/postmaster.pid`, 'utf8').split('\n');
    process.kill(Number(pid), 'SIGKILL');
    const { code } = await service.ended;
    expect(code).toBe(1);
    expect(service.stderr).toMatch(/^fraud: .*Postgres.*\(embedded-postgres-failed\)$/ms);
    expect(service.stderr).not.toMatch(/^ {4}at /m);
    expect(await leftAt(directory, 5_000)).toEqual([]);
  });

  it('ends with code 1 and says so when its data directory is taken away', async () => {
    const directory = workshop.directory();
    const data = `${directory}/data`;
    const service = workshop.start(['--roles=detector', '--no-demo', `--data-dir=${data}`, '--port=0']);
    await service.up();
    rmSync(data, { recursive: true, force: true, maxRetries: 5 });
    const { code } = await service.ended;
    expect(code).toBe(1);
    expect(service.stderr).toContain('(data-directory-lost)');
  });
});

async function inspectorOf(service: Service): Promise<string> {
  return service.until('the inspector', () => service.stderr.match(/ws:\/\/\S+/)?.[0]);
}
