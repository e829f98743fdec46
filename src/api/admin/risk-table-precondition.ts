/**
 * Owns what a caller says about the row that it sets: that it has seen it (If-Match), or that there is none
 * (If-None-Match: *). Neighbour: `../if-match.ts` has the first half.
 */
import { applyDecorators, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiHeader } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { Precondition } from '../../fraud/audit/precondition.js';
import { AnswersProblem } from '../docs/answers.js';
import { RequestInvalidError } from '../http-errors.js';
import { IfMatchHeader, seenRevisions } from '../if-match.js';

/** Documents both headers on a route that takes a {@link RowSeen}. */
export function TakesRowSeen(): MethodDecorator {
  return applyDecorators(
    IfMatchHeader(false, 'The ETag of the row that is to be changed'),
    ApiHeader({
      name: 'If-None-Match',
      required: false,
      description: '`*`: the row is to be new',
      schema: { type: 'string', enum: ['*'] },
    }),
    AnswersProblem(412, 'The row has been changed, made or removed meanwhile; read it again'),
    AnswersProblem(428, 'Neither If-Match nor If-None-Match is given'),
  );
}

/** Parameter: the revisions that the caller has seen, or 'absent'. */
export const RowSeen = createParamDecorator((_: unknown, context: ExecutionContext): Precondition | 'absent' => {
  const { headers } = context.switchToHttp().getRequest<FastifyRequest>();
  const absent = headers['if-none-match'];
  if (absent === undefined) return seenRevisions(headers['if-match']);
  if (absent.trim() === '*' && headers['if-match'] === undefined) return 'absent';
  throw new RequestInvalidError([
    { name: 'If-None-Match', message: 'must be * and without If-Match: it says that there is no row yet' },
  ]);
});
