/**
 * Owns If-Match where it may be left out: work on an alert is added to what is there, so most callers need not know its
 * revision. Neighbour: `../if-match.ts`.
 */
import { applyDecorators, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import type { Precondition } from '../../fraud/audit/precondition.js';
import { AnswersProblem } from '../docs/answers.js';
import { IfMatchHeader, seenRevisions } from '../if-match.js';

/** Documents If-Match on a route that takes an {@link OptionalIfMatch}. */
export function TakesOptionalIfMatch(): MethodDecorator {
  return applyDecorators(
    IfMatchHeader(false, 'The ETag of what the change is based on; left out, it is made whatever happened meanwhile'),
    AnswersProblem(412, 'It has been changed meanwhile; read it again'),
  );
}

/** Parameter: the revisions that the caller has seen; null where the caller does not say, or says `*`. */
export const OptionalIfMatch = createParamDecorator((_: unknown, context: ExecutionContext): Precondition | null => {
  const header = context.switchToHttp().getRequest<FastifyRequest>().headers['if-match'];
  return header === undefined || header.trim() === '*' ? null : seenRevisions(header);
});
