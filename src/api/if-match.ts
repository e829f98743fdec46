/**
 * Owns ETag and If-Match over HTTP (RFC 9110, 13.1.1): an ETag is a revision in quotes, and a change must name the one
 * it is based on. Neighbours: routes that change something take {@link IfMatch}; `../fraud/audit/precondition.ts`
 * compares.
 */
import { applyDecorators, createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { ApiHeader } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { Precondition } from '../fraud/audit/precondition.js';
import { StreamError } from '../stream/errors.js';
import { AnswersProblem } from './docs/answers.js';
import { RequestInvalidError } from './http-errors.js';

/** A change that does not say what it is based on. */
class PreconditionRequiredError extends StreamError {
  constructor() {
    super(
      'precondition-required',
      'Send If-Match with the ETag of what you have read, such as If-Match: "3": it keeps two people from overwriting each other’s changes.',
    );
  }
}

/** The strong ETag of a revision. */
export const etag = (revision: number): string => `"${revision}"`;

const ETAGS = /^\s*(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e]*")*\s*$/;
const MOST_LENGTH = 1_024;

/** Documents the header alone. */
export const IfMatchHeader = (required: boolean, description: string): MethodDecorator =>
  ApiHeader({ name: 'If-Match', required, description, schema: { type: 'string', pattern: '^"[0-9]{1,9}"$' } });

/** Documents If-Match, and its answers, on a route that takes an {@link IfMatch}. */
export function TakesIfMatch(): MethodDecorator {
  return applyDecorators(
    IfMatchHeader(true, 'The ETag of what the change is based on'),
    AnswersProblem(412, 'It has been changed meanwhile; read it again'),
    AnswersProblem(428, 'If-Match is missing'),
  );
}

/** Parameter: the revisions that the caller has seen. An ETag of another kind, a weak one too, never matches. */
export const IfMatch = createParamDecorator(
  (_: unknown, context: ExecutionContext): Precondition =>
    seenRevisions(context.switchToHttp().getRequest<FastifyRequest>().headers['if-match']),
);

/** The revisions that an If-Match names. Errors: {@link PreconditionRequiredError}, {@link RequestInvalidError}. */
export function seenRevisions(header: string | undefined): Precondition {
  if (header === undefined) throw new PreconditionRequiredError();
  if (header.length > MOST_LENGTH || !ETAGS.test(header)) {
    throw new RequestInvalidError([
      { name: 'If-Match', message: 'must be the ETag of the last answer, in its quotes, such as "3"' },
    ]);
  }
  // A number beyond 2^53 equals no revision.
  return [...header.matchAll(/(W\/)?"([^"]*)"/g)].flatMap(([, weak, tag]) =>
    weak === undefined && /^[0-9]{1,15}$/.test(tag) ? [Number(tag)] : [],
  );
}
