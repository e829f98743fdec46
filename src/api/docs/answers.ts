/** Owns the decorators that say what a route answers, from the same zod schemas that the code is typed by. */
import { applyDecorators } from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { z } from 'zod';
import { PROBLEM_TYPE } from '../http-errors.js';

/** A JSON answer. */
export function Answers(status: number, schema: z.ZodType, description: string): MethodDecorator {
  return applyDecorators(ApiResponse({ status, description, standardSchema: schema }));
}

/** A problem (RFC 9457). */
export function AnswersProblem(status: number, description: string): MethodDecorator {
  const content = { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } };
  return applyDecorators(ApiResponse({ status, description, content }));
}
