/**
 * Owns `/openapi.json` and its page `/docs`: Swagger UI from the installed package, nothing from elsewhere, no inline
 * script. Neighbours: `openapi.ts` makes the document, `../security-headers.ts` lets this page run its script.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { FastifyInstance } from 'fastify';

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
