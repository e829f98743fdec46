/**
 * Owns what routes say about access: each names the permission it requires, or that it is open to all. A route that says
 * neither refuses every request, so a forgotten line can't open a door. Neighbours: `access-guard.ts` checks.
 */
import { applyDecorators, createParamDecorator, type ExecutionContext, SetMetadata } from '@nestjs/common';
import { ApiBearerAuth, ApiHeader, ApiSecurity } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { Actor } from '../../fraud/access/actor.js';
import type { Permission } from '../../fraud/access/permissions.js';
import { requestFingerprint, type WriteRequest } from '../../fraud/audit/write-request.js';
import { AnswersProblem } from '../docs/answers.js';
import { RequestInvalidError } from '../http-errors.js';
import { addRouteConfig } from '../route-config.js';

/** Metadata of a route: whom it is for. */
export const REQUIRED = Symbol('required permission');

/** A permission; anybody who is known; anybody at all. */
export type Required = Permission | 'signed-in' | 'open';

declare module 'fastify' {
  interface FastifyContextConfig {
    requires?: Required;
  }
}

/** The route needs this permission: 401 without accepted credentials, 403 without the permission. */
export function Requires(permission: Permission): MethodDecorator {
  return applyDecorators(asking(permission), AnswersProblem(403, `Your roles do not give you ${permission}`));
}

/** The route is for anybody whose credentials are accepted. */
export function ForAllSignedIn(): MethodDecorator {
  return asking('signed-in');
}

function asking(required: Exclude<Required, 'open'>): MethodDecorator {
  return applyDecorators(
    SetMetadata(REQUIRED, required),
    addRouteConfig({ requires: required }),
    ApiBearerAuth('bearer'),
    ApiSecurity('apiKey'),
    AnswersProblem(401, 'No credentials, or none that are accepted'),
    AnswersProblem(429, 'Too many requests; `Retry-After` says when to come back'),
    AnswersProblem(503, 'Who asks can’t be checked now: the database or the identity provider does not answer'),
  );
}

/** The route asks nobody who they are. */
export function OpenToAll(): MethodDecorator & ClassDecorator {
  return SetMetadata(REQUIRED, 'open');
}

/** What the guard leaves on a request. */
export interface AuthenticatedRequest extends FastifyRequest {
  actor?: Actor;
}

function actorOf(context: ExecutionContext): Actor {
  const { actor } = context.switchToHttp().getRequest<AuthenticatedRequest>();
  if (actor === undefined) throw new TypeError('a route without @Requires asks for its actor');
  return actor;
}

/** Parameter: who asks. */
export const ActorOf = createParamDecorator((_: unknown, context: ExecutionContext): Actor => actorOf(context));

const IDEMPOTENCY_HEADER = 'idempotency-key';
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/** Documents the header on a route that takes a {@link WriteOf}. */
export function TakesIdempotencyKey(): MethodDecorator {
  return applyDecorators(
    ApiHeader({
      name: 'Idempotency-Key',
      required: false,
      description: 'A request repeated with the same key within 24 h gets the first answer and changes nothing',
      schema: { type: 'string', pattern: IDEMPOTENCY_KEY.source, minLength: 1, maxLength: 255 },
    }),
    AnswersProblem(422, 'The content is refused, or the Idempotency-Key belongs to another request'),
  );
}

/** Fields of the body that must not be told from the kept fingerprint: a password would be guessed from it. */
interface WithSecrets {
  readonly secrets: readonly string[];
}

/** Parameter: the write that the request asks for, in its actor's name. */
export const WriteOf = createParamDecorator(
  (given: WithSecrets | undefined, context: ExecutionContext): WriteRequest => {
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const key = request.headers[IDEMPOTENCY_HEADER];
    return {
      actor: actorOf(context),
      requestId: request.id,
      idempotency:
        key === undefined
          ? null
          : {
              key: checkedKey(key),
              fingerprint: requestFingerprint(
                request.method,
                request.url,
                bodyText(request.body, given?.secrets ?? []),
              ),
            },
    };
  },
);

function bodyText(body: unknown, secrets: readonly string[]): string {
  return JSON.stringify(body ?? null, (name, value) => (secrets.includes(name) ? undefined : value));
}

function checkedKey(key: string | readonly string[]): string {
  if (typeof key === 'string' && IDEMPOTENCY_KEY.test(key)) return key;
  throw new RequestInvalidError([
    { name: 'Idempotency-Key', message: 'must be 1 to 255 visible ASCII characters, given once' },
  ]);
}
