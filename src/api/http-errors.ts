/**
 * Owns how errors look over HTTP: problem details (RFC 9457), all of them from here. The domain knows no HTTP; its
 * errors' codes are mapped to responses in one table. What is not in the table is our fault: 500, told to the log and
 * not to the caller.
 */
import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { UploadRefusedError } from '../fraud/enrichment/risk-rows-upload.js';
import { RuleInvalidError } from '../fraud/rules/rule-problems.js';
import { StreamError } from '../stream/errors.js';
import { ruleProblemSchema, viewRuleProblem } from './admin/rules-problem-view.js';
import { MethodNotAllowedError } from './allowed-methods.js';
import type { FailureLog } from './failure-log.js';

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
    retryAfterS: z.exactOptional(z.int()).meta({ description: 'Seconds to wait, as in the header Retry-After' }),
    allowed: z
      .exactOptional(z.array(z.string()))
      .meta({ description: 'Methods that the address has, as in the header Allow' }),
    reasons: z.exactOptional(z.array(z.string())).meta({ description: 'Why the process is not ready' }),
    faults: z
      .exactOptional(z.array(z.object({ line: z.int().min(1), field: z.string().nullable(), message: z.string() })))
      .meta({ description: 'The first faults of an upload, by line' }),
    problems: z.exactOptional(z.array(ruleProblemSchema)).meta({ description: 'What is wrong with a rule' }),
    faultCount: z.exactOptional(z.int().min(1)).meta({ description: 'All faults of an upload' }),
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

/** The process can't do its work now. */
export class NotReadyError extends StreamError {
  constructor(readonly reasons: readonly string[]) {
    super('not-ready', `Not ready: ${reasons.join('; ')}`);
  }
}

/** `isOurFault`: no caller can bring it about, and the log is to have the cause. */
const RESPONSES: Readonly<
  Record<string, { readonly status: number; readonly title: string; readonly isOurFault?: true }>
> = {
  'request-invalid': { status: 400, title: 'Wrong parameters' },
  'method-not-allowed': { status: 405, title: 'Method not allowed' },
  'cursor-invalid': { status: 400, title: 'Wrong cursor' },
  'credentials-missing': { status: 401, title: 'Who are you?' },
  'credentials-invalid': { status: 401, title: 'Credentials not accepted' },
  'credentials-expired': { status: 401, title: 'Credentials have expired' },
  'permission-denied': { status: 403, title: 'Not allowed' },
  'idempotency-key-reused': { status: 422, title: 'Idempotency key used before' },
  'rate-limited': { status: 429, title: 'Too many requests' },
  'sign-in-throttled': { status: 429, title: 'Too many failed tries' },
  'sign-in-busy': { status: 503, title: 'Too many people sign in' },
  'user-not-found': { status: 404, title: 'No such user' },
  'user-exists': { status: 409, title: 'The name is taken' },
  'own-access': { status: 409, title: 'You would lock yourself out' },
  'api-key-not-found': { status: 404, title: 'No such API key' },
  'issuer-unavailable': { status: 503, title: 'The identity provider does not answer', isOurFault: true },
  'alert-not-found': { status: 404, title: 'No such alert' },
  'alert-closed': { status: 409, title: 'The alert is closed' },
  'alert-not-closed': { status: 409, title: 'The alert is not closed' },
  'disposition-unchanged': { status: 409, title: 'Closed so already' },
  'statistics-too-large': { status: 422, title: 'Too many counts' },
  'too-many-streams': { status: 503, title: 'Too many streams' },
  'too-many-exports': { status: 503, title: 'Too many exports' },
  'precondition-required': { status: 428, title: 'If-Match is missing' },
  'precondition-failed': { status: 412, title: 'Changed meanwhile' },
  'rule-not-found': { status: 404, title: 'No such rule' },
  'rule-version-not-found': { status: 404, title: 'No such version' },
  'rule-set-not-found': { status: 404, title: 'No such rule set' },
  'rule-exists': { status: 409, title: 'The id is taken' },
  'rule-invalid': { status: 422, title: 'The rule has problems' },
  'rule-has-run': { status: 409, title: 'The rule has run' },
  'rule-not-running': { status: 409, title: 'The rule does not run' },
  'rule-set-full': { status: 409, title: 'Too many rules run' },
  'rule-set-too-large': { status: 409, title: 'The rule set is too large' },
  'rule-book-full': { status: 409, title: 'Too many rules' },
  'rule-book-empty': { status: 503, title: 'No rule set yet', isOurFault: true },
  'model-unavailable': { status: 503, title: 'The model cannot be used', isOurFault: true },
  'trial-busy': { status: 503, title: 'Too many trials' },
  'four-eyes': { status: 403, title: 'Somebody else must approve' },
  'risk-row-not-found': { status: 404, title: 'No such row' },
  'risk-table-full': { status: 409, title: 'The risk table is full' },
  'upload-refused': { status: 422, title: 'The upload has faults' },
  'database-unavailable': { status: 503, title: 'The database does not answer', isOurFault: true },
  'not-ready': { status: 503, title: 'Not ready' },
};

/** Codes and titles for what Nest and Fastify refuse themselves. */
const BY_STATUS: Readonly<Record<number, { readonly code: string; readonly title: string }>> = {
  400: { code: 'request-malformed', title: 'Malformed request' },
  404: { code: 'route-not-found', title: 'No such route' },
  408: { code: 'request-timeout', title: 'The request took too long' },
  413: { code: 'body-too-large', title: 'The body is too large' },
  415: { code: 'media-type-unsupported', title: 'Media type not supported' },
  431: { code: 'head-too-large', title: 'Address and headers are too large' },
};

function describe(error: unknown): Omit<Problem, 'type' | 'instance'> | null {
  if (error instanceof StreamError) {
    const { code, message: detail } = error;
    const response = RESPONSES[code];
    if (response === undefined) return null;
    const { status, title } = response;
    const wait =
      'retryAfterS' in error && typeof error.retryAfterS === 'number' ? { retryAfterS: error.retryAfterS } : {};
    const problem = { status, title, code, detail, ...wait };
    if (error instanceof RequestInvalidError) return { ...problem, parameters: [...error.parameters] };
    if (error instanceof RuleInvalidError) return { ...problem, problems: error.problems.map(viewRuleProblem) };
    if (error instanceof UploadRefusedError) {
      return { ...problem, faults: [...error.faults], faultCount: error.faultCount };
    }
    if (error instanceof MethodNotAllowedError) return { ...problem, allowed: [...error.allowed] };
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

/** The problem that Node or Fastify saw with a request. `status` is one of {@link BY_STATUS}. */
export function problemOf(status: number, detail: string, requestId: string): Problem {
  const known = BY_STATUS[status] ?? { code: 'request-malformed', title: 'Malformed request' };
  return { type: typeOf(known.code), ...known, status, detail, instance: instanceOf(requestId) };
}

const typeOf = (code: string) => `urn:fraud-detection:problem:${code}`;
const instanceOf = (requestId: string) => `urn:fraud-detection:request:${requestId}`;

/** The answer to a failed request. Tells `failures` of what is not the caller's doing. */
export function toProblem(
  error: unknown,
  request: Pick<FastifyRequest, 'id' | 'method' | 'url'>,
  failures: FailureLog,
): Problem {
  const instance = instanceOf(request.id);
  const described = describe(error);
  const known = described !== null && described.status !== 500;
  const failed = { method: request.method, path: request.url.split('?')[0], id: request.id };
  if (!known) failures.tell(error, failed);
  else if (RESPONSES[described.code]?.isOurFault) failures.tellOnceInAWhile(described.code, error, failed);
  const problem = known
    ? described
    : {
        status: 500,
        title: 'Unexpected failure',
        code: 'unexpected',
        detail: 'Something went wrong here. The log has the cause under the name in `instance`.',
      };
  return { type: typeOf(problem.code), ...problem, instance };
}

/** Sends a problem. */
export function sendProblem(reply: FastifyReply, problem: Problem): void {
  if (problem.retryAfterS !== undefined) reply.header('retry-after', String(problem.retryAfterS));
  if (problem.allowed !== undefined) reply.header('allow', problem.allowed.join(', '));
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
  constructor(private readonly failures: FailureLog) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const reply = http.getResponse<FastifyReply>();
    sendProblem(reply, toProblem(error, http.getRequest<FastifyRequest>(), this.failures));
  }
}
