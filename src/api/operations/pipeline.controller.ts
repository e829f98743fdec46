/** Owns `/v1/pipeline`. Neighbours: `pipeline-view.ts` has the form. */
import { Controller, Get, Header, Inject } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { Requires } from '../access/requires.js';
import { Answers } from '../docs/answers.js';
import { API_PARTS, type ApiParts } from '../parts.js';
import { type PipelineView, pipelineViewSchema, viewPipeline } from './pipeline-view.js';

@ApiTags('operations')
@Controller('v1/pipeline')
export class PipelineController {
  constructor(@Inject(API_PARTS) private readonly parts: ApiParts) {}

  @Get()
  @Requires('operations:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getPipeline', summary: 'Tells of tasks, lag, epochs, checkpoints and the projector' })
  @Answers(200, pipelineViewSchema, 'The pipeline now')
  show(): PipelineView {
    const { pipeline, projector, relay } = this.parts;
    return viewPipeline(pipeline?.status() ?? null, projector?.status() ?? null, relay?.status() ?? null);
  }
}
