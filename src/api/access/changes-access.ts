/** Owns what all routes that change users or API keys have in common. */
import { applyDecorators, Header } from '@nestjs/common';
import { AnswersProblem } from '../docs/answers.js';
import { Requires, TakesIdempotencyKey } from './requires.js';

export function ChangesAccess(): MethodDecorator {
  return applyDecorators(
    Requires('access:write'),
    TakesIdempotencyKey(),
    Header('cache-control', 'no-store'),
    AnswersProblem(400, 'A parameter or the body is wrong'),
    AnswersProblem(413, 'The body is too large'),
    AnswersProblem(415, 'The body is no JSON'),
    AnswersProblem(503, 'The database does not answer, or too much is asked of it at this moment'),
  );
}
