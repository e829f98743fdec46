/**
 * Owns `/v1/pattern-parameters`: the parameters of the built-in patterns, part of every rule set. Neighbours:
 * `pattern-parameters-views.ts` has the forms, the rule book decides.
 */
import { Body, Controller, Get, Header, HttpCode, Inject, Post, Put, Query, Res } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Precondition } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import type { PatternParameters } from '../../fraud/patterns/pattern-parameters.js';
import type { RuleBook } from '../../fraud/rules/rule-book.js';
import type { PatternDetail } from '../../fraud/rules/rule-book-store.js';
import { Requires, TakesIdempotencyKey, WriteOf } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { TakesJson } from '../docs/takes-json.js';
import { etag, IfMatch, TakesIfMatch } from '../if-match.js';
import { PAGE, type Page, type PageQuery, pageFrom, pageQuerySchema } from '../paging.js';
import { RULE_BOOK } from '../parts.js';
import {
  type PatternsView,
  type PatternVersionView,
  patternBodySchema,
  patternPageSchema,
  patternsSchema,
  viewPatterns,
  viewPatternVersion,
} from './pattern-parameters-views.js';
import { type BringLive, bringLiveSchema, versionIn } from './rules-views.js';

const NOT_NOW = 'The database does not answer, or nothing has been seeded yet';

@ApiTags('rules')
@Controller('v1/pattern-parameters')
export class PatternParametersController {
  constructor(@Inject(RULE_BOOK) private readonly book: RuleBook) {}

  @Get()
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getPatternParameters', summary: 'Shows the version that runs, and the newest one' })
  @Answers(200, patternsSchema, 'The parameters')
  @AnswersProblem(503, NOT_NOW)
  async get(@Res({ passthrough: true }) reply: FastifyReply): Promise<PatternsView> {
    return answer(reply, await this.book.patterns());
  }

  @Put()
  @Requires('rules:write')
  @TakesIdempotencyKey()
  @TakesIfMatch()
  @TakesJson()
  @ApiOperation({
    operationId: 'changePatternParameters',
    summary: 'Writes another version; what runs goes on until a version is activated',
  })
  @Answers(200, patternsSchema, 'The parameters; without another version where nothing differs from the newest')
  @AnswersProblem(503, NOT_NOW)
  async change(
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: patternBodySchema }) parameters: PatternParameters,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PatternsView> {
    return answer(reply, await this.book.changePatterns(write, parameters, expected));
  }

  @Get('versions')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listPatternParameterVersions', summary: 'Lists versions, newest first' })
  @Answers(200, patternPageSchema, 'A page of versions')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async versions(
    @Query({ schema: pageQuerySchema }) { limit = PAGE.default, cursor }: PageQuery,
  ): Promise<Page<PatternVersionView>> {
    const found = await this.book.patternVersions(limit + 1, versionIn(cursor));
    return pageFrom(found, limit, viewPatternVersion, ({ version }) => version);
  }

  @Post('activate')
  @HttpCode(200)
  @Requires('rules:approve')
  @TakesIdempotencyKey()
  @TakesIfMatch()
  @TakesJson()
  @ApiOperation({
    operationId: 'activatePatternParameters',
    summary: 'Brings a version live in every task, an older one to go back',
  })
  @Answers(200, patternsSchema, 'The parameters')
  @AnswersProblem(404, 'There is no such version')
  @AnswersProblem(409, 'The rule set would be too large')
  @AnswersProblem(503, NOT_NOW)
  async activate(
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: bringLiveSchema }) { version }: BringLive,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<PatternsView> {
    return answer(reply, await this.book.activatePatterns(write, version, expected));
  }
}

function answer(reply: FastifyReply, patterns: PatternDetail): PatternsView {
  reply.header('etag', etag(patterns.entry.revision));
  return viewPatterns(patterns);
}
