/** What S3 says when something is wrong becomes an error that names it and says what to do; what passes is retried. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { objectsOn, refuse, type S3Server, startS3Server } from '../support/s3-server.js';

const PART_BYTES = 5 * 1024 * 1024;
let server: S3Server;
let directory = '';
beforeAll(async () => {
  server = await startS3Server(0);
  await server.addBucket('here');
  directory = await mkdtemp(path.join(tmpdir(), 's3-failures-'));
});
afterAll(async () => {
  await server.close();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(() => {
  server.interfere = () => false;
  server.requests.length = 0;
});

const objects = (options = {}) => objectsOn(server.endpoint, 'here', options);

it('a wrong access key is told at once, with what to check', async () => {
  const wrong = objects({ credentials: { accessKeyId: 'other-key', secretAccessKey: 'never-told' } });
  for (const ask of [() => wrong.get('a'), () => wrong.put('a', Buffer.from('x')), () => wrong.list('')]) {
    const asked = ask();
    await expect(asked).rejects.toMatchObject({ code: 'object-store-denied' });
    await expect(asked).rejects.toThrow(/bucket here at http.*s3\.accessKeyId and s3\.secretAccessKey/);
    await expect(asked).rejects.not.toThrow(/never-told/);
  }
  await expect(wrong.sizeOf('a')).rejects.toMatchObject({ code: 'object-store-denied' });
  expect(server.requests).toHaveLength(4);
});

it('a missing bucket is told by its name', async () => {
  const elsewhere = objectsOn(server.endpoint, 'no-such-bucket');
  for (const ask of [() => elsewhere.get('a'), () => elsewhere.put('a', Buffer.from('x')), () => elsewhere.list('')]) {
    const asked = ask();
    await expect(asked).rejects.toMatchObject({ code: 'object-store-missing-bucket' });
    await expect(asked).rejects.toThrow(/Make the bucket no-such-bucket/);
  }
});

it.each([
  [301, 'PermanentRedirect', 'object-store-wrong-region'],
  [507, 'XMinioStorageFull', 'object-store-full'],
  [501, 'NotImplemented', 'object-store-refused'],
  [400, 'InvalidArgument', 'object-store-refused'],
])('an answer of %i %s is no passing trouble: %s', async (status, code, expected) => {
  server.interfere = (_, response) => refuse(response, status, code);
  await expect(objects().put('a', Buffer.from('x'))).rejects.toMatchObject({ code: expected });
  expect(server.requests).toHaveLength(1);
});

it('a service that does not answer is tried to the deadline and no further', async () => {
  server.interfere = () => true; // silence
  const startedAtMs = performance.now();
  const asked = objects({ requestTimeoutMs: 200, deadlineMs: 700 }).get('a');
  await expect(asked).rejects.toMatchObject({ code: 'object-store-unreachable' });
  await expect(asked).rejects.toThrow(/no answer within 200 ms/);
  expect(performance.now() - startedAtMs).toBeLessThan(2_000);
  expect(server.requests.length).toBeGreaterThan(1);
});

it('a body that breaks off is asked for again', async () => {
  await objects().put('a', Buffer.alloc(100_000, 7));
  let broken = 0;
  server.interfere = (request, response) => {
    if (request.method !== 'GET' || broken > 0) return false;
    broken++;
    response.writeHead(206, { 'content-length': '100000', 'content-range': 'bytes 0-99999/100000' });
    response.write(Buffer.alloc(50_000), () => response.destroy());
    return true;
  };
  expect((await objects().get('a'))?.equals(Buffer.alloc(100_000, 7))).toBe(true);
  expect(broken).toBe(1);
});

it('a file whose upload fails half way leaves the object as it was, and no parts', async () => {
  const file = path.join(directory, 'large');
  await writeFile(file, Buffer.alloc(3 * PART_BYTES, 1));
  await objects().put('a', Buffer.from('before'));
  server.interfere = (request, response) =>
    request.url?.includes('partNumber=3') === true && refuse(response, 403, 'AccessDenied');
  await expect(objects().putFile('a', file)).rejects.toMatchObject({ code: 'object-store-denied' });
  expect(server.requests.some((request) => request.startsWith('DELETE ') && request.includes('uploadId='))).toBe(true);
  expect((await objects().get('a'))?.toString()).toBe('before');
});

it('an upload whose last answer got lost is done, not failed', async () => {
  const bytes = Buffer.alloc(PART_BYTES + 1, 3);
  let completions = 0;
  server.interfere = (request, response) => {
    if (request.method !== 'POST' || request.url?.includes('uploadId=') !== true || ++completions > 1) return false;
    response.end = new Proxy(response.end, { apply: () => response.destroy() }); // it is carried out, and not answered
    return false;
  };
  await objects().put('a', bytes);
  expect(completions).toBe(2);
  server.interfere = () => false;
  expect((await objects().get('a'))?.equals(bytes)).toBe(true);
});

it('parts of two different objects are never put together', async () => {
  await objects().put('a', Buffer.alloc(2 * PART_BYTES, 1));
  let changed: Promise<void> | null = null;
  server.interfere = (request) => {
    if (request.method === 'GET' && changed === null && request.headers.range?.startsWith('bytes=0-')) {
      changed = Promise.resolve(); // the first part is of the old one; then the object is another
      request.once('close', () => {
        changed = objects().put('a', Buffer.alloc(2 * PART_BYTES, 2));
      });
    }
    return false;
  };
  const seen = await objects()
    .get('a')
    .catch((error: unknown) => error);
  await changed;
  if (Buffer.isBuffer(seen)) expect(new Set([seen[0], seen.at(-1)]).size).toBe(1);
  else expect(seen).toMatchObject({ code: 'object-store-refused' });
});

it('trouble with the local file is not taken for trouble with the service', async () => {
  await objects().put('a', Buffer.from('x'));
  const target = path.join(directory, 'no-such-directory', 'file');
  await expect(objects().getFile('a', target)).rejects.toMatchObject({ code: 'ENOENT' });
  const existing = path.join(directory, 'existing');
  await writeFile(existing, 'precious');
  await expect(objects().getFile('a', existing)).rejects.toMatchObject({ code: 'EEXIST' });
  expect(await readFile(existing, 'utf8')).toBe('precious');
});
