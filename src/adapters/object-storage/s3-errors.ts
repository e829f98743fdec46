/**
 * Owns what S3's refusals mean: which pass by themselves, and what an operator is told of the others.
 * Neighbour: `s3-requests.ts` asks here after every failed request.
 */
import { StreamError } from '../../stream/errors.js';

/** Where requests go, for messages. */
export interface S3Address {
  readonly bucket: string;
  /** Undefined: AWS's own of the region. */
  readonly endpoint: string | undefined;
}

/** Names under which S3 and its like report trouble that passes. */
const PASSING: ReadonlySet<string> = new Set([
  'InternalError',
  'OperationAborted',
  'RequestTimeTooSkewed', // the SDK has set its clock by the answer
  'RequestTimeout',
  'ServiceUnavailable',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TimeoutError',
  'AbortError', // our own time limit
]);

const PASSING_STATUS: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

const DENIED: ReadonlySet<string> = new Set([
  'AccessDenied',
  'AccountProblem',
  'AuthorizationHeaderMalformed',
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'Forbidden',
  'InvalidAccessKeyId',
  'InvalidToken',
  'SignatureDoesNotMatch',
]);

const WRONG_REGION: ReadonlySet<string> = new Set([
  'PermanentRedirect',
  'Redirect',
  'IllegalLocationConstraintException',
]);
const FULL: ReadonlySet<string> = new Set(['QuotaExceeded', 'XMinioStorageFull', 'EntityTooLarge']);

/** No answer came: what the system, or the stream of a body that broke off, says then. */
const NO_ANSWER: ReadonlySet<string> = new Set([
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETUNREACH',
  'ENOTFOUND',
  'EPIPE',
  'EPROTO',
  'ERR_STREAM_PREMATURE_CLOSE',
  'ETIMEDOUT',
]);

export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

export function statusOf(error: unknown): number | null {
  const metadata = error instanceof Error && '$metadata' in error ? error.$metadata : null;
  const status = (metadata as { readonly httpStatusCode?: unknown } | null)?.httpStatusCode;
  return typeof status === 'number' ? status : null;
}

/** Worth another try: no answer came, or one that says so. An answer that refuses is none. */
export function passes(error: unknown): boolean {
  if (error instanceof StreamError) return false;
  const name = nameOf(error);
  if (PASSING.has(name)) return true;
  if (DENIED.has(name)) return false;
  const status = statusOf(error);
  if (status !== null) return PASSING_STATUS.has(status);
  return error instanceof Error && 'code' in error && NO_ANSWER.has(String(error.code));
}

/** What is thrown in the end. `doing`: `read tasks/x from`. */
export function toldOf(error: unknown, doing: string, address: S3Address, triedMs: number): StreamError {
  if (error instanceof StreamError) return error;
  const at = address.endpoint ?? 'AWS';
  const where = `bucket ${address.bucket} at ${at}`;
  const reason = reasonOf(error);
  const say = (code: string, advice: string): StreamError =>
    new StreamError(code, `Cannot ${doing} ${where}: ${reason}. ${advice}`, { cause: error });
  const name = nameOf(error);
  if (name === 'NoSuchBucket') {
    return say('object-store-missing-bucket', `Make the bucket ${address.bucket}, or correct its name or s3.endpoint.`);
  }
  if (WRONG_REGION.has(name) || statusOf(error) === 301) {
    return say('object-store-wrong-region', 'Set s3.region to the region that the bucket is in.');
  }
  if (DENIED.has(name) || statusOf(error) === 401 || statusOf(error) === 403) {
    return say(
      'object-store-denied',
      'Check s3.accessKeyId and s3.secretAccessKey (or the role of this machine), s3.region, and that they may list the ' +
        'bucket and get, put and delete its objects.',
    );
  }
  if (FULL.has(name) || statusOf(error) === 507)
    return say('object-store-full', 'Free some space there, or raise the quota.');
  if (passes(error)) {
    return say(
      'object-store-unreachable',
      `Tried for ${Math.ceil(triedMs / 1_000)} s. Check the network to ${at}, that the service is up, and s3.endpoint and s3.pathStyle.`,
    );
  }
  return say('object-store-refused', 'Check s3.endpoint, s3.region and s3.pathStyle against what the service wants.');
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const said = error.message === '' || error.message === 'UnknownError' ? '' : `: ${error.message.replace(/\.$/, '')}`;
  const status = statusOf(error);
  // An answer without a body, as to a HEAD, has but its status.
  const name = /^Unknown/.test(error.name) && status !== null ? 'answer' : error.name;
  return `${name}${status === null ? '' : ` ${status}`}${said}`;
}
