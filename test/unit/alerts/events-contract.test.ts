import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import specs from '@asyncapi/specs';
import { Ajv, type AnySchema } from 'ajv';
import Fastify, { type FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_TOPICS, makeAsyncApiDocument } from '../../../src/api/docs/asyncapi.js';
import { serveEventDocs } from '../../../src/api/docs/docs-page.js';
import { addSecurityHeaders } from '../../../src/api/security-headers.js';
import { loadConfiguration } from '../../../src/app/configuration/index.js';
import { encodeAlert } from '../../../src/fraud/alerts/encode-alert.js';
import { labelJsonSchema } from '../../../src/fraud/labels/label.js';
import { deadLetters } from '../../../src/stream/pipeline/dead-letters.js';
import { RecordBatch } from '../../../src/stream/records.js';
import { anAlert } from '../../integration/projector-fixtures.js';

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
const file = fileURLToPath(new URL('../../../schemas/asyncapi.json', import.meta.url));
const labelFile = fileURLToPath(new URL('../../../schemas/label.schema.json', import.meta.url));
const official = specs.schemas['3.0.0'] as AnySchema;
/** It brings JSON Schema's own schema along. */
const OFFICIAL = { strict: false, validateFormats: false, allErrors: true, meta: false, validateSchema: false };
const document = makeAsyncApiDocument(version, DEFAULT_TOPICS);
const { components } = document;

/** Compiles a schema of the document with all that it may refer to. */
function validator(schema: object) {
  const root = { ...schema, components: { schemas: components.schemas } };
  return new Ajv({ strict: false, validateFormats: false }).compile(root);
}
const headersOf = (record: { headers: readonly (readonly [string, Buffer])[] }) =>
  Object.fromEntries(record.headers.map(([name, value]) => [name, value.toString()]));

describe('the AsyncAPI document', () => {
  it('is the published one', async () => {
    // `vitest run test/unit/alerts -u` writes the file anew.
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(file);
    await expect(`${JSON.stringify(labelJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(labelFile);
  });

  it('is valid by the official schema of AsyncAPI 3.0.0', () => {
    const validate = new Ajv(OFFICIAL).compile(official);
    validate(JSON.parse(JSON.stringify(document)));
    expect(validate.errors ?? []).toEqual([]);
    expect(validate({ ...document, channels: { alerts: { address: 7 } } })).toBe(false);
  });

  it('refers to nothing that it does not have', () => {
    for (const [, path] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const found = path.split('/').reduce<unknown>((at, part) => (at as Record<string, unknown>)?.[part], document);
      expect(found, path).toBeDefined();
    }
  });

  it('names the topics as the configuration does', () => {
    const { topics } = loadConfiguration({ argv: [], env: {}, cwd: '/srv', readFile: () => undefined });
    expect(topics).toMatchObject(DEFAULT_TOPICS);
    const named = makeAsyncApiDocument(version, { ...DEFAULT_TOPICS, alerts: 'bank.alerts' });
    expect(named.channels.alerts.address).toBe('bank.alerts');
    expect(named.channels.alerts.bindings.kafka.topic).toBe('bank.alerts');
  });
});

describe('what the service writes holds to the document', () => {
  it('an alert: value and headers', () => {
    const record = encodeAlert(anAlert(1), 'fraud.alerts', {
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
      tracestate: 'a=1',
    });
    const { payload, headers } = components.messages.alert;
    const value = validator(payload);
    expect(value(JSON.parse(String(record.value))), JSON.stringify(value.errors)).toBe(true);
    const head = validator({ ...headers, additionalProperties: false });
    expect(head(headersOf(record)), JSON.stringify(head.errors)).toBe(true);
    const { ce_id: _, ...without } = headersOf(record);
    expect(head(without)).toBe(false);
  });

  it('a dead letter: headers, also of one in parts', () => {
    const batch = new RecordBatch(1);
    batch.bytes = Buffer.alloc(1_000_000, 65);
    batch.keyLength[0] = 100_000;
    batch.valueLength[0] = 900_001;
    const place = { deadLetterTopic: 'd', sourceTopic: 's', partition: 1, pipelineVersion: '1' };
    const head = validator({ ...components.messages.deadLetter.headers, additionalProperties: false });
    const records = deadLetters(batch, 0, 'not-json', 'is not JSON', place, 5);
    expect(records.length).toBeGreaterThan(1);
    for (const record of records) expect(head(headersOf(record)), JSON.stringify(head.errors)).toBe(true);
  });
});

describe('the pages', () => {
  let fastify: FastifyInstance;
  beforeAll(async () => {
    fastify = Fastify();
    addSecurityHeaders(fastify);
    serveEventDocs(fastify, { ...document, info: { ...document.info, title: '<b>&"' } });
    await fastify.ready();
  });
  afterAll(() => fastify.close());

  it('show every channel, message, header, field and schema, without a script', async () => {
    const { statusCode, body, headers } = await fastify.inject('/docs/events');
    expect(statusCode).toBe(200);
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    expect(body).not.toMatch(/<script|<style|style=|onclick|undefined|\[object/);
    for (const { address } of Object.values(document.channels)) expect(body).toContain(`<code>${address}</code>`);
    for (const message of Object.values(components.messages)) {
      expect(body).toContain(`<code>${message.name}</code>`);
      const fields = { ...message.headers?.properties, ...message.payload.properties };
      for (const field of Object.keys(fields)) expect(body).toContain(`<code>${field}</code>`);
    }
    for (const name of Object.keys(components.schemas)) expect(body).toContain(`id="schema-${name}"`);
    for (const [, name] of body.matchAll(/href="#schema-([^"]+)"/g)) expect(components.schemas).toHaveProperty(name);
  });

  it('escape what the document says, and may load style alone', async () => {
    const { body, headers } = await fastify.inject('/docs/events?x=1');
    expect(body).toContain('<h1>&lt;b&gt;&amp;&quot;</h1>');
    expect(headers['content-security-policy']).toContain("style-src 'self'");
    const style = await fastify.inject('/docs/events.css');
    expect(style.headers['content-type']).toBe('text/css; charset=utf-8');
  });

  it.each(['/asyncapi.json', '/schemas/alert.schema.json', '/schemas/alert.avsc', '/schemas/label.schema.json'])(
    'offer %s',
    async (path) => {
      const { statusCode, body, headers } = await fastify.inject(path);
      expect(statusCode).toBe(200);
      expect(headers['content-type']).toContain('json');
      const published = path === '/asyncapi.json' ? null : new URL(`../../..${path}`, import.meta.url);
      if (published !== null) expect(JSON.parse(body)).toEqual(JSON.parse(readFileSync(published, 'utf8')));
    },
  );
});
