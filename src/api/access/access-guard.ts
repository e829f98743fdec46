/**
 * Owns the door: every request is asked who it is and whether it may, before anything of the route runs.
 * Neighbours: `requires.ts` marks routes, the port `Authenticator` knows tokens and keys.
 */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { type Credentials, CredentialsRefusedError, PermissionDeniedError } from '../../fraud/access/authenticator.js';
import type { Permission } from '../../fraud/access/permissions.js';
import type { ApiParts } from '../parts.js';
import { type AuthenticatedRequest, REQUIRED } from './requires.js';

export class AccessGuard implements CanActivate {
  private readonly reflector = new Reflector();

  constructor(private readonly parts: ApiParts) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const required = this.reflector.getAllAndOverride<Permission | 'open' | undefined>(REQUIRED, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (required === 'open') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    const actor = await this.parts.authenticator.authenticate(credentialsOf(request));
    if (required === undefined) throw new PermissionDeniedError('that this route forgot to name');
    if (!actor.permissions.has(required)) throw new PermissionDeniedError(required);
    request.actor = actor;
    return true;
  }
}

function credentialsOf({ headers }: FastifyRequest): Credentials {
  const key = headers['x-api-key'];
  if (typeof key === 'string') return { kind: 'api-key', key };
  const found = /^Bearer +([^\s]+)$/i.exec(headers.authorization ?? '');
  if (found !== null) return { kind: 'bearer', token: found[1] };
  throw new CredentialsRefusedError(
    'credentials-missing',
    'Send `Authorization: Bearer <token>` or `X-API-Key: <key>`.',
  );
}
