/**
 * Owns one rule of giving access: nobody gives, or takes over, more than they have. Without it a key narrowed to
 * `access:write` could make itself an administrator. Neighbours: the stores of users and keys ask inside their changes.
 */
import type { Actor } from './actor.js';
import { PermissionDeniedError } from './authenticator.js';
import type { Permission } from './permissions.js';

/** Errors: {@link PermissionDeniedError} naming the first permission that the actor lacks. Parts of this program may all. */
export function requireToHave(actor: Actor, permissions: Iterable<Permission>): void {
  if (actor.kind === 'system') return;
  for (const permission of permissions) {
    if (!actor.permissions.has(permission)) throw new PermissionDeniedError(permission);
  }
}
