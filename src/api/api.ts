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
import { ACCESS_PARTS } from './access/access-parts.js';
import { accessControllers } from './access/controllers.js';
import { openDoor, type RouteAccess } from './access/door.js';
import { RiskTableController } from './admin/risk-table.controller.js';
import { takeUploads } from './admin/risk-table-body.js';
import { ruleRoutes } from './admin/rules-routes.js';
import { refuseOtherMethods } from './allowed-methods.js';
import { alertRoutes } from './analyst/alert-routes.js';
import { BODY_LIMIT_BYTES, obeyBodyLimits } from './body-limit.js';
import { makeAsyncApiDocument } from './docs/asyncapi.js';
import { serveDocs, serveEventDocs } from './docs/docs-page.js';
import { makeOpenApiDocument } from './docs/openapi.js';
import { takeEmptyBodies } from './empty-bodies.js';
import { FailureLog } from './failure-log.js';
import { ProblemFilter, sendProblem, toProblem } from './http-errors.js';
import { HealthController } from './operations/health.controller.js';
import { METRIC_REGISTRY, METRIC_SET, MetricsController } from './operations/metrics.controller.js';
import { type MetricSet, makeMetrics } from './operations/metrics.js';
import { PipelineController } from './operations/pipeline.controller.js';
import { API_PARTS, type ApiParts, RISK_ROWS } from './parts.js';
import { addSecurityHeaders, setSecurityHeaders } from './security-headers.js';
import { refuseUnreadable } from './unreadable-requests.js';
import { validationPipe } from './validation.js';

export type { ApiParts } from './parts.js';

const REQUEST_TIMEOUT_MS = 15_000;
const KEEP_ALIVE_MS = 10_000;
/** As long as Node lets an address be: routes refuse what is no id themselves, so that no parameter has an answer of its own. */
const PARAMETER_LIMIT = 16_384;

export interface Api {
  /** Returns the address, as `http://127.0.0.1:3000`. Errors: code `port-in-use` or `port-refused`. */
  listen(host: string, port: number): Promise<string>;
  close(): Promise<void>;
  readonly app: NestFastifyApplication;
  /** Every route, and whom it is for. */
  readonly routes: readonly RouteAccess[];
}

@Module({})
class ApiModule {}

/** Builds the API; nothing listens yet. */
export async function createApi(parts: ApiParts): Promise<Api> {
  const { registry, metrics } = makeMetrics();
  const alerts = alertRoutes(parts);
  const rules = ruleRoutes(parts);
  const failures = new FailureLog(parts.onUnexpected, parts.clock);
  const adapter = new FastifyAdapter(serverOptions(parts, failures));
  const module = {
    module: ApiModule,
    controllers: [
      ...alerts.controllers,
      ...rules.controllers,
      ...(parts.riskRows === null ? [] : [RiskTableController]),
      ...accessControllers(parts.access),
      PipelineController,
      HealthController,
      MetricsController,
    ],
    providers: [
      { provide: API_PARTS, useValue: parts },
      { provide: ACCESS_PARTS, useValue: parts.access },
      ...alerts.providers,
      ...rules.providers,
      { provide: RISK_ROWS, useValue: parts.riskRows },
      { provide: METRIC_SET, useValue: metrics },
      { provide: METRIC_REGISTRY, useValue: registry },
    ],
  };
  const app = await NestFactory.create<NestFastifyApplication>(module, adapter, { logger: false, abortOnError: false });
  app.useGlobalPipes(validationPipe());
  app.useGlobalGuards(new AccessGuard(parts));
  app.useGlobalFilters(new ProblemFilter(failures));
  const fastify = adapter.getInstance() as unknown as FastifyInstance;
  addSecurityHeaders(fastify);
  addRequestMetrics(fastify, metrics);
  obeyBodyLimits(fastify);
  takeEmptyBodies(fastify);
  takeUploads(fastify);
  const routes = await openDoor(fastify, parts);
  refuseOtherMethods(fastify, routes);
  serveDocs(fastify, JSON.stringify(makeOpenApiDocument(app, parts.version)));
  serveEventDocs(fastify, makeAsyncApiDocument(parts.version, parts.topics));
  await app.init();
  await fastify.ready();
  const close = async () => {
    await alerts.close();
    await app.close();
  };
  return { app, routes, listen: (host, port) => listen(app, host, port), close };
}

function serverOptions(parts: ApiParts, failures: FailureLog): FastifyServerOptions {
  return {
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    routerOptions: { maxParamLength: PARAMETER_LIMIT },
    ...(parts.trustedProxies.length > 0 ? { trustProxy: [...parts.trustedProxies] } : {}),
    forceCloseConnections: true,
    return503OnClosing: true,
    clientErrorHandler: refuseUnreadable,
    // Ids that callers send are not taken over: they could forge entries of the log.
    genReqId: () => randomUUID(),
    frameworkErrors: (error, request, reply) => {
      setSecurityHeaders(reply, request.url);
      sendProblem(reply, toProblem(error, request, failures));
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
