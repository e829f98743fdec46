/** Owns `/v1/alerts/statistics`. Neighbours: `statistics-views.ts` has the forms, the port counts. */
import { Controller, Get, Header, Inject, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { HOUR_MS, type RuleStatistics, summarise } from '../../fraud/cases/alert-statistics.js';
import { Requires } from '../access/requires.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { RequestInvalidError } from '../http-errors.js';
import { ALERT_PARTS, type AlertParts, API_PARTS, type ApiParts } from '../parts.js';
import { requireRange } from '../validation.js';
import { type StatisticsQuery, statisticsQuerySchema, statisticsSchema } from './statistics-views.js';

const DEFAULT_MS = 24 * HOUR_MS;
const LONGEST_MS = 31 * 24 * HOUR_MS;

@ApiTags('alerts')
@Controller('v1/alerts/statistics')
export class AlertStatisticsController {
  constructor(
    @Inject(ALERT_PARTS) private readonly parts: AlertParts,
    @Inject(API_PARTS) private readonly api: ApiParts,
  ) {}

  @Get()
  @Requires('alerts:read')
  @Header('cache-control', 'no-store')
  @ApiOperation({
    operationId: 'countAlerts',
    summary: 'Counts alerts by deciding rule and hour, over 31 days at most',
  })
  @Answers(200, statisticsSchema, 'Counts by rule and hour')
  @AnswersProblem(400, 'A parameter is wrong, `from` is not before `to`, or the range is longer than 31 days')
  @AnswersProblem(422, 'The range holds more than an answer can')
  @AnswersProblem(503, 'The database does not answer')
  async count(
    @Query({ schema: statisticsQuerySchema }) query: StatisticsQuery,
  ): Promise<{ from: number; to: number; rules: readonly RuleStatistics[] }> {
    const end = query.to ?? this.api.clock.now();
    const begin = query.from ?? Math.max(0, end - DEFAULT_MS);
    requireRange(begin, end);
    if (end - begin > LONGEST_MS)
      throw new RequestInvalidError([{ name: 'from', message: 'is over 31 days before `to`' }]);
    const from = Math.floor(begin / HOUR_MS) * HOUR_MS;
    const to = Math.ceil(end / HOUR_MS) * HOUR_MS;
    return { from, to, rules: summarise(await this.parts.statistics.counted(from, to, query.ruleId ?? null)) };
  }
}
