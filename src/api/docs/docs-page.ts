/**
 * Owns `/openapi.json` and its page `/docs`: Swagger UI from the installed package, nothing from elsewhere, no inline
 * script; and `/asyncapi.json` with its page `/docs/events` and the schemas of what lies in topics. Neighbours:
 * `openapi.ts` and `asyncapi.ts` make the documents, `../security-headers.ts` lets the pages have script and style.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { FastifyInstance } from 'fastify';
import { alertAvroSchema } from '../../fraud/alerts/alert-avro.js';
import { alertJsonSchema } from '../../fraud/alerts/alert-schema.js';
import { labelJsonSchema } from '../../fraud/labels/label.js';
import { PAYMENT_AVRO } from '../../fraud/payments/decode-avro-schema.js';
import type { AsyncApiDocument } from './asyncapi.js';
import { EVENTS_STYLE, renderEventsPage } from './events-page.js';

const require = createRequire(import.meta.url);

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Payment fraud detector: API</title>
    <link rel="stylesheet" href="/docs/swagger-ui.css">
    <link rel="icon" href="/docs/favicon-32x32.png">
  </head>
  <body>
    <div id="page"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
`;

const START = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true, validatorUrl: null });
`;

const FILES = {
  'swagger-ui.css': 'text/css; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'favicon-32x32.png': 'image/png',
} as const;

/** Adds the routes. `document` is the OpenAPI document as JSON text. */
export function serveDocs(fastify: FastifyInstance, document: string): void {
  // The address that the terminal shows, opened in a browser.
  fastify.get('/', async (_, reply) => reply.redirect('/docs'));
  fastify.get('/openapi.json', async (_, reply) => reply.type('application/json; charset=utf-8').send(document));
  fastify.get('/docs', async (_, reply) => reply.type('text/html; charset=utf-8').send(PAGE));
  fastify.get('/docs/start.js', async (_, reply) => reply.type('text/javascript; charset=utf-8').send(START));
  for (const [name, type] of Object.entries(FILES)) {
    // Read at the first visit: most processes never show the page.
    let content: Promise<Buffer> | null = null;
    fastify.get(`/docs/${name}`, async (_, reply) => {
      content ??= readFile(require.resolve(`swagger-ui-dist/${name}`));
      return reply
        .type(type)
        .header('cache-control', 'public, max-age=3600')
        .send(await content);
    });
  }
}

/** Adds the routes of what lies in topics: documents, their page, schemas. */
export function serveEventDocs(fastify: FastifyInstance, document: AsyncApiDocument): void {
  const page = renderEventsPage(document);
  const texts = {
    '/asyncapi.json': { type: 'application/json', text: JSON.stringify(document) },
    '/docs/events': { type: 'text/html', text: page },
    '/docs/events.css': { type: 'text/css', text: EVENTS_STYLE },
    '/schemas/alert.schema.json': { type: 'application/schema+json', text: JSON.stringify(alertJsonSchema()) },
    '/schemas/alert.avsc': { type: 'application/json', text: JSON.stringify(alertAvroSchema()) },
    '/schemas/payment.avsc': { type: 'application/json', text: JSON.stringify(PAYMENT_AVRO) },
    '/schemas/label.schema.json': { type: 'application/schema+json', text: JSON.stringify(labelJsonSchema()) },
  };
  for (const [path, { type, text }] of Object.entries(texts)) {
    fastify.get(path, async (_, reply) => reply.type(`${type}; charset=utf-8`).send(text));
  }
}
