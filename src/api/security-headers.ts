/** Owns the headers that every answer carries. The docs pages alone may run their own script and styles. */
import type { FastifyInstance, FastifyReply } from 'fastify';

const HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
} as const;

const NOTHING = "default-src 'none'; frame-ancestors 'none'";
const DOCS_PAGES = ['/docs', '/docs/events'];
const DOCS_PAGE =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export function addSecurityHeaders(fastify: FastifyInstance): void {
  fastify.addHook('onSend', async (request, reply) => setSecurityHeaders(reply, request.url));
}

/** For answers that no hook sees: those to addresses that can't be read. */
export function setSecurityHeaders(reply: FastifyReply, url: string): void {
  reply.headers(HEADERS);
  reply.header('content-security-policy', DOCS_PAGES.includes(url.split('?')[0]) ? DOCS_PAGE : NOTHING);
}
