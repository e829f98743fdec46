/** Owns reading `/v1/alerts`. Neighbours: `alert-views.ts` has the forms, the port `AlertReader` finds the alerts. */
import { Controller, Get, Header, Inject, Param, Query, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Actor } from '../../fraud/access/actor.js';
import { decodeCursor, encodeCursor } from '../../fraud/cases/alert-cursor.js';
import { AlertNotFoundError } from '../../fraud/cases/alert-work.js';
import type { AlertHead, StoredAlert, WorkEntry } from '../../fraud/cases/stored-alert.js';
import { ActorOf, Requires } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { etag } from '../if-match.js';
import { PAGE } from '../paging.js';
import { ALERT_PARTS, type AlertParts } from '../parts.js';
import {
  type AlertQuery,
  alertPageSchema,
  alertQuerySchema,
  filterAndOrder,
  storedAlertSchema,
} from './alert-views.js';

export const ALERT_ID = /^[0-9a-f]{32}$/;

@ApiTags('alerts')
@Controller('v1/alerts')
export class AlertsController {
  constructor(@Inject(ALERT_PARTS) private readonly parts: AlertParts) {}

  @Get()
  @Requires('alerts:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listAlerts', summary: 'Lists alerts, newest first, page by page' })
  @Answers(200, alertPageSchema, 'A page of alerts')
  @AnswersProblem(400, 'A parameter is wrong, `from` is not before `to`, or the cursor is of another order')
  @AnswersProblem(503, 'The database does not answer')
  async list(
    @Query({ schema: alertQuerySchema }) query: AlertQuery,
    @ActorOf() actor: Actor,
  ): Promise<{ items: readonly AlertHead[]; next: string | null }> {
    const { limit = PAGE.default, cursor, ...asked } = query;
    const { filter, order } = filterAndOrder(asked, actor.id);
    const after = cursor === undefined ? null : decodeCursor(order, cursor);
    const { items, next } = await this.parts.reader.list(filter, order, limit, after);
    return { items, next: next === null ? null : encodeCursor(order, next) };
  }

  @Get(':id')
  @Requires('alerts:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({
    operationId: 'getAlert',
    summary: "Shows an alert with its whole evidence, the work on it and the card's other alerts",
  })
  @ApiParam({ name: 'id', description: "The alert's id", schema: { type: 'string', pattern: ALERT_ID.source } })
  @Answers(200, storedAlertSchema, 'The alert; its ETag goes into If-Match')
  @AnswersProblem(404, 'No alert has this id')
  @AnswersProblem(503, 'The database does not answer')
  async get(
    @Param('id') alertId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<StoredAlert & { notes: readonly { at: number; by: WorkEntry['by']; text: string }[] }> {
    const alert = ALERT_ID.test(alertId) ? await this.parts.reader.get(alertId) : null;
    if (alert === null) throw new AlertNotFoundError(alertId);
    reply.header('etag', etag(alert.revision));
    const notes = alert.history.flatMap(({ at, by, note }) => (note === null ? [] : [{ at, by, text: note }]));
    return { ...alert, notes };
  }
}
