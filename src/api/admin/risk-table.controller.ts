/**
 * Owns `/v1/risk-table`. Neighbours: `risk-table-views.ts` has the forms, `risk-table-body.ts` takes files, the port
 * `RiskRows` keeps the rows.
 */
import { createHash } from 'node:crypto';
import { Body, Controller, Delete, Get, Header, HttpCode, Inject, Param, Post, Put, Query, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Precondition } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import {
  merchantIdFault,
  type RiskRow,
  RiskRowNotFoundError,
  type RiskRows,
} from '../../fraud/enrichment/risk-rows.js';
import { readUpload } from '../../fraud/enrichment/risk-rows-upload.js';
import { Requires, TakesIdempotencyKey, WriteOf } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { RequestInvalidError } from '../http-errors.js';
import { etag, IfMatch, TakesIfMatch } from '../if-match.js';
import { pageWith, placeIn } from '../paging.js';
import { RISK_ROWS } from '../parts.js';
import { RISK_TABLE_PATH, TakesUpload, uploadOf } from './risk-table-body.js';
import { RowSeen, TakesRowSeen } from './risk-table-precondition.js';
import {
  type RiskQuery,
  type RiskValuesBody,
  ROWS_LIMIT,
  riskPageSchema,
  riskQuerySchema,
  riskRowSchema,
  riskValuesSchema,
  type UploadQuery,
  uploadAnswerSchema,
  uploadQuerySchema,
} from './risk-table-views.js';

const MERCHANT_ID = {
  name: 'merchantId',
  description: "The merchant's id: 64 bytes at most",
  schema: { type: 'string', minLength: 1, maxLength: 64 },
} as const;

@ApiTags('risk-table')
@Controller(RISK_TABLE_PATH)
export class RiskTableController {
  constructor(@Inject(RISK_ROWS) private readonly rows: RiskRows) {}

  @Get()
  @Requires('risk-table:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listRiskRows', summary: 'Lists the risk table, page by page' })
  @Answers(200, riskPageSchema, 'A page of rows')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async list(@Query({ schema: riskQuerySchema }) query: RiskQuery) {
    const { merchantIdPrefix = '', limit = ROWS_LIMIT.default, cursor } = query;
    const after = placeIn(cursor, (merchantId) => merchantIdFault(merchantId) === null);
    return pageWith(await this.rows.list(merchantIdPrefix, limit, after));
  }

  @Get(':merchantId')
  @Requires('risk-table:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getRiskRow', summary: "Shows a merchant's row, with its ETag" })
  @ApiParam(MERCHANT_ID)
  @Answers(200, riskRowSchema, 'The row')
  @AnswersProblem(404, 'The merchant has no row')
  @AnswersProblem(503, 'The database does not answer')
  async get(
    @Param('merchantId') merchantId: string,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RiskRow> {
    const row = merchantIdFault(merchantId) === null ? await this.rows.get(merchantId) : null;
    if (row === null) throw new RiskRowNotFoundError(merchantId);
    reply.header('etag', etag(row.revision));
    return row;
  }

  @Put(':merchantId')
  @Requires('risk-table:write')
  @ApiOperation({ operationId: 'setRiskRow', summary: "Sets a merchant's risk" })
  @ApiParam(MERCHANT_ID)
  @TakesRowSeen()
  @TakesIdempotencyKey()
  @Answers(200, riskRowSchema, 'The row, changed')
  @Answers(201, riskRowSchema, 'The row, new')
  @AnswersProblem(400, 'A parameter, a header or the body is wrong')
  @AnswersProblem(409, 'The table is full')
  @AnswersProblem(413, 'The body is too large')
  @AnswersProblem(415, 'The body is no JSON')
  @AnswersProblem(503, 'The database does not answer')
  async set(
    @Param('merchantId') merchantId: string,
    @Body({ schema: riskValuesSchema }) { risk, note = null }: RiskValuesBody,
    @RowSeen() expected: Precondition | 'absent',
    @WriteOf() request: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RiskRow> {
    const wrong = merchantIdFault(merchantId);
    if (wrong !== null) throw new RequestInvalidError([{ name: 'merchantId', message: wrong }]);
    const { row, isNew } = await this.rows.set(request, merchantId, { risk, note }, expected);
    reply.status(isNew ? 201 : 200).header('etag', etag(row.revision));
    return row;
  }

  @Delete(':merchantId')
  @Requires('risk-table:write')
  @HttpCode(204)
  @ApiOperation({ operationId: 'removeRiskRow', summary: "Removes a merchant's row" })
  @ApiParam(MERCHANT_ID)
  @TakesIfMatch()
  @TakesIdempotencyKey()
  @ApiResponse({ status: 204, description: 'The row is gone' })
  @AnswersProblem(400, 'A header is wrong, or there is a body that is no JSON')
  @AnswersProblem(404, 'The merchant has no row')
  @AnswersProblem(413, 'There is a body, and it is too large')
  @AnswersProblem(415, 'There is a body, and it is no JSON')
  @AnswersProblem(503, 'The database does not answer')
  async remove(
    @Param('merchantId') merchantId: string,
    @IfMatch() expected: Precondition,
    @WriteOf() request: WriteRequest,
  ): Promise<void> {
    if (merchantIdFault(merchantId) !== null) throw new RiskRowNotFoundError(merchantId);
    await this.rows.remove(request, merchantId, expected);
  }

  @Post('bulk')
  @Requires('risk-table:write')
  @HttpCode(200)
  @ApiOperation({
    operationId: 'uploadRiskRows',
    summary: 'Sets many rows at once, all or none',
    description:
      'CSV with the columns `merchantId,risk[,note]` (a header is optional), or one JSON object with these fields a ' +
      'line. Up to 50,000 rows and 5 MB. Rows of merchants that the file does not name stay as they are.',
  })
  @TakesUpload()
  @TakesIdempotencyKey()
  @Answers(200, uploadAnswerSchema, 'What was done, or would be')
  @AnswersProblem(400, 'A parameter is wrong, or the body is no UTF-8 text')
  @AnswersProblem(409, 'The table would be too full')
  @AnswersProblem(413, 'The body is too large')
  @AnswersProblem(415, 'The body is neither CSV nor lines of JSON')
  @AnswersProblem(503, 'The database does not answer')
  async upload(
    @Query({ schema: uploadQuerySchema }) { dryRun }: UploadQuery,
    @Body() body: unknown,
    @WriteOf() request: WriteRequest,
  ) {
    const { format, text } = uploadOf(body);
    const rows = readUpload(format, text);
    if (dryRun === 'true') return { rows: rows.length, ...(await this.rows.preview(rows)), applied: false };
    const sha256 = createHash('sha256').update(text).digest('hex');
    return { rows: rows.length, ...(await this.rows.upload(request, { rows, format, sha256 })), applied: true };
  }
}
