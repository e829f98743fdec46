/**
 * Owns `/v1/rules`: rules, their versions, and what brings them live. Neighbours: `rules-views.ts` has the forms, the
 * rule book decides; `rules-trial.controller.ts` tries rules out.
 */
import {
  applyDecorators,
  Body,
  Controller,
  Delete,
  Get,
  Header,
  HttpCode,
  Inject,
  Param,
  Post,
  Put,
  Query,
  Res,
} from '@nestjs/common';
import { ApiOperation, ApiParam, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import type { Permission } from '../../fraud/access/permissions.js';
import type { Precondition } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import type { RunningState } from '../../fraud/rules/rule.js';
import type { RuleBook } from '../../fraud/rules/rule-book.js';
import type { RuleDetail } from '../../fraud/rules/rule-book-store.js';
import { Requires, TakesIdempotencyKey, WriteOf } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { TakesJson } from '../docs/takes-json.js';
import { etag, IfMatch, TakesIfMatch } from '../if-match.js';
import { PAGE, type Page, type PageQuery, pageFrom, pageQuerySchema, placeIn } from '../paging.js';
import { RULE_BOOK } from '../parts.js';
import {
  type BringLive,
  bringLiveSchema,
  checkedRuleId,
  type NewRule,
  newRuleSchema,
  type PauseBody,
  pauseSchema,
  RULE_ID,
  type RulesQuery,
  type RuleView,
  ruleContentSchema,
  rulePageSchema,
  ruleSchema,
  rulesQuerySchema,
  ruleVersionPageSchema,
  ruleVersionSchema,
  VERSION,
  versionIn,
  viewRule,
  viewVersion,
} from './rules-views.js';

const RuleIdParam = () =>
  ApiParam({
    name: 'id',
    description: "The rule's id",
    schema: { type: 'string', pattern: RULE_ID.source, maxLength: 64 },
  });
const DatabaseAnswers = () => AnswersProblem(503, 'The database does not answer');
const RuleSetAnswers = () => AnswersProblem(409, 'Too many rules run, or the rule set would be too large');

/** What all changes of a rule have in common. */
function Changes(permission: Permission, operationId: string, summary: string): MethodDecorator {
  return applyDecorators(
    HttpCode(200),
    Requires(permission),
    TakesIdempotencyKey(),
    TakesIfMatch(),
    TakesJson(),
    ApiOperation({ operationId, summary }),
    RuleIdParam(),
    AnswersProblem(404, 'No rule has this id, or the rule no such version'),
    DatabaseAnswers(),
  );
}

@ApiTags('rules')
@Controller('v1/rules')
export class RulesController {
  constructor(@Inject(RULE_BOOK) private readonly book: RuleBook) {}

  @Get()
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listRules', summary: 'Lists rules in the order of their ids, page by page' })
  @Answers(200, rulePageSchema, 'A page of rules')
  @AnswersProblem(400, 'A parameter is wrong')
  @DatabaseAnswers()
  async list(@Query({ schema: rulesQuerySchema }) query: RulesQuery): Promise<Page<RuleView>> {
    const { state = null, limit = PAGE.default, cursor } = query;
    const found = await this.book.rules(
      state,
      limit + 1,
      placeIn(cursor, (text) => RULE_ID.test(text)),
    );
    return pageFrom(found, limit, viewRule, ({ entry }) => entry.id);
  }

  @Post()
  @Requires('rules:write')
  @TakesIdempotencyKey()
  @TakesJson()
  @ApiOperation({ operationId: 'createRule', summary: 'Writes a new rule, as a draft: nothing runs by it yet' })
  @Answers(201, ruleSchema, 'The rule')
  @AnswersProblem(409, 'A rule with this id exists, or the book is full')
  @DatabaseAnswers()
  async create(
    @WriteOf() write: WriteRequest,
    @Body({ schema: newRuleSchema }) { id, ...content }: NewRule,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RuleView> {
    const rule = await this.book.create(write, id, content);
    reply.header('location', `/v1/rules/${id}`);
    return answer(reply, rule);
  }

  @Get(':id')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getRule', summary: 'Shows a rule: the version that runs, and the newest one' })
  @RuleIdParam()
  @Answers(200, ruleSchema, 'The rule')
  @AnswersProblem(404, 'No rule has this id')
  @DatabaseAnswers()
  async get(@Param('id') id: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<RuleView> {
    return answer(reply, await this.book.rule(checkedRuleId(id)));
  }

  @Put(':id')
  @Changes(
    'rules:write',
    'changeRule',
    'Writes another version of a rule; what runs goes on until a version is activated',
  )
  @Answers(200, ruleSchema, 'The rule; without another version where nothing differs from the newest')
  async change(
    @Param('id') id: string,
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: ruleContentSchema }) content: Omit<NewRule, 'id'>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RuleView> {
    return answer(reply, await this.book.change(write, checkedRuleId(id), content, expected));
  }

  @Delete(':id')
  @HttpCode(204)
  @Requires('rules:write')
  @TakesIdempotencyKey()
  @TakesIfMatch()
  @ApiOperation({ operationId: 'removeRule', summary: 'Removes a rule of which no version ever ran' })
  @RuleIdParam()
  @ApiResponse({ status: 204, description: 'The rule is gone, with its versions' })
  @AnswersProblem(400, 'A header is wrong, or there is a body that is no JSON')
  @AnswersProblem(404, 'No rule has this id')
  @AnswersProblem(409, 'A version of the rule has run: it stays')
  @AnswersProblem(413, 'There is a body, and it is too large')
  @AnswersProblem(415, 'There is a body, and it is no JSON')
  @DatabaseAnswers()
  async remove(
    @Param('id') id: string,
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
  ): Promise<void> {
    await this.book.remove(write, checkedRuleId(id), expected);
  }

  @Get(':id/versions')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listRuleVersions', summary: "Lists a rule's versions, newest first" })
  @RuleIdParam()
  @Answers(200, ruleVersionPageSchema, 'A page of versions')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(404, 'No rule has this id')
  @DatabaseAnswers()
  async versions(
    @Param('id') id: string,
    @Query({ schema: pageQuerySchema }) { limit = PAGE.default, cursor }: PageQuery,
  ): Promise<Page<ReturnType<typeof viewVersion>>> {
    const found = await this.book.versions(checkedRuleId(id), limit + 1, versionIn(cursor));
    return pageFrom(found, limit, viewVersion, ({ rule }) => rule.version);
  }

  @Get(':id/versions/:version')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getRuleVersion', summary: 'Shows a version of a rule' })
  @RuleIdParam()
  @ApiParam({ name: 'version', schema: { type: 'integer', minimum: 1, maximum: 999_999_999 } })
  @Answers(200, ruleVersionSchema, 'The version')
  @AnswersProblem(404, 'No rule has this id, or the rule no such version')
  @DatabaseAnswers()
  async version(@Param('id') id: string, @Param('version') version: string): Promise<ReturnType<typeof viewVersion>> {
    // What is no number is a version that nobody wrote.
    return viewVersion(await this.book.version(checkedRuleId(id), VERSION.test(version) ? Number(version) : 0));
  }

  @Post(':id/activate')
  @Changes(
    'rules:approve',
    'activateRule',
    'Brings a version live in every task: a newer one, an older one to go back, or the paused one to resume',
  )
  @Answers(200, ruleSchema, 'The rule')
  @RuleSetAnswers()
  async activate(
    @Param('id') id: string,
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: bringLiveSchema }) { version }: BringLive,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RuleView> {
    return this.bringLive(id, write, expected, { version, to: 'active' }, reply);
  }

  @Post(':id/shadow')
  @Changes(
    'rules:approve',
    'shadowRule',
    'Lets every task evaluate and count a version without any decision coming of it',
  )
  @Answers(200, ruleSchema, 'The rule')
  @RuleSetAnswers()
  async shadow(
    @Param('id') id: string,
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: bringLiveSchema }) { version }: BringLive,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RuleView> {
    return this.bringLive(id, write, expected, { version, to: 'shadow' }, reply);
  }

  @Post(':id/pause')
  @Changes('rules:approve', 'pauseRule', 'Stops a rule in every task; its author may do so, too')
  @Answers(200, ruleSchema, 'The rule')
  @AnswersProblem(409, 'The rule is a draft: it does not run')
  async pause(
    @Param('id') id: string,
    @WriteOf() write: WriteRequest,
    @IfMatch() expected: Precondition,
    @Body({ schema: pauseSchema }) { reason }: PauseBody,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<RuleView> {
    return answer(reply, await this.book.pause(write, checkedRuleId(id), reason, expected));
  }

  private async bringLive(
    id: string,
    write: WriteRequest,
    expected: Precondition,
    wanted: { readonly version: number; readonly to: RunningState },
    reply: FastifyReply,
  ): Promise<RuleView> {
    return answer(reply, await this.book.bringLive(write, checkedRuleId(id), wanted, expected));
  }
}

function answer(reply: FastifyReply, rule: RuleDetail): RuleView {
  reply.header('etag', etag(rule.entry.revision));
  return viewRule(rule);
}
