/** Owns `/v1/alerts/stream`. Neighbours: `alert-streams.ts` does the work. */
import { Controller, Get, Headers, Inject, Query, Res } from '@nestjs/common';
import { ApiHeader, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Requires } from '../access/requires.js';
import { AnswersProblem } from '../docs/answers.js';
import { RequestInvalidError } from '../http-errors.js';
import { AlertStreams } from './alert-streams.js';
import { feedFilterShape } from './alert-views.js';

const streamQuerySchema = z.strictObject(feedFilterShape);
type StreamQuery = z.infer<typeof streamQuerySchema>;

@ApiTags('alerts')
@Controller('v1/alerts/stream')
export class AlertStreamController {
  constructor(@Inject(AlertStreams) private readonly streams: AlertStreams) {}

  @Get()
  @Requires('alerts:read')
  @ApiOperation({ operationId: 'streamAlerts', summary: 'Sends new alerts as they are stored, as server-sent events' })
  @ApiHeader({
    name: 'Last-Event-ID',
    required: false,
    description: 'The last id that was received: goes on behind it, missing and repeating nothing',
    schema: { type: 'string', pattern: '^[0-9]{1,15}$' },
  })
  @ApiResponse({
    status: 200,
    description: 'Events `alert` whose data is an AlertHead; ids to come back with; comments as heartbeats',
    content: { 'text/event-stream': { schema: { type: 'string' } } },
  })
  @AnswersProblem(400, 'A parameter or Last-Event-ID is wrong')
  @AnswersProblem(503, 'The database does not answer, or too many streams are open')
  async stream(
    @Query({ schema: streamQuerySchema }) filter: StreamQuery,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const { readable } = await this.streams.start(filter, sequenceOf(lastEventId));
    reply.raw.once('close', () => readable.destroy());
    void reply
      .header('content-type', 'text/event-stream; charset=utf-8')
      .header('cache-control', 'no-store')
      // Reverse proxies that buffer answers would hold alerts back.
      .header('x-accel-buffering', 'no')
      .send(readable);
  }
}

function sequenceOf(lastEventId: string | undefined): number | null {
  if (lastEventId === undefined || lastEventId === '') return null;
  if (/^[0-9]{1,15}$/.test(lastEventId)) return Number(lastEventId);
  throw new RequestInvalidError([{ name: 'Last-Event-ID', message: 'must be an id that this stream gave' }]);
}
