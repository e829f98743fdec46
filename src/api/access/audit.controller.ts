/** Owns `/v1/audit`: what was done, by whom, and the head that proves later that nothing was cut off. */
import { Controller, Get, Header, Inject, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { AuditHead } from '../../fraud/audit/audit-reading.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { PAGE, pageWith, placeIn } from '../paging.js';
import { requireRange } from '../validation.js';
import { ACCESS_PARTS, type AccessParts } from './access-parts.js';
import { type AuditQuery, auditHeadSchema, auditPageSchema, auditQuerySchema } from './access-views.js';
import { Requires } from './requires.js';

const SEQUENCE = /^[1-9]\d{0,14}$/;

@ApiTags('access')
@Controller('v1/audit')
export class AuditController {
  constructor(@Inject(ACCESS_PARTS) private readonly access: AccessParts) {}

  @Get()
  @Requires('audit:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listAudit', summary: 'Lists the audit trail, newest first, page by page' })
  @Answers(200, auditPageSchema, 'A page of entries')
  @AnswersProblem(400, 'A parameter is wrong, or `from` is not before `to`')
  @AnswersProblem(503, 'The database does not answer')
  async list(@Query({ schema: auditQuerySchema }) query: AuditQuery) {
    const { limit = PAGE.default, cursor, ...filter } = query;
    requireRange(filter.from, filter.to);
    const before = placeIn(cursor, (text) => SEQUENCE.test(text));
    return pageWith(await this.access.audit.list(filter, limit, before === null ? null : Number(before)));
  }

  @Get('head')
  @Requires('audit:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({
    operationId: 'getAuditHead',
    summary: 'Gives the last entry’s sequence and hash, to be noted elsewhere for `fraud audit verify --head`',
  })
  @Answers(200, auditHeadSchema, 'The head')
  @AnswersProblem(503, 'The database does not answer')
  head(): Promise<AuditHead> {
    return this.access.audit.head();
  }
}
