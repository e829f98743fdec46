/**
 * Owns the HTTP server: Nest on Fastify, with its limits, put together from the parts that it is given.
 * Neighbours: `analyst/` and `operations/` have the routes, `http-errors.ts` the errors, `docs/` the documentation.
 */
import 'reflect-metadata';
import { randomUUID } from 'node:crypto';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance, FastifyServerOptions } from 'fastify';
import { StreamError } from '../stream/errors.js';
import { AccessGuard } from './access/access-guard.js';
import { AlertsController } from './analyst/alerts.controller.js';
import { serveDocs } from './docs/docs-page.js';
import { makeOpenApiDocument } from './docs/openapi.js';
import { ProblemFilter, sendProblem, toProblem } from './http-errors.js';
import { HealthController } from './operations/health.controller.js';
import { METRIC_REGISTRY, METRIC_SET, MetricsController } from './operations/metrics.controller.js';
import { type MetricSet, makeMetrics } from './operations/metrics.js';
import { PipelineController } from './operations/pipeline.controller.js';
import { ALERT_READER, API_PARTS, type ApiParts } from './parts.js';
import { addSecurityHeaders, setSecurityHeaders } from './security-headers.js';
import { validationPipe } from './validation.js';

export type { ApiParts } from './parts.js';

/** No route takes a body yet; what comes is refused beyond this. */
const BODY_LIMIT_BYTES = 64 * 1024;
const REQUEST_TIMEOUT_MS = 15_000;
const KEEP_ALIVE_MS = 10_000;
/** Longest path parameter; an alert's id has 32. */
const PARAMETER_LIMIT = 128;

export interface Api {
  /** Returns the address, as `http://127.0.0.1:3000`. Errors: code `port-in-use` or `port-refused`. */
  listen(host: string, port: number): Promise<string>;
  close(): Promise<void>;
  readonly app: NestFastifyApplication;
}

@Module({})
class ApiModule {}

/** Builds the API; nothing listens yet. */
export async function createApi(parts: ApiParts): Promise<Api> {
  const { registry, metrics } = makeMetrics();
  const adapter = new FastifyAdapter(serverOptions(parts));
  const module = {
    module: ApiModule,
    controllers: [
      ...(parts.alerts === null ? [] : [AlertsController]),
      PipelineController,
      HealthController,
      MetricsController,
    ],
    providers: [
      { provide: API_PARTS, useValue: parts },
      { provide: ALERT_READER, useValue: parts.alerts },
      { provide: METRIC_SET, useValue: metrics },
      { provide: METRIC_REGISTRY, useValue: registry },
    ],
  };
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, { logger: false, abortOnError: false });
  app.useGlobalPipes(validationPipe());
  app.useGlobalGuards(new AccessGuard(parts));
  app.useGlobalFilters(new ProblemFilter(parts.onUnexpected));
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  addSecurityHeaders(fastify);
  addRequestMetrics(fastify, metrics);
  serveDocs(fastify, JSON.stringify(makeOpenApiDocument(app, parts.version)));
  await app.init();
  await fastify.ready();
  return { app, listen: (host, port) => listen(app, host, port), close: () => app.close() };
}

function serverOptions(parts: ApiParts): FastifyServerOptions {
  return {
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    routerOptions: { maxParamLength: PARAMETER_LIMIT },
    forceCloseConnections: true,
    return503OnClosing: true,
    // Ids that callers send are not taken over: they could forge entries of the log.
    genReqId: () => randomUUID(),
    frameworkErrors: (error, request, reply) => {
      setSecurityHeaders(reply, request.url);
      sendProblem(reply, toProblem(error, request, parts.onUnexpected));
    },
  };
}

async function listen(app: NestFastifyApplication, host: string, port: number): Promise<string> {
  try {
    await app.listen(port, host);
    const url = await app.getUrl();
    return url.replace('[::1]', 'localhost');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : null;
    const way = 'Choose another with PORT=<number> or --port <number>.';
    if (code === 'EADDRINUSE') {
      throw new StreamError('port-in-use', `Port ${port} on ${host} is in use by another program. ${way}`, { cause });
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
      throw new StreamError('port-refused', `The system refuses to listen on ${host}:${port} (${code}). ${way}`, {
        cause,
      });
    }
    throw cause;
  }
}

/** Measures every answer by route (its pattern, never the address: that would be unbounded). */
function addRequestMetrics(fastify: FastifyInstance, metrics: MetricSet): void {
  fastify.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    const labels = { method: request.method, route, status: String(reply.statusCode) };
    metrics.httpDuration.observe(labels, reply.elapsedTime / 1000);
  });
}
