/** The RocksDB store keeps the contract; beside it what only it can promise: kill -9, locks, damage, threads. */
import {
  appendFile,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  rm,
  stat,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyLive, opensWhole } from '../../src/adapters/rocksdb/live-copy.js';
import { rocksDbStateStore } from '../../src/adapters/rocksdb/rocksdb-state-store.js';
import { CorruptDataError } from '../../src/stream/errors.js';
import type { StateStore } from '../../src/stream/ports.js';
import { startChild, type TestChild, typescriptFlags } from '../support/child.js';
import { describeStateStore } from './state-store.contract.js';

const open = rocksDbStateStore({ writeBufferBytes: 1024 * 1024 });
const WRITER = path.resolve(import.meta.dirname, 'state-store-writer.child.ts');
const writerKeys = Array.from({ length: 50 }, (_, i) => Buffer.from(`key-${i}`));
const entries = (count: number, fill: number) =>
  Array.from({ length: count }, (_, i) => ({ key: Buffer.from(`key-${i}`), value: Buffer.alloc(300, fill) }));

describeStateStore('RocksDB', rocksDbStateStore({ writeBufferBytes: 4 * 1024 * 1024 }));
describeStateStore('RocksDB that flushes before each snapshot', rocksDbStateStore({ snapshotFlushBytes: -1 }));
describeStateStore('RocksDB that is suspended for each snapshot', rocksDbStateStore({ liveCopyAttempts: 0 }));

describe('the RocksDB store', () => {
  let base = '';
  const stores: StateStore[] = [];
  const children: TestChild[] = [];
  const openAt = async (name: string): Promise<StateStore> => {
    const store = await open(path.join(base, name));
    stores.push(store);
    return store;
  };
  const startWriter = (name: string, batches: number): TestChild => {
    const child = startChild(WRITER, [path.join(base, name), String(batches)]);
    children.push(child);
    return child;
  };
  /** The one generation that all keys of the writer show, or those found where it is torn. */
  const generations = async (store: StateStore): Promise<number[]> => {
    const values = await store.getMany(writerKeys);
    return [...new Set(values.map((v) => (v === null ? 0 : Buffer.from(v).readUInt32LE(0))))];
  };

  beforeEach(async () => {
    base = await mkdtemp(path.join(tmpdir(), 'rocksdb-'));
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await child.kill('SIGKILL');
    for (const store of stores.splice(0)) await store.close();
    await rm(base, { recursive: true, force: true });
  });

  it('loses no acknowledged batch and tears none when its process is killed, three times over', async () => {
    for (const afterGeneration of [20, 150, 400]) {
      const child = startWriter('task-0', 1_000_000);
      await child.line(`acknowledged ${afterGeneration}`);
      await child.kill('SIGKILL');
      const acknowledged = Number(child.lines.at(-1)?.split(' ')[1]);
      const store = await openAt('task-0');
      const found = await generations(store);
      expect(found).toHaveLength(1);
      expect(found[0]).toBeGreaterThanOrEqual(acknowledged);
      await store.close();
    }
  });

  it('refuses a directory that another process has open, and opens it at once when that one is killed', async () => {
    const child = startWriter('task-0', 1);
    await child.line('acknowledged 1');
    const refused = openAt('task-0');
    await expect(refused).rejects.toMatchObject({ code: 'state-store-locked' });
    await expect(refused).rejects.toThrow(path.join(base, 'task-0'));
    await child.kill('SIGKILL');
    expect(await generations(await openAt('task-0'))).toEqual([1]);
  });

  it('refuses a directory that is open in the same process', async () => {
    await openAt('task-0');
    await expect(openAt('task-0')).rejects.toMatchObject({ code: 'state-store-locked' });
  });

  it('works in worker threads, and gives the directory free when a thread is terminated in mid-write', async () => {
    const options = { execArgv: [...typescriptFlags] };
    const workers = ['task-0', 'task-1'].map(
      (name) => new Worker(WRITER, { ...options, workerData: [path.join(base, name), 1_000_000] }),
    );
    await Promise.all(
      workers.map(
        (worker) =>
          new Promise<void>((resolve, reject) => {
            worker.once('error', reject);
            worker.on('message', (line) => line === 'acknowledged 100' && resolve());
          }),
      ),
    );
    await Promise.all(workers.map((worker) => worker.terminate()));
    for (const name of ['task-0', 'task-1']) {
      const found = await generations(await openAt(name));
      // What the thread was writing when it ended came from memory that went with it: owners of such a store build it anew.
      expect(Math.max(...found)).toBeGreaterThanOrEqual(100);
    }
  });

  it('links table files into a snapshot and leaves its own lock and diary behind', async () => {
    const store = await openAt('task-0');
    // Tables are written in the background, and belong to a snapshot once they are complete: so many tries as it takes.
    let copy = '';
    let names: string[] = [];
    const tablesOf = () => names.filter((name) => name.endsWith('.sst'));
    for (let attempt = 0; attempt < 50 && tablesOf().length === 0; attempt++) {
      for (let round = 0; round < 8; round++) await store.writeBatch(entries(1_000, attempt * 8 + round));
      copy = `copy-${attempt}`;
      await store.snapshot(path.join(base, copy));
      names = await readdir(path.join(base, copy));
    }
    const tables = tablesOf();
    expect(tables.length).toBeGreaterThan(0);
    for (const table of tables) {
      const [own, copied] = await Promise.all(['task-0', copy].map((d) => stat(path.join(base, d, table))));
      expect(copied?.ino).toBe(own?.ino);
    }
    expect(names).not.toContain('LOCK');
    expect(names).not.toContain('LOG');
  });

  it('takes whole snapshots while compactions move every file', async () => {
    const busy = rocksDbStateStore({ writeBufferBytes: 256 * 1024, snapshotFlushBytes: 64 * 1024 });
    const store = await busy(path.join(base, 'busy'));
    stores.push(store);
    const fillKey = (i: number): Buffer => Buffer.from(String((i * 7919) % 10_007).padStart(6, '0'));
    let written = 0;
    let stop = false;
    const writer = (async () => {
      while (!stop) {
        const from = written;
        const batch = Array.from({ length: 200 }, (_, i) => ({
          key: fillKey(from + i),
          value: Buffer.alloc(300, from + i),
        }));
        await store.writeBatch([...batch, { key: Buffer.from('written'), value: Buffer.from(String(from + 200)) }]);
        written = from + 200;
      }
    })();
    try {
      for (let round = 0; round < 10; round++) {
        await wait(100);
        const before = written;
        await store.snapshot(path.join(base, `copy-${round}`));
        const copy = await openAt(`copy-${round}`);
        const [mark] = await copy.getMany([Buffer.from('written')]);
        const upTo = Number(Buffer.from(mark ?? '').toString());
        expect(upTo).toBeGreaterThanOrEqual(before);
        // the newest value of each of the last 10,007 keys written, which are all different
        const last = Array.from({ length: Math.min(upTo, 10_007) }, (_, i) => upTo - 1 - i);
        const values = await copy.getMany(last.map(fillKey));
        expect(values.filter((value, i) => value?.length !== 300 || value[7] !== ((last[i] ?? 0) & 0xff))).toEqual([]);
        await copy.close();
      }
    } finally {
      stop = true;
      await writer;
    }
    expect(written).toBeGreaterThan(20_000);
  });

  it.each([
    ['the set of tables', ' 12:4[1 .. 2]\n', ' 12:4[1 .. 2]\n 13:0[3 .. 4]\n', ''],
    ['the manifest', ' 12:4[1 .. 2]\n', ' 12:4[1 .. 2]\n', 'more'],
  ])('drops a live copy if %s changed while it was made', async (_, before, after, appended) => {
    const [source, target] = [path.join(base, 'source'), path.join(base, 'target')];
    await Promise.all([mkdir(source), mkdir(target)]);
    const files = {
      CURRENT: 'MANIFEST-000005\n',
      'MANIFEST-000005': 'edits',
      '000012.sst': 'four',
      '000014.log': 'log',
    };
    for (const [name, content] of Object.entries(files)) await writeFile(path.join(source, name), content);
    const answers = [before, '4', after, '4'];
    const native = {
      getProperty: async () => {
        if (answers.length === 2) await appendFile(path.join(source, 'MANIFEST-000005'), appended);
        return answers.shift() ?? null;
      },
    };
    expect(await copyLive(native, source, target)).toBe(false);
    expect(await readdir(target)).toEqual([]);
    answers.push(after, '4', after, '4');
    await appendFile(path.join(source, '000013.sst'), '');
    expect(await copyLive({ getProperty: async () => answers.shift() ?? null }, source, target)).toBe(true);
    expect((await readdir(target)).sort()).toEqual(expect.arrayContaining(Object.keys(files).sort()));
  });

  it('keeps no copy that lacks a table, and leaves no trace of having looked', async () => {
    const store = await openAt('task-0');
    for (let round = 0; round < 8; round++) await store.writeBatch(entries(1_000, round));
    const copy = path.join(base, 'copy');
    await store.snapshot(copy);
    const before = await readdir(copy);
    expect(await opensWhole(copy)).toBe(true);
    expect(await readdir(copy)).toEqual(before);
    await unlink(path.join(copy, before.find((name) => name.endsWith('.sst')) ?? ''));
    expect(await opensWhole(copy)).toBe(false);
  });

  it('goes on after a snapshot that failed, and leaves nothing of it', async () => {
    const store = await openAt('task-0');
    await store.writeBatch(entries(100, 1));
    await writeFile(path.join(base, 'a-file'), '');
    await expect(store.snapshot(path.join(base, 'a-file', 'copy'))).rejects.toMatchObject({
      code: 'state-store-failed',
    });
    await store.writeBatch(entries(100, 2));
    await store.snapshot(path.join(base, 'copy'));
    expect((await store.getMany([Buffer.from('key-5')]))[0]?.[0]).toBe(2);
  });

  it('finishes a snapshot and refuses scans under way when it is closed', async () => {
    const store = await openAt('task-0');
    await store.writeBatch(entries(5_000, 1));
    const scan = store.scan(new Uint8Array(0))[Symbol.asyncIterator]();
    await scan.next();
    const snapshot = store.snapshot(path.join(base, 'copy'));
    await store.close();
    await snapshot;
    const copy = await openAt('copy');
    expect((await copy.getMany([Buffer.from('key-4999')]))[0]).toHaveLength(300);
    const rest = async () => {
      for (let more = await scan.next(); !more.done; more = await scan.next());
    };
    await expect(rest()).rejects.toMatchObject({ code: 'state-store-closed' });
  });

  describe('whose files are damaged', () => {
    /** Keys written before all others, so that they lie in table files and no longer in the write-ahead log. */
    const oldKey = (i: number): Buffer => Buffer.from(`old-${i}`);
    /** Directory `name` holds a closed store with table files. */
    const damagedStore = async (name: string, damage: (directory: string, names: string[]) => Promise<void>) => {
      const store = await openAt('sound');
      await store.writeBatch(Array.from({ length: 1_000 }, (_, i) => ({ key: oldKey(i), value: Buffer.alloc(300) })));
      for (let round = 0; round < 8; round++) await store.writeBatch(entries(1_000, round));
      await store.close();
      const directory = path.join(base, name);
      await cp(path.join(base, 'sound'), directory, { recursive: true });
      await damage(directory, await readdir(directory));
      return directory;
    };
    const only = (names: string[], end: RegExp): string => {
      const found = names.find((name) => end.test(name));
      if (found === undefined) throw new Error(`no ${end} among ${names}`);
      return found;
    };

    it.each<[string, (directory: string, names: string[]) => Promise<void>]>([
      ['a manifest of other bytes', (d, n) => writeFile(path.join(d, only(n, /^MANIFEST/)), 'not a manifest')],
      ['a manifest cut short', (d, n) => truncate(path.join(d, only(n, /^MANIFEST/)), 10)],
      ['a table file missing', (d, n) => unlink(path.join(d, only(n, /\.sst$/)))],
      ['CURRENT missing', (d) => unlink(path.join(d, 'CURRENT'))],
      ['CURRENT empty', (d) => writeFile(path.join(d, 'CURRENT'), '')],
    ])('says so on opening: %s', async (_, damage) => {
      const directory = await damagedStore('damaged', damage);
      const refused = openAt('damaged');
      await expect(refused).rejects.toBeInstanceOf(CorruptDataError);
      await expect(refused).rejects.toThrow(directory);
      await expect(refused).rejects.toThrow(/Move the directory away/);
    });

    it('says so on reading a block of other bytes, and never gives a wrong value', async () => {
      await damagedStore('damaged', async (directory, names) => {
        for (const table of names.filter((name) => name.endsWith('.sst'))) {
          const file = await openFile(path.join(directory, table), 'r+');
          const { size } = await file.stat();
          // many data blocks, not the index and footer at the end: those would be noticed on opening already
          for (let at = 0; at < size * 0.8; at += 16_384) await file.write(Buffer.alloc(64, 9), 0, 64, at);
          await file.close();
        }
      });
      const store = await openAt('damaged');
      const keys = Array.from({ length: 1_000 }, (_, i) => oldKey(i));
      await expect(store.getMany(keys)).rejects.toBeInstanceOf(CorruptDataError);
    });
  });

  it('says what is wrong where the directory is a file', async () => {
    await copyFile(WRITER, path.join(base, 'task-0'));
    await expect(openAt('task-0')).rejects.toMatchObject({ code: 'state-store-failed' });
  });
});
