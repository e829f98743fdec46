/**
 * Snapshots in S3 keep the contract; beside it: what is sent and asked for, and what happens when the service refuses,
 * is away, or gives back something else than it was given.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { objectSnapshotStore } from '../../src/adapters/object-storage/snapshot-store.js';
import { CorruptDataError } from '../../src/stream/errors.js';
import type { ObjectStore, SnapshotStore } from '../../src/stream/ports.js';
import { objectsOn, refuse, type S3Server, startS3Server } from '../support/s3-server.js';
import { describeSnapshotStore } from './snapshot-store.contract.js';
import { contentOf, readFiles, snapshotStoreOver, writeFiles } from './snapshot-store.kit.js';

let server: S3Server;
let base = '';
let buckets = 0;
beforeAll(async () => {
  server = await startS3Server(0);
  base = await mkdtemp(path.join(tmpdir(), 'snapshots-'));
});
afterAll(async () => {
  await server.close();
  await rm(base, { recursive: true, force: true });
});

async function newBucket(): Promise<string> {
  const name = `snapshots-${buckets++}`;
  await server.addBucket(name);
  return name;
}

describeSnapshotStore('S3', async () => {
  const bucket = await newBucket();
  return snapshotStoreOver(objectsOn(server.endpoint, bucket), await mkdtemp(path.join(base, 'sources-')));
});

describe('the snapshot store in S3', () => {
  let objects: ObjectStore;
  let store: SnapshotStore;
  let here = '';
  beforeEach(async () => {
    here = await mkdtemp(path.join(base, 'test-'));
    objects = objectsOn(server.endpoint, await newBucket());
    store = objectSnapshotStore(objects);
    await writeFiles(path.join(here, 'source'), { '000012.sst': 'a'.repeat(5_000), CURRENT: 'x' });
  });
  afterEach(async () => {
    server.interfere = () => false;
    await server.startAgain().catch(() => {}); // it runs, mostly
  });

  const put = (id: string) => store.put('task', id, path.join(here, 'source'));
  const restored = async (id: string): Promise<Record<string, string>> => {
    const directory = await mkdtemp(path.join(here, 'restored-'));
    await store.restore('task', id, directory);
    return readFiles(directory);
  };
  const puts = () => server.requests.filter((request) => request.startsWith('PUT ')).map((r) => r.replace(/\?.*/, ''));

  it('sends a content once, and for an unchanged directory nothing but the manifest, between its mark and the end of that', async () => {
    await put('1');
    server.requests.length = 0;
    expect((await put('2')).newBytes).toBe(0);
    expect(puts()).toHaveLength(2);
    expect(puts()[0]).toMatch(/\/pipelines\/a\/task\/uploads\/2$/);
    expect(puts()[1]).toMatch(/\/pipelines\/a\/task\/snapshots\/000000000002-2\.manifest$/);
  });

  it('keeps the manifest last: none is there when a content could not be sent', async () => {
    await put('1');
    await writeFiles(path.join(here, 'source'), { '000013.sst': 'b'.repeat(700) });
    server.interfere = (request, response) =>
      request.method === 'PUT' && request.url?.includes('/contents/') === true && refuse(response, 403, 'AccessDenied');
    await expect(put('2')).rejects.toMatchObject({ code: 'object-store-denied' });
    server.interfere = () => false;
    expect(await store.list('task')).toEqual(['1']);
    expect(Object.keys(await restored('1'))).toEqual(['000012.sst', 'CURRENT']);
  });

  it('gives up a put in time while the service is away, says so, and goes on once it is back', async () => {
    await put('1');
    await writeFiles(path.join(here, 'source'), { '000013.sst': 'b'.repeat(700) });
    await server.stop();
    const startedAtMs = performance.now();
    const refused = put('2');
    await expect(refused).rejects.toMatchObject({ code: 'object-store-unreachable' });
    await expect(refused).rejects.toThrow(/Cannot keep snapshot 2 of task.*ECONNREFUSED.*Check the network/);
    expect(performance.now() - startedAtMs).toBeLessThan(5_000);
    await server.startAgain();
    expect(await store.list('task')).toEqual(['1']);
    expect((await put('2')).newBytes).toBe(700);
    expect(Object.keys(await restored('2'))).toHaveLength(3);
  });

  it('gives up a restore in time while the service is away, and leaves an empty directory', async () => {
    await put('1');
    server.interfere = (request, response) =>
      request.url?.includes('/contents/') === true && Boolean(response.destroy()); // the connection breaks off
    const directory = path.join(here, 'target');
    await expect(store.restore('task', '1', directory)).rejects.toMatchObject({ code: 'object-store-unreachable' });
    expect(await readdir(directory)).toEqual([]);
    server.interfere = () => false;
    await store.restore('task', '1', directory);
    expect(await readdir(directory)).toEqual(['000012.sst', 'CURRENT']);
  });

  it('rides out a short trouble, be it a refusal or a cut connection', async () => {
    let troubles = 0;
    server.interfere = (_, response) => {
      if (++troubles > 8) return false;
      if (troubles % 3 === 1) return refuse(response, 503, 'SlowDown');
      return troubles % 3 === 2 && Boolean(response.destroy());
    };
    const { place } = objects;
    store = objectSnapshotStore(objectsOn(server.endpoint, place.split('/')[2] ?? '', { deadlineMs: 30_000 }));
    await put('1');
    expect(Object.keys(await restored('1'))).toHaveLength(2);
    expect(troubles).toBeGreaterThan(8);
  });

  it('refuses an object that is not what was sent, by its name and place, and keeps it out of the directory', async () => {
    await put('1');
    const content = await contentOf(objects, 'task', '1', '000012.sst');
    await objects.put(content, Buffer.from('b'.repeat(5_000)));
    const directory = path.join(here, 'target');
    const refused = store.restore('task', '1', directory);
    await expect(refused).rejects.toBeInstanceOf(CorruptDataError);
    await expect(refused).rejects.toThrow(new RegExp(`000012\\.sst.*${objects.place}/${content}`));
    expect(await readdir(directory)).toEqual([]);
  });
});
