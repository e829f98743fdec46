/**
 * Owns the second look: no route runs unless it says whom it is for, and that is who came. Neighbours: `door.ts` has
 * asked already, from what the route told Fastify; this reads Nest's own marks, so that neither alone can open a route.
 */
import type { CanActivate, ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { PermissionDeniedError } from '../../fraud/access/authenticator.js';
import type { ApiParts } from '../parts.js';
import { credentialsOf } from './door.js';
import { type AuthenticatedRequest, REQUIRED, type Required } from './requires.js';

export class AccessGuard implements CanActivate {
  private readonly reflector = new Reflector();

  constructor(private readonly parts: ApiParts) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const required = this.reflector.getAllAndOverride<Required | undefined>(REQUIRED, [
      context.getHandler(),
      context.getClass(),
    ]);
    if (required === 'open') return true;
    const request = context.switchToHttp().getRequest<AuthenticatedRequest>();
    request.actor ??= await this.parts.authenticator.authenticate(credentialsOf(request));
    if (required === undefined) throw new PermissionDeniedError('that this route forgot to name');
    if (required !== 'signed-in' && !request.actor.permissions.has(required)) throw new PermissionDeniedError(required);
    return true;
  }
}
