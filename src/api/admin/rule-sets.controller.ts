/** Owns `/v1/rule-sets`. Neighbours: `rule-sets-views.ts` has the forms, the rule book the sets, `RolloutView` the tasks. */
import { Controller, Get, Header, Inject, Param, Query } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { RolloutView } from '../../fraud/rules/rollout-view.js';
import type { RuleBook } from '../../fraud/rules/rule-book.js';
import type { RuleSetHead } from '../../fraud/rules/rule-book-store.js';
import { Requires } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { PAGE, type Page, type PageQuery, pageFrom, pageQuerySchema } from '../paging.js';
import { ROLLOUT_VIEW, RULE_BOOK } from '../parts.js';
import {
  type CurrentRuleSetView,
  currentRuleSetSchema,
  type RuleSetView,
  ruleSetPageSchema,
  ruleSetSchema,
  viewHead,
  viewRollout,
  viewRuleSet,
} from './rule-sets-views.js';
import { VERSION, versionIn } from './rules-views.js';

@ApiTags('rules')
@Controller('v1/rule-sets')
export class RuleSetsController {
  constructor(
    @Inject(RULE_BOOK) private readonly book: RuleBook,
    @Inject(ROLLOUT_VIEW) private readonly rollout: RolloutView,
  ) {}

  @Get()
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listRuleSets', summary: 'Lists rule sets, newest first, and why each was made' })
  @Answers(200, ruleSetPageSchema, 'A page of rule sets')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async list(
    @Query({ schema: pageQuerySchema }) { limit = PAGE.default, cursor }: PageQuery,
  ): Promise<Page<RuleSetHead>> {
    const found = await this.book.ruleSets(limit + 1, versionIn(cursor));
    return pageFrom(found, limit, viewHead, ({ version }) => version);
  }

  @Get('current')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({
    operationId: 'getCurrentRuleSet',
    summary: 'Shows the newest rule set, and from which offset on each task runs it',
  })
  @Answers(200, currentRuleSetSchema, 'The rule set and its roll-out')
  @AnswersProblem(503, 'The database does not answer, or no rule set has been made yet')
  async current(): Promise<CurrentRuleSetView> {
    const stored = await this.book.ruleSet('newest');
    return { ...viewRuleSet(stored), rollout: viewRollout(stored, this.rollout.state()) };
  }

  @Get(':version')
  @Requires('rules:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getRuleSet', summary: 'Shows a rule set as it was published' })
  @ApiParam({ name: 'version', schema: { type: 'integer', minimum: 1, maximum: 999_999_999 } })
  @Answers(200, ruleSetSchema, 'The rule set')
  @AnswersProblem(404, 'There was never a rule set of this version')
  @AnswersProblem(503, 'The database does not answer')
  async get(@Param('version') version: string): Promise<RuleSetView> {
    return viewRuleSet(await this.book.ruleSet(VERSION.test(version) ? Number(version) : 0));
  }
}
