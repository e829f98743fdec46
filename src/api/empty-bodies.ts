/**
 * Owns that an empty body is no body, whatever its announced type: many clients put `content-type: application/json` on
 * everything, a DELETE included, and an empty text is not JSON. A route that wants a body says so itself, in the words of
 * its schema. Neighbour: `admin/risk-table-body.ts` takes files, of which an empty one is a file without rows.
 */
import type { FastifyInstance } from 'fastify';

const JSON_TYPE = /^application\/json\s*(;|$)/i;

/** To be called before routes are made. */
export function takeEmptyBodies(fastify: FastifyInstance): void {
  fastify.addHook('onRequest', async ({ headers }) => {
    const length = headers['content-length'] ?? '0';
    if (length !== '0' || headers['transfer-encoding'] !== undefined) return;
    if (JSON_TYPE.test(headers['content-type'] ?? '')) delete headers['content-type'];
  });
}
