/**
 * Owns the answer to a method that an address does not have (RFC 9110, 15.5.6): 405 and the methods it has, so that
 * nobody takes a wrong method for a wrong address. Neighbours: `access/door.ts` comes first and counts the request.
 */
import type { FastifyInstance } from 'fastify';
import { StreamError } from '../stream/errors.js';

interface Route {
  readonly method: string;
  /** Its pattern: `/v1/alerts/:id`. */
  readonly url: string;
}

/** An address that exists, asked with a method that it does not have. */
export class MethodNotAllowedError extends StreamError {
  constructor(
    method: string,
    readonly allowed: readonly string[],
  ) {
    super('method-not-allowed', `This address has no ${method}; it has ${allowed.join(', ')}.`);
  }
}

/** To be called once the door is open. `routes` may still grow until the first request. */
export function refuseOtherMethods(fastify: FastifyInstance, routes: readonly Route[]): void {
  let patterns: { readonly method: string; readonly address: RegExp }[] | null = null;
  fastify.addHook('onRequest', async ({ method, url, routeOptions }) => {
    if (routeOptions.url !== undefined) return;
    patterns ??= routes.map((route) => ({ method: route.method, address: addressesOf(route.url) }));
    const [path] = url.split('?');
    const found = patterns.filter(({ address }) => address.test(path)).map((pattern) => pattern.method);
    if (found.length > 0) throw new MethodNotAllowedError(method, [...new Set(found)].sort());
  });
}

/** `/v1/alerts/:id` as an expression. */
function addressesOf(url: string): RegExp {
  const parts = url.split('/').map((part) => (part.startsWith(':') ? '[^/]+' : part.replaceAll('.', '\\.')));
  return new RegExp(`^${parts.join('/')}$`);
}
