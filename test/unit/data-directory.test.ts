/** The data directory: ours, ours alone, of a known layout, not full, and never more removed than we made. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DataDirectory, openDataDirectory } from '../../src/app/data-directory.js';
import type { StreamError } from '../../src/stream/errors.js';
import { startChild, type TestChild, typescriptFlags } from '../support/child.js';

const CHILD = path.resolve(import.meta.dirname, 'data-directory.child.ts');

describe('the data directory', () => {
  let base = '';
  let place = '';
  const opened: DataDirectory[] = [];
  const children: TestChild[] = [];
  const open = async (options: Parameters<typeof openDataDirectory>[1] = {}): Promise<DataDirectory> => {
    const directory = await openDataDirectory(place, { minimumFreeBytes: 0, ...options });
    opened.push(directory);
    return directory;
  };
  const child = (): TestChild => {
    const started = startChild(CHILD, [place]);
    children.push(started);
    return started;
  };
  const lockFiles = async (): Promise<string[]> => (await readdir(place)).filter((name) => name.startsWith('lock-'));
  const marker = (): string => path.join(place, 'data-directory.json');

  beforeEach(async () => {
    base = await mkdtemp(path.join(tmpdir(), 'data-directory-'));
    place = path.join(base, 'deep', 'data');
  });
  afterEach(async () => {
    for (const one of children.splice(0)) await one.kill('SIGKILL');
    for (const one of opened.splice(0)) await one.close();
    await rm(base, { recursive: true, force: true });
  });

  it('is made with its parents, and found again with what it holds', async () => {
    const first = await open();
    const state = await first.subdirectory('state');
    expect(state).toBe(path.join(place, 'state'));
    await writeFile(path.join(state, 'kept'), 'x');
    await first.close();
    const second = await open();
    expect(await readFile(path.join(await second.subdirectory('state'), 'kept'), 'utf8')).toBe('x');
  });

  it('lets nobody but its owner list it or enter a subdirectory', async () => {
    const directory = await open();
    expect((await stat(place)).mode & 0o777).toBe(0o711);
    expect((await stat(await directory.subdirectory('state'))).mode & 0o777).toBe(0o700);
  });

  it('refuses names that leave it or hit its own files', async () => {
    const directory = await open();
    for (const name of ['..', '', 'a/b', 'data-directory.json', 'lock-000000001', '.hidden', 'Ä']) {
      expect(() => directory.subdirectory(name)).toThrow(expect.objectContaining({ code: 'data-directory-name' }));
    }
  });

  it('is refused to a second process, which is told the pid of the first', async () => {
    await open();
    const second = child();
    expect(await second.line('refused')).toBe('refused data-directory-locked');
    const holder = startChild(CHILD, [path.join(base, 'other')]);
    children.push(holder);
    await holder.line('opened');
    const refused = openDataDirectory(path.join(base, 'other'));
    await expect(refused).rejects.toThrow(new RegExp(`process ${holder.process.pid} `));
  });

  it('is refused to the same process a second time', async () => {
    await open();
    await expect(open()).rejects.toMatchObject({ code: 'data-directory-locked' });
  });

  it('is free again after close', async () => {
    for (let round = 0; round < 3; round++) await (await open()).close();
    expect(await lockFiles()).toEqual([]);
  });

  it.runIf(process.platform === 'linux')('is free at once when its process was killed', async () => {
    const killed = child();
    await killed.line('opened');
    await killed.kill('SIGKILL');
    const before = performance.now();
    await open();
    expect(performance.now() - before).toBeLessThan(500);
    expect(await lockFiles()).toHaveLength(1);
  });

  it.runIf(process.platform === 'linux')('is free when its process was killed and nobody has reaped it', async () => {
    // `sleep` takes the shell's place and its child, and never asks for the child's end: so it stays a zombie
    const script = '"$@" & exec sleep 60';
    const parent = spawn('sh', ['-c', script, 'sh', process.execPath, ...typescriptFlags, CHILD, place]);
    try {
      await new Promise((resolve) => parent.stdout.once('data', resolve));
      const [name = ''] = await lockFiles();
      const { pid } = JSON.parse(await readFile(path.join(place, name), 'utf8'));
      process.kill(pid, 'SIGKILL');
      while (!/\) Z /.test(await readFile(`/proc/${pid}/stat`, 'utf8'))) await new Promise((r) => setTimeout(r, 10));
      await open();
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('falls to exactly one of many that start at once after a kill', async () => {
    const killed = child();
    await killed.line('opened');
    await killed.kill('SIGKILL');
    const attempts = await Promise.allSettled(Array.from({ length: 12 }, () => open()));
    expect(attempts.filter((attempt) => attempt.status === 'fulfilled')).toHaveLength(1);
    for (const attempt of attempts) {
      if (attempt.status === 'rejected') expect(attempt.reason).toMatchObject({ code: 'data-directory-locked' });
    }
  });

  it.runIf(process.platform === 'linux')('is not held by a process that has only the number of its owner', async () => {
    await (await open()).close();
    const held = await open();
    const [name = ''] = await lockFiles();
    const owner = JSON.parse(await readFile(path.join(place, name), 'utf8'));
    await held.close();
    await writeFile(path.join(place, name), JSON.stringify({ ...owner, startedTicks: '1' }));
    await open();
  });

  it('waits for the heart of an owner elsewhere: refuses while it beats, takes over when it has stopped', async () => {
    const held = await open();
    const [name = ''] = await lockFiles();
    const file = path.join(place, name);
    const owner = JSON.parse(await readFile(file, 'utf8'));
    await held.close();
    await writeFile(file, JSON.stringify({ ...owner, host: 'elsewhere', kernel: 'another', pid: 1 }));
    const heart = setInterval(() => void utimes(file, new Date(), new Date()), 200);
    try {
      await expect(open()).rejects.toThrow(/process 1 on elsewhere/);
    } finally {
      clearInterval(heart);
    }
    await open();
  });

  it('says that it was taken away while it is held', async () => {
    let tell: (error: StreamError) => void = () => undefined;
    const lost = new Promise<StreamError>((resolve) => {
      tell = resolve;
    });
    await open({ onLost: tell });
    await rm(place, { recursive: true });
    expect((await lost).code).toBe('data-directory-lost');
  });

  it('refuses a directory with files of others, and writes nothing into it', async () => {
    await mkdir(place, { recursive: true });
    await writeFile(path.join(place, 'thesis.txt'), 'x');
    const refused = open();
    await expect(refused).rejects.toMatchObject({ code: 'data-directory-foreign' });
    await expect(refused).rejects.toThrow(/thesis\.txt/);
    expect(await readdir(place)).toEqual(['thesis.txt']);
  });

  it('takes an empty volume as file systems make it', async () => {
    await mkdir(path.join(place, 'lost+found'), { recursive: true });
    await open();
  });

  it('wipes what it made and nothing else', async () => {
    const outside = path.join(base, 'outside');
    await mkdir(outside);
    await writeFile(path.join(outside, 'precious'), 'x');
    const first = await open();
    await writeFile(path.join(await first.subdirectory('state'), 'file'), 'x');
    await writeFile(path.join(place, 'note.txt'), 'mine');
    await mkdir(path.join(place, 'my-own'));
    await first.subdirectory('linked');
    await rm(path.join(place, 'linked'), { recursive: true });
    await symlink(outside, path.join(place, 'linked'));
    await first.close();
    const again = await open(); // the names of an earlier run count too
    await again.wipe();
    const left = (await readdir(place)).filter((name) => !name.startsWith('lock-'));
    expect(left.sort()).toEqual(['data-directory.json', 'my-own', 'note.txt']);
    expect(await readdir(outside)).toEqual(['precious']);
    expect(await readdir(await again.subdirectory('state'))).toEqual([]);
  });

  it('refuses a layout of a later version, and says which it reads', async () => {
    await (await open()).close();
    await writeFile(marker(), (await readFile(marker(), 'utf8')).replace('"format": 1', '"format": 2'));
    const refused = open();
    await expect(refused).rejects.toMatchObject({ code: 'data-directory-format' });
    await expect(refused).rejects.toThrow(/layout 2.*layout 1/);
    expect(await lockFiles()).toEqual([]);
  });

  it('refuses a damaged marker instead of beginning anew', async () => {
    await (await open()).close();
    await writeFile(marker(), '{');
    await expect(open()).rejects.toMatchObject({ code: 'data-directory-format' });
  });

  it('refuses to start on a nearly full disk, says how much is missing, and gives the lock back', async () => {
    const refused = open({ minimumFreeBytes: 2 ** 60 });
    await expect(refused).rejects.toMatchObject({ code: 'data-directory-full' });
    await expect(refused).rejects.toThrow(/MiB free/);
    const directory = await open();
    expect(await directory.freeBytes()).toBeGreaterThan(0);
  });

  it.each([
    [
      'a file',
      async () => {
        await mkdir(path.dirname(place), { recursive: true });
        await writeFile(place, '');
      },
    ],
    ['below a file', async () => writeFile(path.join(base, 'deep'), '')],
  ])('says that it cannot be used where it is %s', async (_, prepare) => {
    await prepare();
    const refused = open();
    await expect(refused).rejects.toMatchObject({ code: 'data-directory-unwritable' });
    await expect(refused).rejects.toThrow(place);
  });

  it.runIf(process.platform === 'linux')(
    'says that it cannot be used on a file system that takes no files',
    async () => {
      place = '/proc/1/task/data';
      await expect(open()).rejects.toMatchObject({ code: 'data-directory-unwritable' });
    },
  );
});
