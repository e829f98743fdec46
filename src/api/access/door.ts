/**
 * Owns the door in front of all routes: who it is, how often they may come, and whether they may come in here, all of it
 * before a byte of the body is read. Neighbours: `requires.ts` says what a route requires, `access-guard.ts` looks once
 * more, for routes that forgot to say.
 *
 * D1 Accepted credentials count against their actor, everything else against its address: who tries credentials out
 *    from one network does not lock out the others there.
 * D2 Memory is bounded: the least recently seen of {@link REMEMBERED} actors and as many addresses leave.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { type Credentials, CredentialsRefusedError, PermissionDeniedError } from '../../fraud/access/authenticator.js';
import { StreamError } from '../../stream/errors.js';
import type { ApiParts } from '../parts.js';
import type { RateLimit } from './access-parts.js';
import type { AuthenticatedRequest, Required } from './requires.js';

const REMEMBERED = 10_000;
const WINDOW_MS = 60_000;
/** Orchestrators and Prometheus must get through whatever else happens. */
const UNLIMITED = /^\/(health\/(live|ready)|metrics)$/;

class RateLimitedError extends StreamError {
  constructor(readonly retryAfterS: number) {
    super('rate-limited', `Too many requests; come back in ${retryAfterS} s.`);
  }
}

type Count = (request: FastifyRequest) => Promise<void>;

/** A route, and whom it is for. */
export interface RouteAccess {
  readonly method: string;
  /** Its pattern: `/v1/alerts/:id`. */
  readonly url: string;
  readonly requires: Required;
}

/** To be called before routes are made; gives the list in which they will be. */
export async function openDoor(fastify: FastifyInstance, parts: ApiParts): Promise<readonly RouteAccess[]> {
  const routes: RouteAccess[] = [];
  fastify.addHook('onRoute', ({ method, url, config }) => {
    for (const one of [method].flat()) routes.push({ method: one, url, requires: config?.requires ?? 'open' });
  });
  const { perActor, perAddress } = await counters(fastify, parts.rateLimit);
  fastify.addHook('onRequest', async (request: AuthenticatedRequest) => {
    const { url, config } = request.routeOptions;
    if (url !== undefined && UNLIMITED.test(url)) return;
    const required = config.requires ?? 'open';
    if (required === 'open') return perAddress(request);
    try {
      request.actor = await parts.authenticator.authenticate(credentialsOf(request));
    } catch (error) {
      if (error instanceof CredentialsRefusedError) await perAddress(request); // D1
      throw error;
    }
    await perActor(request);
    if (required !== 'signed-in' && !request.actor.permissions.has(required)) throw new PermissionDeniedError(required);
  });
  return routes;
}

/** What a request shows. Errors: {@link CredentialsRefusedError} for nothing at all, and for two things. */
export function credentialsOf({ headers }: FastifyRequest): Credentials {
  const key = headers['x-api-key'];
  const found = /^Bearer +([^\s]+)$/i.exec(headers.authorization ?? '');
  if (typeof key === 'string' && key !== '') {
    if (found === null) return { kind: 'api-key', key };
    throw new CredentialsRefusedError(
      'credentials-invalid',
      'There are two credentials: send `Authorization` or `X-API-Key`, so that it is clear who asks.',
    );
  }
  if (found !== null) return { kind: 'bearer', token: found[1] };
  throw new CredentialsRefusedError(
    'credentials-missing',
    'Send `Authorization: Bearer <token>` or `X-API-Key: <key>`.',
  );
}

/** Two counts with memories of their own: a flood of addresses forgets no actor (D2). */
async function counters(
  fastify: FastifyInstance,
  limit: RateLimit | null,
): Promise<{ perActor: Count; perAddress: Count }> {
  if (limit === null) return { perActor: async () => undefined, perAddress: async () => undefined };
  await fastify.register(rateLimit, { global: false, cache: REMEMBERED });
  const common = { timeWindow: WINDOW_MS, cache: REMEMBERED };
  const actors = fastify.createRateLimit({
    ...common,
    max: limit.perActor,
    keyGenerator: (request) => (request as AuthenticatedRequest).actor?.id ?? '',
  });
  const addresses = fastify.createRateLimit({ ...common, max: limit.perAddress });
  const counting =
    (limiter: typeof actors): Count =>
    async (request) => {
      const count = await limiter(request);
      if (!count.isAllowed && count.isExceeded) throw new RateLimitedError(Math.max(1, count.ttlInSeconds));
    };
  return { perActor: counting(actors), perAddress: counting(addresses) };
}
