/**
 * Owns the small merchant-risk service that the demo and the tests run: it speaks what `http-merchant-risk.ts` asks,
 * and can be slow, fail or hang on command. Not for production: its risks are made up.
 *
 *   GET /v1/merchants/:id/risk   {"merchantId", "risk", "asOf"}, after the latency, or 503 at the failure rate
 *   GET /v1/behaviour            how it behaves
 *   PUT /v1/behaviour            changes any of latencyMs, jitterMs, failureRate, hang; answers with all
 *   GET /health/live             200
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { worldMerchantRisk } from '../../fraud/world/merchant-risk.js';
import { Random } from '../../fraud/world/random.js';
import { StreamError } from '../../stream/errors.js';

const behaviourSchema = z.strictObject({
  latencyMs: z.number().min(0).max(600_000),
  /** Added to the latency, evenly spread from 0. */
  jitterMs: z.number().min(0).max(600_000),
  /** Share of lookups answered with 503. */
  failureRate: z.number().min(0).max(1),
  /** Lookups are never answered; those under way stay unanswered when it ends. */
  hang: z.boolean(),
});
export type MerchantRiskBehaviour = z.infer<typeof behaviourSchema>;
const changeSchema = behaviourSchema.partial();

export interface MerchantRiskServiceOptions extends Partial<MerchantRiskBehaviour> {
  readonly host?: string;
  /** 0 or left out: any free one. */
  readonly port?: number;
  /** For failures and jitter. */
  readonly seed?: number;
  /** 0 to 1, or null for a merchant it shall not know (404). {@link worldMerchantRisk} where left out. */
  readonly riskOf?: (merchantId: string) => number | null;
  /** Wall clock for `asOf`, ms since 1970. */
  readonly now?: () => number;
}

export interface MerchantRiskService {
  readonly url: string;
  readonly port: number;
  /** Lookups received, and the most that were under way at once. */
  readonly figures: { readonly lookups: number; readonly mostAtOnce: number };
  behave(change: Partial<MerchantRiskBehaviour>): void;
  /** Stops listening and ends every connection, answered or not. */
  close(): Promise<void>;
}

const MAX_BODY_BYTES = 4_096;
const LOOKUP_PATH = /^\/v1\/merchants\/([^/]{1,600})\/risk$/;

/** Errors: code `merchant-risk-port` where it cannot listen. */
export async function startMerchantRiskService(options: MerchantRiskServiceOptions = {}): Promise<MerchantRiskService> {
  const { host = '127.0.0.1', port = 0, seed = 1, riskOf = worldMerchantRisk, now = Date.now, ...given } = options;
  const behaviour = behaviourSchema.parse({ latencyMs: 5, jitterMs: 0, failureRate: 0, hang: false, ...given });
  const random = new Random(seed);
  const figures = { lookups: 0, mostAtOnce: 0 };
  const timers = new Set<NodeJS.Timeout>();
  let atOnce = 0;

  const answerLookup = (merchantId: string, response: ServerResponse) => {
    figures.lookups += 1;
    atOnce += 1;
    figures.mostAtOnce = Math.max(figures.mostAtOnce, atOnce);
    response.once('close', () => {
      atOnce -= 1;
    });
    if (behaviour.hang) return;
    const fails = random.chance(behaviour.failureRate);
    const delayMs = behaviour.latencyMs + random.between(0, behaviour.jitterMs);
    const timer = setTimeout(() => {
      timers.delete(timer);
      const risk = riskOf(merchantId);
      if (fails) send(response, 503, { error: 'failing as told' });
      else if (risk === null) send(response, 404, { error: 'no such merchant' });
      else send(response, 200, { merchantId, risk, asOf: now() });
    }, delayMs);
    timers.add(timer);
  };

  const server = createServer((request, response) => {
    const { method = '', url = '' } = request;
    const lookup = LOOKUP_PATH.exec(url);
    const merchantId = lookup === null ? null : decodeId(lookup[1]);
    if (method === 'GET' && merchantId !== null) answerLookup(merchantId, response);
    else if (method === 'GET' && url === '/health/live') send(response, 200, {});
    else if (method === 'GET' && url === '/v1/behaviour') send(response, 200, behaviour);
    else if (method === 'PUT' && url === '/v1/behaviour') void changeBehaviour(request, response, behaviour);
    else send(response, 404, { error: `nothing at ${method} ${url.slice(0, 100)}` });
  });
  const boundPort = await listen(server, host, port);
  return {
    url: `http://${host}:${boundPort}`,
    port: boundPort,
    figures,
    behave: (change) => void Object.assign(behaviour, changeSchema.parse(change)),
    close: () => {
      for (const timer of timers) clearTimeout(timer);
      return new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new StreamError(
          'merchant-risk-port',
          `the merchant-risk service cannot listen on ${host}:${port}: ${error.message}`,
          {
            cause: error,
          },
        ),
      ),
    );
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

async function changeBehaviour(
  request: IncomingMessage,
  response: ServerResponse,
  behaviour: MerchantRiskBehaviour,
): Promise<void> {
  try {
    const change = changeSchema.parse(JSON.parse(await readBody(request)));
    send(response, 200, Object.assign(behaviour, change));
  } catch (error) {
    send(response, 400, { error: error instanceof Error ? error.message : String(error) });
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let sizeBytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    sizeBytes += part.length;
    if (sizeBytes > MAX_BODY_BYTES) throw new RangeError(`a body may have ${MAX_BODY_BYTES} bytes at most`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function decodeId(encoded: string): string | null {
  try {
    return decodeURIComponent(encoded);
  } catch {
    // Not percent-encoding: answered like any other path that does not exist.
    return null;
  }
}

function send(response: ServerResponse, code: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(code, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
