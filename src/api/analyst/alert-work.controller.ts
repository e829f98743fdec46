/**
 * Owns working on alerts over HTTP: assign, note, dispose of, reopen. Neighbours: `work-views.ts` has the forms, the
 * port `AlertWork` carries it out. Each answers the alert as it is afterwards, with its new ETag.
 */
import { applyDecorators, Body, Controller, Header, HttpCode, Inject, Param, Post, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Precondition } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { AlertNotFoundError, type WorkAction } from '../../fraud/cases/alert-work.js';
import type { AlertHead } from '../../fraud/cases/stored-alert.js';
import { Requires, TakesIdempotencyKey, WriteOf } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { etag } from '../if-match.js';
import { ALERT_PARTS, type AlertParts } from '../parts.js';
import { alertHeadSchema } from './alert-views.js';
import { ALERT_ID } from './alerts.controller.js';
import { OptionalIfMatch, TakesOptionalIfMatch } from './optional-if-match.js';
import {
  type AssignBody,
  assignSchema,
  type DispositionBody,
  dispositionSchema,
  type NoteBody,
  noteSchema,
  type ReopenBody,
  reopenSchema,
} from './work-views.js';

/** What all work on an alert has in common. */
function Works(operationId: string, summary: string): MethodDecorator {
  return applyDecorators(
    HttpCode(200),
    Requires('alerts:work'),
    Header('cache-control', 'no-store'),
    ApiOperation({ operationId, summary }),
    ApiParam({ name: 'id', description: "The alert's id", schema: { type: 'string', pattern: ALERT_ID.source } }),
    TakesIdempotencyKey(),
    TakesOptionalIfMatch(),
    Answers(200, alertHeadSchema, 'The alert afterwards'),
    AnswersProblem(400, 'The body, If-Match or Idempotency-Key is wrong'),
    AnswersProblem(404, 'No alert has this id'),
    AnswersProblem(413, 'The body is too large'),
    AnswersProblem(415, 'The body is not JSON'),
    AnswersProblem(503, 'The database does not answer'),
  );
}

@ApiTags('alerts')
@Controller('v1/alerts/:id')
export class AlertWorkController {
  constructor(@Inject(ALERT_PARTS) private readonly parts: AlertParts) {}

  @Post('assign')
  @Works('assignAlert', 'Assigns an alert, to whom asks where nobody is named')
  @AnswersProblem(409, 'The alert is closed')
  async assign(
    @Param('id') id: string,
    @Body({ schema: assignSchema }) { assignee }: AssignBody,
    @OptionalIfMatch() expected: Precondition | null,
    @WriteOf() request: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AlertHead> {
    const action: WorkAction = { kind: 'assign', assignee: assignee === undefined ? request.actor.id : assignee };
    return this.work(request, id, expected, action, reply);
  }

  @Post('notes')
  @Works('noteAlert', 'Adds a note to an alert')
  async note(
    @Param('id') id: string,
    @Body({ schema: noteSchema }) { text }: NoteBody,
    @OptionalIfMatch() expected: Precondition | null,
    @WriteOf() request: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AlertHead> {
    return this.work(request, id, expected, { kind: 'note', note: text }, reply);
  }

  @Post('disposition')
  @Works('disposeOfAlert', 'Says what an alert was found to be, closes it and publishes a label')
  @AnswersProblem(409, 'The alert has this disposition and reason already')
  async dispose(
    @Param('id') id: string,
    @Body({ schema: dispositionSchema }) { disposition, reasonCode, note }: DispositionBody,
    @OptionalIfMatch() expected: Precondition | null,
    @WriteOf() request: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AlertHead> {
    return this.work(request, id, expected, { kind: 'dispose', disposition, reasonCode, note: note ?? null }, reply);
  }

  @Post('reopen')
  @Works('reopenAlert', 'Reopens a closed alert; its label stands until another supersedes it')
  @AnswersProblem(409, 'The alert is not closed')
  async reopen(
    @Param('id') id: string,
    @Body({ schema: reopenSchema }) { note }: ReopenBody,
    @OptionalIfMatch() expected: Precondition | null,
    @WriteOf() request: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<AlertHead> {
    return this.work(request, id, expected, { kind: 'reopen', note: note ?? null }, reply);
  }

  private async work(
    request: WriteRequest,
    alertId: string,
    expected: Precondition | null,
    action: WorkAction,
    reply: FastifyReply,
  ): Promise<AlertHead> {
    if (!ALERT_ID.test(alertId)) throw new AlertNotFoundError(alertId);
    const alert = await this.parts.work.carryOut(request, alertId, expected, action);
    reply.header('etag', etag(alert.revision));
    return alert;
  }
}
