/**
 * Owns checking a rule and trying it out under `/v1/rules`: neither touches production. Neighbours:
 * `rules-trial-views.ts` has the forms; `src/fraud/rules` checks and runs.
 */
import { Body, Controller, HttpCode, Inject, Param, Post } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { checkCondition } from '../../fraud/rules/check-condition.js';
import { checkRuleContent, notesOn } from '../../fraud/rules/check-rule.js';
import { RULE_TRIGGERS } from '../../fraud/rules/rule.js';
import type { RuleBook } from '../../fraud/rules/rule-book.js';
import { RuleInvalidError, type RuleNote, type RuleProblem } from '../../fraud/rules/rule-problems.js';
import type { RuleTrial } from '../../fraud/rules/rule-trial.js';
import { Requires } from '../access/requires.js';
import { BodyLimit } from '../body-limit.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { TakesJson } from '../docs/takes-json.js';
import { RULE_BOOK, RULE_TRIAL } from '../parts.js';
import { viewRuleProblem } from './rules-problem-view.js';
import {
  TRIAL_BODY_BYTES,
  type TrialAnswer,
  type TrialBody,
  trialAnswerSchema,
  trialSchema,
  type ValidateBody,
  type ValidationView,
  validateSchema,
  validationSchema,
} from './rules-trial-views.js';
import { checkedRuleId, RULE_ID } from './rules-views.js';

@ApiTags('rules')
@Controller('v1/rules')
export class RulesTrialController {
  constructor(
    @Inject(RULE_BOOK) private readonly book: RuleBook,
    @Inject(RULE_TRIAL) private readonly trial: RuleTrial,
  ) {}

  @Post('validate')
  @HttpCode(200)
  @Requires('rules:read')
  @TakesJson()
  @ApiOperation({
    operationId: 'validateRule',
    summary: 'Tells everything that is wrong with a condition or a rule, with line, column and what to do',
  })
  @Answers(200, validationSchema, 'What was found, also where it is not valid')
  validate(@Body({ schema: validateSchema }) { condition, trigger = 'payment', rule }: ValidateBody): ValidationView {
    if (condition !== undefined) {
      const { problems, cost } = checkCondition(condition, trigger);
      return validation(problems, [], cost);
    }
    // A rule as it would be created has an id, which is no part of its content.
    const { id: _, ...content } = rule ?? {};
    return validation(problemsOf(content), notesOn(content), costOf(content));
  }

  @Post(':id/test')
  @HttpCode(200)
  @Requires('rules:read')
  @BodyLimit(TRIAL_BODY_BYTES)
  @TakesJson()
  @ApiOperation({
    operationId: 'testRule',
    summary: 'Tries a version of a rule on given payments, through the same steps that production runs',
  })
  @ApiParam({
    name: 'id',
    description: "The rule's id",
    schema: { type: 'string', pattern: RULE_ID.source, maxLength: 64 },
  })
  @Answers(200, trialAnswerSchema, 'What the rule makes of each payment')
  @AnswersProblem(404, 'No rule has this id, or the rule no such version')
  @AnswersProblem(422, 'The version is of an older form of the language, and no longer accepted')
  @AnswersProblem(503, 'The database or the model cannot be used now, or too many trials wait')
  async test(@Param('id') id: string, @Body({ schema: trialSchema }) body: TrialBody): Promise<TrialAnswer> {
    const ruleId = checkedRuleId(id);
    const { entry, newest } = await this.book.rule(ruleId);
    const version = body.version ?? entry.newestVersion;
    const stored = version === entry.newestVersion ? newest : await this.book.version(ruleId, version);
    const { id: _, version: __, ...content } = stored.rule;
    checkRuleContent(content);
    const { live: patterns } = await this.book.patterns();
    const cases = body.payments.map(({ payment, merchantRisk = null, score = null }) => ({
      payment,
      merchantRisk,
      score,
    }));
    const { payments, expiries } = await this.trial.run(stored.rule, patterns.parameters, cases);
    const number = (outcome: string) => [...payments, ...expiries].filter((one) => one.outcome === outcome).length;
    return {
      rule: { id: ruleId, version, hash: stored.hash },
      patternsVersion: patterns.version,
      totals: {
        payments: payments.length,
        expiries: expiries.length,
        fired: number('fired'),
        notFired: number('not-fired'),
        failed: number('failed'),
        refused: number('refused'),
      },
      payments: [...payments],
      expiries: [...expiries],
    };
  }
}

function validation(problems: readonly RuleProblem[], notes: readonly RuleNote[], cost: number | null): ValidationView {
  return {
    valid: problems.length === 0,
    problems: problems.map(viewRuleProblem),
    notes: [...notes],
    cost: cost === 0 ? null : cost,
  };
}

function problemsOf(content: unknown): readonly RuleProblem[] {
  try {
    checkRuleContent(content);
    return [];
  } catch (error) {
    if (error instanceof RuleInvalidError) return error.problems;
    throw error;
  }
}

function costOf({ condition, trigger }: Readonly<Record<string, unknown>>): number | null {
  const known = RULE_TRIGGERS.find((name) => name === (trigger ?? 'payment'));
  return typeof condition === 'string' && known !== undefined ? checkCondition(condition, known).cost : null;
}
