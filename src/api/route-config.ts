/** Owns what a route tells Fastify about itself, so that several decorators can add to it. Nest's own one replaces it. */
import 'reflect-metadata';
import { RouteConfig } from '@nestjs/platform-fastify';
import type { FastifyContextConfig } from 'fastify';

const KEPT = Symbol('route configuration');

/** Adds to the route's `config`, which Fastify's hooks see. */
export function addRouteConfig(config: FastifyContextConfig): MethodDecorator {
  return (target, key, descriptor) => {
    const handler = descriptor.value as object;
    const together = { ...(Reflect.getMetadata(KEPT, handler) as FastifyContextConfig | undefined), ...config };
    Reflect.defineMetadata(KEPT, together, handler);
    RouteConfig(together)(target, key, descriptor);
  };
}
