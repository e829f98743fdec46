/** The contract on a real registry, and what only a real one can show: references, other types, wrong addresses. */
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type ConfluentRegistryOptions,
  confluentSchemas,
} from '../../src/adapters/schema-registry/confluent-registry.js';
import { RegistryDeniedError, RegistryUnavailableError } from '../../src/fraud/payments/schema-source.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { schemaSourceContract } from './schema-registry.contract.js';

const script = pathToFileURL(join(import.meta.dirname, '..', '..', 'scripts', 'registry', 'apicurio.ts')).href;
const { startRegistry, registerSchema } = (await import(script)) as typeof import('../../scripts/registry/apicurio.js');
type Running = Awaited<ReturnType<typeof startRegistry>>;

const PORT = 18_081;
const open = (url: string, options: Partial<ConfluentRegistryOptions> = {}) =>
  confluentSchemas({ url, clientId: 'contract', clock: systemClock, timeoutMs: 5_000, maxSchemas: 100, ...options });

async function start(port: number): Promise<{ registry: Running; close(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'registry-'));
  const registry = await startRegistry({ port, output: join(directory, 'registry.log') });
  return {
    registry,
    close: async () => {
      await registry.kill();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

schemaSourceContract('Apicurio', async () => {
  const { registry, close } = await start(PORT);
  let subjects = 0;
  return {
    open: (options) => open(registry.url, options),
    register: (schema) => registerSchema(registry.url, `contract-${subjects++}`, schema),
    requests: () => null,
    hang: async () => {
      registry.suspend();
      return async () => registry.resume();
    },
    close,
  };
});

describe('a real registry', () => {
  let registry: Running;
  let close: () => Promise<void>;
  beforeAll(async () => {
    ({ registry, close } = await start(PORT + 1));
  });
  afterAll(async () => {
    await close?.();
  });

  const post = async (subject: string, body: object) => {
    const answer = await fetch(`${registry.url}/subjects/${subject}/versions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    return ((await answer.json()) as { id: number }).id;
  };

  it('gives a schema that refers to others with these written out in it', async () => {
    const place = { type: 'record', name: 'Place', namespace: 'geo', fields: [{ name: 'city', type: 'string' }] };
    await post('geo.Place', { schema: JSON.stringify(place) });
    const trip = { type: 'record', name: 'Trip', namespace: 'geo', fields: [{ name: 'to', type: 'geo.Place' }] };
    const references = [{ name: 'geo.Place', subject: 'geo.Place', version: 1 }];
    const id = await post('geo.Trip', { schema: JSON.stringify(trip), references });
    const source = open(registry.url);
    const answer = await source.fetch(id);
    expect(answer.kind === 'schema' && JSON.parse(answer.text)).toMatchObject({
      name: 'geo.Trip',
      fields: [{ name: 'to', type: { name: 'geo.Place', fields: [{ name: 'city', type: 'string' }] } }],
    });
    await source.close();
  });

  it('says of a schema of another type that it is of no use', async () => {
    const schema = 'syntax = "proto3"; message Payment { string id = 1; }';
    const id = await post('proto', { schemaType: 'PROTOBUF', schema });
    const source = open(registry.url);
    expect(await source.fetch(id)).toMatchObject({ kind: 'unusable', reason: expect.stringContaining('PROTOBUF') });
    await source.close();
  });

  it('takes a wrong path for trouble, never for an unknown schema: payments must not become dead letters over it', async () => {
    const source = open(registry.url.replace('/apis/ccompat/v7', ''));
    await expect(source.fetch(1)).rejects.toBeInstanceOf(RegistryUnavailableError);
    await source.close();
  });

  it('is unavailable where nobody listens', async () => {
    const source = open('http://127.0.0.1:18099', { timeoutMs: 500 });
    await expect(source.fetch(1)).rejects.toThrow(/127\.0\.0\.1:18099/);
    await source.close();
  });
});

describe('the registry client', () => {
  /** A registry that answers by what it is asked. */
  async function answering(status: number, body: object, seen: string[] = []) {
    const server = createServer((request, response) => {
      seen.push(request.headers.authorization ?? '');
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close: () => server.close() };
  }

  it('names itself by user and password, or by a token', async () => {
    const seen: string[] = [];
    const server = await answering(200, { schema: '"string"' }, seen);
    await open(server.url, { auth: { username: 'u', password: 'p' } }).fetch(1);
    await open(server.url, { auth: { token: 't' } }).fetch(1);
    server.close();
    expect(seen).toEqual([`Basic ${Buffer.from('u:p').toString('base64')}`, 'Bearer t']);
  });

  it.each([401, 403])('tells a %i from an outage: waiting would not help', async (status) => {
    const server = await answering(status, { message: 'no' });
    await expect(open(server.url).fetch(1)).rejects.toBeInstanceOf(RegistryDeniedError);
    server.close();
  });

  it.each([
    [404, { error_code: 404, message: 'HTTP 404 Not Found' }],
    [404, { title: 'Not Found' }],
    [500, { error_code: 50001, message: 'Error in the backend data store' }],
    [429, { message: 'slow down' }],
  ])('takes %i %j for passing trouble', async (status, body) => {
    const server = await answering(status, body);
    await expect(open(server.url).fetch(1)).rejects.toBeInstanceOf(RegistryUnavailableError);
    server.close();
  });

  it.each([
    { error_code: 40403, message: 'Schema 7 not found' },
    { error_code: 40403, message: 'Schema not found' },
    { error_code: 40403, message: "No content with ID '7' was found." },
  ])('takes %j for an unknown schema', async (body) => {
    const server = await answering(404, body);
    expect(await open(server.url, { askAgainMs: 0 }).fetch(7)).toEqual({ kind: 'unknown' });
    server.close();
  });

  it.each([
    ['{"type":"record"', 'not JSON'],
    [JSON.stringify({ type: 'record', name: 'a b', fields: [] }), 'letters'],
    [JSON.stringify('x'.repeat(70_000)), 'limit'],
    [`${'{"type":"array","items":'.repeat(40)}"int"${'}'.repeat(40)}`, 'deep'],
  ])('does not give %.30s to the Avro library', async (schema, reason) => {
    const server = await answering(200, { schema });
    expect(await open(server.url).fetch(1)).toMatchObject({
      kind: 'unusable',
      reason: expect.stringContaining(reason),
    });
    server.close();
  });
});
