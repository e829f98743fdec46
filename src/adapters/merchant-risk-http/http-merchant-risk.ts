/**
 * Owns the merchant-risk port over HTTP: `GET <baseUrl>/v1/merchants/<id>/risk` answers
 * `{"merchantId", "risk": 0..1, "asOf": ms since 1970}`; 404 means that the merchant is not known. Neighbours:
 * `fraud/enrichment` bounds calls in number and time and decides what a failure means; nothing is retried here.
 */
import { Pool } from 'undici';
import { z } from 'zod';
import {
  type MerchantRisk,
  type MerchantRiskLookup,
  MerchantUnknownError,
} from '../../fraud/enrichment/merchant-risk-lookup.js';
import { StreamError } from '../../stream/errors.js';

/** The service answered with something else than a risk, or did not answer. */
export class MerchantRiskHttpError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('merchant-risk-http', message, options);
  }
}

export interface HttpMerchantRiskOptions {
  /** Scheme, host, port, and a path before `/v1` where there is one. */
  readonly baseUrl: string;
  /** Connections kept at most; each carries one request at a time. 128 where left out. */
  readonly connections?: number;
  /** Until a connection stands, or an answer's head or next bytes have come. 2,000 where left out. */
  readonly timeoutMs?: number;
  /** Sent with each request: authorisation, for one. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface HttpMerchantRisk extends MerchantRiskLookup {
  /** Ends all connections; requests under way are rejected. */
  close(): Promise<void>;
}

const MAX_RESPONSE_BYTES = 4_096;

const answerSchema = z.object({
  merchantId: z.string(),
  risk: z.number().min(0).max(1),
  asOf: z.number().int().min(0),
});

/** Errors: code `merchant-risk-url` for a base URL that is none or not http(s). */
export function httpMerchantRisk(options: HttpMerchantRiskOptions): HttpMerchantRisk {
  const { connections = 128, timeoutMs = 2_000, headers = {} } = options;
  const { origin, path } = readBaseUrl(options.baseUrl);
  const pool = new Pool(origin, {
    connections,
    // More than one a connection, and a slow answer would hold up those behind it.
    pipelining: 1,
    maxResponseSize: MAX_RESPONSE_BYTES,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    connect: { timeout: timeoutMs },
  });
  return {
    async lookup(merchantId, signal): Promise<MerchantRisk> {
      const { status, text } = await request(pool, `${path}/${encodeURIComponent(merchantId)}/risk`, headers, signal);
      if (status === 404) throw new MerchantUnknownError(merchantId);
      if (status !== 200) throw new MerchantRiskHttpError(`the merchant-risk service answered ${status}`);
      return readAnswer(text, merchantId);
    },
    close: () => pool.destroy(),
  };
}

function readBaseUrl(baseUrl: string): { readonly origin: string; readonly path: string } {
  const url = URL.canParse(baseUrl) ? new URL(baseUrl) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new StreamError(
      'merchant-risk-url',
      `the merchant-risk service's base URL must look like http://host:port, found ${JSON.stringify(baseUrl)}`,
    );
  }
  return { origin: url.origin, path: `${url.pathname.replace(/\/+$/, '')}/v1/merchants` };
}

async function request(
  pool: Pool,
  path: string,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly text: string }> {
  try {
    const { statusCode, body } = await pool.request({ method: 'GET', path, headers, signal });
    if (statusCode === 200) return { status: statusCode, text: await body.text() };
    await body.dump({ limit: MAX_RESPONSE_BYTES, signal });
    return { status: statusCode, text: '' };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new MerchantRiskHttpError(`the merchant-risk service did not answer: ${reason}`, { cause: error });
  }
}

function readAnswer(text: string, merchantId: string): MerchantRisk {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new MerchantRiskHttpError('the merchant-risk service answered with something that is not JSON', {
      cause: error,
    });
  }
  const answer = answerSchema.safeParse(parsed);
  if (!answer.success) {
    const [issue] = answer.error.issues;
    throw new MerchantRiskHttpError(
      `the merchant-risk service's answer is bad at ${issue.path.join('.')}: ${issue.message}`,
    );
  }
  if (answer.data.merchantId !== merchantId) {
    throw new MerchantRiskHttpError('the merchant-risk service answered for another merchant than it was asked for');
  }
  return { risk: answer.data.risk, asOfMs: answer.data.asOf };
}
