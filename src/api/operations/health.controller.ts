/**
 * Owns `/health`: live (the process answers) and ready (it can do its work). A process that is live and not ready is
 * left running and gets no requests.
 */
import { Controller, Get, Header, Inject } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { OpenToAll } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { NotReadyError } from '../http-errors.js';
import { API_PARTS, type ApiParts } from '../parts.js';

const liveSchema = z.object({ status: z.literal('live') }).meta({ id: 'Live' });
const readySchema = z.object({ status: z.literal('ready') }).meta({ id: 'Ready' });

/** How long the database may take to answer. */
const DATABASE_MS = 2_000;

@ApiTags('operations')
@OpenToAll()
@Controller('health')
export class HealthController {
  constructor(@Inject(API_PARTS) private readonly parts: ApiParts) {}

  @Get('live')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'isLive', summary: 'Answers as long as the process does' })
  @Answers(200, liveSchema, 'It lives')
  live(): z.infer<typeof liveSchema> {
    return { status: 'live' };
  }

  @Get('ready')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'isReady', summary: 'Ready when all tasks run and the database answers' })
  @Answers(200, readySchema, 'It is ready')
  @AnswersProblem(503, 'It is not, for the reasons given')
  async ready(): Promise<z.infer<typeof readySchema>> {
    const reasons = [...this.pipelineReasons(), ...this.projectorReasons(), ...(await this.databaseReasons())];
    if (reasons.length > 0) throw new NotReadyError(reasons);
    return { status: 'ready' };
  }

  private pipelineReasons(): string[] {
    const { pipeline } = this.parts;
    if (pipeline === null) return [];
    const status = pipeline.status();
    if (status === null) return ['the pipeline has not started yet'];
    return [...status.tasks, ...(status.firstStage ?? [])]
      .filter((task) => task.state !== 'running')
      .map(({ taskId, state, error }) => `task ${taskId} is ${state}${error === null ? '' : `: ${error.message}`}`);
  }

  private projectorReasons(): string[] {
    const status = this.parts.projector?.status();
    if (status?.state !== 'failed') return [];
    return [`the projector has failed${status.error === null ? '' : `: ${status.error.message}`}`];
  }

  private async databaseReasons(): Promise<string[]> {
    const { clock, database } = this.parts;
    if (database === null) return [];
    return new Promise((resolve) => {
      const cancel = clock.schedule(DATABASE_MS, () =>
        resolve([`the database takes over ${DATABASE_MS} ms to answer`]),
      );
      database.check().then(
        () => {
          cancel();
          resolve([]);
        },
        (error: unknown) => {
          cancel();
          resolve([error instanceof Error ? error.message : String(error)]);
        },
      );
    });
  }
}
