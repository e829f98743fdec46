/** The directory snapshot store keeps the contract; beside it: what a crash leaves, and RocksDB's own snapshots. */
import { mkdtemp, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { directoryObjects } from '../../src/adapters/object-storage/directory-objects.js';
import { objectSnapshotStore } from '../../src/adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../../src/adapters/rocksdb/rocksdb-state-store.js';
import { CorruptDataError } from '../../src/stream/errors.js';
import type { SnapshotStore } from '../../src/stream/ports.js';
import { describeSnapshotStore } from './snapshot-store.contract.js';
import { beforePuts, readFiles, snapshotStoreOver, writeFiles } from './snapshot-store.kit.js';

const bases: string[] = [];
afterAll(async () => {
  for (const base of bases) await rm(base, { recursive: true, force: true });
});

async function newBase(): Promise<string> {
  const base = await mkdtemp(path.join(tmpdir(), 'snapshots-'));
  bases.push(base);
  return base;
}

const inDirectory = (directory: string): SnapshotStore => objectSnapshotStore(directoryObjects({ directory }));

async function onlyManifest(root: string, task: string): Promise<string> {
  const directory = path.join(root, task, 'snapshots');
  const [name, ...others] = await readdir(directory);
  if (name === undefined || others.length > 0) throw new Error(`expected one manifest, found ${[name, ...others]}`);
  return path.join(directory, name);
}

describeSnapshotStore('directory', async () => {
  const base = await newBase();
  return snapshotStoreOver(directoryObjects({ directory: path.join(base, 'kept') }), base);
});

describe('the directory snapshot store', () => {
  let base = '';
  let root = '';
  beforeEach(async () => {
    base = await newBase();
    root = path.join(base, 'kept');
  });

  it('loses nothing of a snapshot under way when an owner of before deletes another one', async () => {
    const before = inDirectory(root);
    const source = path.join(base, 'source');
    await writeFiles(source, { one: '1'.repeat(100) });
    await before.put('task', '1', source);
    const objects = beforePuts(directoryObjects({ directory: root }), async (name) => {
      if (name.endsWith('.manifest')) await before.delete('task', '1');
    });
    await writeFiles(source, { two: '2'.repeat(100) });
    await objectSnapshotStore(objects).put('task', '2', source);
    await before.restore('task', '2', path.join(base, 'restored'));
    expect(await readFiles(path.join(base, 'restored'))).toEqual({ one: '1'.repeat(100), two: '2'.repeat(100) });
    expect(await directoryObjects({ directory: root }).list('task/uploads/')).toEqual([]);
  });

  it('clears what a put that crashed has left, once it is an hour ago', async () => {
    let nowMs = 1_000;
    const objects = directoryObjects({ directory: root });
    const store = objectSnapshotStore(objects, { now: () => nowMs });
    await objects.put('task/uploads/crashed', Buffer.from('1000'));
    await objects.put('task/contents/left-over', Buffer.from('left over'));
    nowMs += 3_599_999;
    await store.delete('task', 'another');
    expect(await objects.list('task/')).toHaveLength(2);
    nowMs += 1;
    await store.delete('task', 'another');
    expect(await objects.list('task/')).toEqual([]);
  });

  it('does not read a file again that it knows by name, size, inode and time', async () => {
    const store = inDirectory(root);
    const source = path.join(base, 'source');
    await writeFiles(source, { '000012.sst': 'a'.repeat(100) });
    await store.put('task', '1', source);
    const file = path.join(source, '000012.sst');
    const { atime, mtime } = await stat(file);
    await utimes(file, atime, new Date(Math.floor(mtime.getTime() / 1000) * 1000));
    await store.put('task', '2', source);
    // Changed in place with its time put back: only a store that trusts the origin takes it for the known one.
    const known = await stat(file);
    await writeFile(file, 'b'.repeat(100));
    await utimes(file, known.atime, known.mtime);
    expect((await store.put('task', '3', source)).newBytes).toBe(0);
  });

  it('sends a known file again when its kept content was lost or cut', async () => {
    const store = inDirectory(root);
    const source = path.join(base, 'source');
    await writeFiles(source, { lost: 'a'.repeat(100), cut: 'b'.repeat(100), sound: 'c'.repeat(100) });
    await store.put('task', '1', source);
    const contents = path.join(root, 'task', 'contents');
    for (const name of await readdir(contents)) {
      const first = (await readFile(path.join(contents, name), 'utf8'))[0];
      if (first === 'a') await rm(path.join(contents, name));
      if (first === 'b') await writeFile(path.join(contents, name), 'bb');
    }
    expect((await store.put('task', '2', source)).newBytes).toBe(200);
    await store.restore('task', '2', path.join(base, 'restored'));
  });

  it('sends a file of the same name, size and time whose inode is another', async () => {
    const store = inDirectory(root);
    const source = path.join(base, 'source');
    await writeFiles(source, { '000012.sst': 'a'.repeat(100), other: 'b'.repeat(100) });
    const [file, other] = [path.join(source, '000012.sst'), path.join(source, 'other')];
    for (const one of [file, other]) await utimes(one, 1_000, 1_000);
    await store.put('task', '1', source);
    await rename(other, file);
    await store.put('task', '2', source);
    const target = path.join(base, 'restored');
    await store.restore('task', '2', target);
    expect(await readFile(path.join(target, '000012.sst'), 'utf8')).toBe('b'.repeat(100));
  });

  it('refuses a manifest that was changed, names it, and still lists and deletes', async () => {
    const store = inDirectory(root);
    await writeFiles(path.join(base, 'source'), { f: 'x' });
    await store.put('task', '1', path.join(base, 'source'));
    const manifest = await onlyManifest(root, 'task');
    await writeFile(manifest, (await readFile(manifest, 'utf8')).replace('"sizeBytes":1', '"sizeBytes":2'));
    const refused = store.restore('task', '1', path.join(base, 'restored'));
    await expect(refused).rejects.toBeInstanceOf(CorruptDataError);
    await expect(refused).rejects.toThrow(manifest);
    expect(await store.list('task')).toEqual(['1']);
    await store.delete('task', '1');
    expect(await store.list('task')).toEqual([]);
  });

  it('does not see a snapshot whose put a crash cut short, and clears what it left', async () => {
    const store = inDirectory(root);
    await writeFiles(path.join(base, 'source'), { f: 'x'.repeat(50) });
    await store.put('task', '1', path.join(base, 'source'));
    const manifest = await onlyManifest(root, 'task');
    await rename(manifest, path.join(root, '.sending', 'manifest')); // the moment before it gets its name
    expect(await store.list('task')).toEqual([]);
    await writeFiles(path.join(base, 'other'), { f: 'y' });
    await store.put('task', '1', path.join(base, 'other'));
    expect(await store.list('task')).toEqual(['1']);
    expect(await readdir(path.join(root, 'task', 'contents'))).toHaveLength(2);
    await store.delete('task', '1');
    expect(await readdir(root)).toEqual(['.sending']);
  });

  it('says what to do where the directory cannot be written to', async () => {
    await writeFile(path.join(base, 'a-file'), '');
    await writeFiles(path.join(base, 'source'), { f: 'x' });
    const refused = inDirectory(path.join(base, 'a-file')).put('task', '1', path.join(base, 'source'));
    await expect(refused).rejects.toMatchObject({ code: 'object-store-refused' });
    await expect(refused).rejects.toThrow(/Cannot keep snapshot 1 of task.*Check that it is a directory/);
  });

  it('carries a RocksDB store to another directory, and sends only new table files the second time', async () => {
    const snapshots = inDirectory(root);
    const open = rocksDbStateStore({ writeBufferBytes: 256 * 1024, snapshotFlushBytes: 0 });
    const store = await open(path.join(base, 'task-0'));
    const key = (i: number) => Buffer.from(`key-${String(i).padStart(5, '0')}`);
    const fill = (from: number) =>
      store.writeBatch(Array.from({ length: 2_000 }, (_, i) => ({ key: key(from + i), value: Buffer.alloc(400, i) })));
    await fill(0);
    await store.snapshot(path.join(base, 'staging-1'));
    const first = await snapshots.put('task-0', '1', path.join(base, 'staging-1'));
    await rm(path.join(base, 'staging-1'), { recursive: true });
    await store.writeBatch([{ key: key(0), value: Buffer.from('changed') }]);
    await store.snapshot(path.join(base, 'staging-2'));
    const second = await snapshots.put('task-0', '2', path.join(base, 'staging-2'));
    await store.close();
    expect(first.newBytes).toBe(first.sizeBytes);
    expect(second.newBytes).toBeLessThan(second.sizeBytes / 4);
    for (const [id, length] of [
      ['1', 400],
      ['2', 7],
    ] as const) {
      await snapshots.restore('task-0', id, path.join(base, `restored-${id}`));
      const copy = await open(path.join(base, `restored-${id}`));
      const values = await copy.getMany(Array.from({ length: 2_000 }, (_, i) => key(i)));
      await copy.close();
      expect(values.every((value, i) => value?.length === (i === 0 ? length : 400))).toBe(true);
    }
  });
});
