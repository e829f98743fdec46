/** Owns how large a request's body may be: one limit for all routes, another one where a route says so. */
import type { FastifyInstance } from 'fastify';
import { addRouteConfig } from './route-config.js';

/** For routes that say nothing. */
export const BODY_LIMIT_BYTES = 64 * 1024;

declare module 'fastify' {
  interface FastifyContextConfig {
    bodyLimitBytes?: number;
  }
}

/** The route takes bodies up to this size; beyond it: 413. */
export function BodyLimit(bytes: number): MethodDecorator {
  return addRouteConfig({ bodyLimitBytes: bytes });
}

/** To be called before routes are made. */
export function obeyBodyLimits(fastify: FastifyInstance): void {
  fastify.addHook('onRoute', (route) => {
    const bytes = route.config?.bodyLimitBytes;
    if (bytes !== undefined) route.bodyLimit = bytes;
  });
}
