/**
 * Owns how errors look over HTTP: problem details (RFC 9457), all of them from here. The domain knows no HTTP; its
 * errors' codes are mapped to responses in one table. What is not in the table is our fault: 500, told to the log and
 * not to the caller.
 */
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { StreamError } from '../stream/errors.js';
import type { ApiParts } from './parts.js';

export const PROBLEM_TYPE = 'application/problem+json';

export const problemSchema = z
  .object({
    type: z.string().meta({ description: 'Identifies the kind of problem: urn:fraud-detection:problem:<code>' }),
    title: z.string().meta({ description: 'The kind of problem in words' }),
    status: z.int(),
    code: z.string().meta({ description: 'Stable code of the kind of problem' }),
    detail: z.string().meta({ description: 'What happened, and what to do' }),
    instance: z.string().meta({ description: 'The request, as it is named in the log' }),
    parameters: z
      .exactOptional(z.array(z.object({ name: z.string(), message: z.string() })))
      .meta({ description: 'Parameters that are wrong' }),
    reasons: z.exactOptional(z.array(z.string())).meta({ description: 'Why the process is not ready' }),
  })
  .meta({ id: 'Problem', description: 'Problem details (RFC 9457)' });

type Problem = z.infer<typeof problemSchema>;

/** A request whose parameters don't fit. */
export class RequestInvalidError extends StreamError {
  constructor(readonly parameters: readonly { readonly name: string; readonly message: string }[]) {
    const named = parameters.map(({ name, message }) => `${name}: ${message}`).join('; ');
    super('request-invalid', `The request has wrong parameters: ${named}`);
  }
}

export class AlertNotFoundError extends StreamError {
  constructor(alertId: string) {
    super('alert-not-found', `No alert has the id '${alertId.slice(0, 64)}'.`);
  }
}

/** The process can't do its work now. */
export class NotReadyError extends StreamError {
  constructor(readonly reasons: readonly string[]) {
    super('not-ready', `Not ready: ${reasons.join('; ')}`);
  }
}

const RESPONSES: Readonly<Record<string, { readonly status: number; readonly title: string }>> = {
  'request-invalid': { status: 400, title: 'Wrong parameters' },
  'cursor-invalid': { status: 400, title: 'Wrong cursor' },
  'credentials-missing': { status: 401, title: 'Who are you?' },
  'credentials-invalid': { status: 401, title: 'Credentials not accepted' },
  'credentials-expired': { status: 401, title: 'Credentials have expired' },
  'permission-denied': { status: 403, title: 'Not allowed' },
  'idempotency-key-reused': { status: 422, title: 'Idempotency key used before' },
  'issuer-unavailable': { status: 503, title: 'The identity provider does not answer' },
  'alert-not-found': { status: 404, title: 'No such alert' },
  'database-unavailable': { status: 503, title: 'The database does not answer' },
  'not-ready': { status: 503, title: 'Not ready' },
};

/** Codes and titles for what Nest and Fastify refuse themselves. */
const BY_STATUS: Readonly<Record<number, { readonly code: string; readonly title: string }>> = {
  400: { code: 'request-malformed', title: 'Malformed request' },
  404: { code: 'route-not-found', title: 'No such route' },
  405: { code: 'method-not-allowed', title: 'Method not allowed' },
  408: { code: 'request-timeout', title: 'The request took too long' },
  413: { code: 'body-too-large', title: 'The body is too large' },
  414: { code: 'url-too-long', title: 'The address is too long' },
  415: { code: 'media-type-unsupported', title: 'Media type not supported' },
};

function describe(error: unknown): Omit<Problem, 'type' | 'instance'> | null {
  if (error instanceof StreamError) {
    const { code, message: detail } = error;
    const response = RESPONSES[code];
    if (response === undefined) return null;
    const problem = { ...response, code, detail };
    if (error instanceof RequestInvalidError) return { ...problem, parameters: [...error.parameters] };
    if (error instanceof NotReadyError) return { ...problem, reasons: [...error.reasons] };
    return problem;
  }
  const status = statusOf(error);
  const known = BY_STATUS[status];
  if (known === undefined || !(error instanceof Error)) return null;
  return { status, ...known, detail: error.message };
}

function statusOf(error: unknown): number {
  if (error instanceof HttpException) return error.getStatus();
  // Fastify's own errors (body limit, JSON syntax, media type) carry their status.
  if (error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number') return error.statusCode;
  return 500;
}

/** The answer to a failed request. Tells `onUnexpected` of what is not the caller's doing. */
export function toProblem(
  error: unknown,
  request: Pick<FastifyRequest, 'id' | 'method' | 'url'>,
  onUnexpected: ApiParts['onUnexpected'],
): Problem {
  const instance = `urn:fraud-detection:request:${request.id}`;
  const described = describe(error);
  const known = described !== null && described.status !== 500;
  if (!known || (described.status === 503 && described.code !== 'not-ready')) {
    onUnexpected(error, { method: request.method, path: request.url.split('?')[0], id: request.id });
  }
  const problem = known
    ? described
    : {
        status: 500,
        title: 'Unexpected failure',
        code: 'unexpected',
        detail: 'Something went wrong here. The log has the cause under the name in `instance`.',
      };
  return { type: `urn:fraud-detection:problem:${problem.code}`, ...problem, instance };
}

/** Sends a problem. */
export function sendProblem(reply: FastifyReply, problem: Problem): void {
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="fraud-detection"');
  // Bytes, as Fastify would add a charset to text, which this media type does not have.
  void reply
    .status(problem.status)
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(problem)));
}

/** Turns whatever a route throws into a problem. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly onUnexpected: ApiParts['onUnexpected']) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    sendProblem(reply, toProblem(error, http.getRequest<FastifyRequest>(), this.onUnexpected));
  }
}
