/** Owns `/metrics`, in Prometheus' text form. Neighbours: `metrics.ts` has the table, `collect-metrics.ts` fills it. */

import { Controller, Get, Header, Inject } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { Registry } from 'prom-client';
import { OpenToAll } from '../access/requires.js';
import { API_PARTS, type ApiParts } from '../parts.js';
import { collectMetrics } from './collect-metrics.js';
import type { MetricSet } from './metrics.js';

/** Injection token of the {@link MetricSet}. */
export const METRIC_SET = Symbol('MetricSet');
/** Injection token of its prom-client `Registry`. */
export const METRIC_REGISTRY = Symbol('MetricRegistry');

@ApiTags('operations')
@OpenToAll()
@Controller('metrics')
export class MetricsController {
  constructor(
    @Inject(API_PARTS) private readonly parts: ApiParts,
    @Inject(METRIC_SET) private readonly metrics: MetricSet,
    @Inject(METRIC_REGISTRY) private readonly registry: Registry,
  ) {}

  @Get()
  @Header('content-type', Registry.PROMETHEUS_CONTENT_TYPE)
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getMetrics', summary: 'All metrics, for Prometheus' })
  @ApiResponse({
    status: 200,
    description: "Prometheus' text form 0.0.4",
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async show(): Promise<string> {
    const { pipeline, projector, relay, clock } = this.parts;
    const [running, projecting] = [pipeline?.status() ?? null, projector?.status() ?? null];
    collectMetrics(this.metrics, running, projecting, relay?.status() ?? null, clock.now());
    return this.registry.metrics();
  }
}
