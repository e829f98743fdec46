/** The directory of objects keeps the contract; beside it: what a crash leaves, and what the disk refuses. */
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { directoryObjects } from '../../src/adapters/object-storage/directory-objects.js';
import { describeObjectStore } from './object-store.contract.js';

const bases: string[] = [];
afterAll(async () => {
  for (const base of bases) await rm(base, { recursive: true, force: true });
});

async function newBase(): Promise<string> {
  const base = await mkdtemp(path.join(tmpdir(), 'objects-'));
  bases.push(base);
  return base;
}

describeObjectStore('directory', async () =>
  directoryObjects({ directory: path.join(await newBase(), 'deep', 'kept') }),
);

it('leaves no directories behind when the last object of one goes', async () => {
  const base = await newBase();
  const objects = directoryObjects({ directory: base });
  await objects.put('a/b/c', Buffer.from('x'));
  await objects.put('a/d', Buffer.from('x'));
  await objects.delete(['a/b/c']);
  expect(await readdir(path.join(base, 'a'))).toEqual(['d']);
});

it('never shows what a crash left half written, and removes it a day later', async () => {
  const base = await newBase();
  const sending = path.join(base, '.sending');
  await mkdir(sending);
  const [old, young] = [path.join(sending, 'old'), path.join(sending, 'young')];
  for (const file of [old, young]) await writeFile(file, 'half');
  const twoDaysAgo = new Date(Date.now() - 2 * 86_400_000);
  await utimes(old, twoDaysAgo, twoDaysAgo);
  const objects = directoryObjects({ directory: base });
  expect(await objects.list('')).toEqual([]);
  await objects.put('a', Buffer.from('x'));
  expect(await objects.list('')).toEqual(['a']);
  expect(await readdir(sending)).toEqual(['young']); // another process may be writing it
});

it('leaves nothing half written where the disk refuses', async () => {
  const base = await newBase();
  const objects = directoryObjects({ directory: base });
  await objects.put('a', Buffer.from('x'));
  await expect(objects.putFile('b', path.join(base, 'no-such-file'))).rejects.toMatchObject({
    code: 'object-store-refused',
  });
  await expect(objects.put('a/b', Buffer.from('x'))).rejects.toThrow(/a\/b/); // 'a' is a file
  expect(await readdir(path.join(base, '.sending'))).toEqual([]);
  expect(await objects.list('')).toEqual(['a']);
});

it('says where and what to do if the place is no directory', async () => {
  const base = await newBase();
  await writeFile(path.join(base, 'a-file'), '');
  const objects = directoryObjects({ directory: path.join(base, 'a-file') });
  await expect(objects.put('a', Buffer.from('x'))).rejects.toMatchObject({ code: 'object-store-refused' });
  await expect(objects.put('a', Buffer.from('x'))).rejects.toThrow(/a-file.*Check that it is a directory/);
});

it('shows a large object not before it is whole', async () => {
  const objects = directoryObjects({ directory: await newBase() });
  await objects.put('a', Buffer.alloc(1_000));
  let ended = false;
  const writing = objects.put('a', Buffer.alloc(32 * 1024 * 1024)).finally(() => {
    ended = true;
  });
  const sizes = new Set<number | null>();
  while (!ended) sizes.add(await objects.sizeOf('a'));
  await writing;
  expect([...sizes].filter((size) => size !== 1_000 && size !== 32 * 1024 * 1024)).toEqual([]);
  expect(sizes).toContain(1_000);
});
