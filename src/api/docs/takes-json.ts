/** Owns the decorator for routes that take JSON: how a body is refused. Neighbour: `../body-limit.ts` has the sizes. */
import { applyDecorators } from '@nestjs/common';
import { AnswersProblem } from './answers.js';

export function TakesJson(): MethodDecorator {
  return applyDecorators(
    AnswersProblem(400, 'The body is no JSON, or a parameter, header or field is wrong'),
    AnswersProblem(413, 'The body is too large'),
    AnswersProblem(415, 'The body is of another type than application/json'),
  );
}
