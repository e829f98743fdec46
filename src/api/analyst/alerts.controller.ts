/** Owns `/v1/alerts`. Neighbours: `alert-views.ts` has the forms, the port `AlertReader` finds the alerts. */
import { Controller, Get, Header, Inject, Param, Query } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { decodeCursor, encodeCursor } from '../../fraud/cases/alert-cursor.js';
import type { AlertHead, AlertReader, StoredAlert } from '../../fraud/cases/stored-alert.js';
import { Requires } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { AlertNotFoundError } from '../http-errors.js';
import { ALERT_READER } from '../parts.js';
import { ALERTS_LIMIT, type AlertQuery, alertPageSchema, alertQuerySchema, storedAlertSchema } from './alert-views.js';

const ALERT_ID = /^[0-9a-f]{32}$/;

@ApiTags('alerts')
@Controller('v1/alerts')
export class AlertsController {
  constructor(@Inject(ALERT_READER) private readonly alerts: AlertReader) {}

  @Get()
  @Requires('alerts:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listAlerts', summary: 'Lists alerts, newest first, page by page' })
  @Answers(200, alertPageSchema, 'A page of alerts')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async list(
    @Query({ schema: alertQuerySchema }) query: AlertQuery,
  ): Promise<{ items: readonly AlertHead[]; next: string | null }> {
    const { limit = ALERTS_LIMIT.default, cursor, ...filter } = query;
    const after = cursor === undefined ? null : decodeCursor(cursor);
    const { items, next } = await this.alerts.list(filter, limit, after);
    return { items, next: next === null ? null : encodeCursor(next) };
  }

  @Get(':id')
  @Requires('alerts:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getAlert', summary: 'Shows an alert with its whole evidence' })
  @ApiParam({ name: 'id', description: "The alert's id", schema: { type: 'string', pattern: ALERT_ID.source } })
  @Answers(200, storedAlertSchema, 'The alert')
  @AnswersProblem(404, 'No alert has this id')
  @AnswersProblem(503, 'The database does not answer')
  async get(@Param('id') alertId: string): Promise<StoredAlert> {
    const alert = ALERT_ID.test(alertId) ? await this.alerts.get(alertId) : null;
    if (alert === null) throw new AlertNotFoundError(alertId);
    return alert;
  }
}
