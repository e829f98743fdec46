/** Owns which of the access routes a process has. */
import type { Type } from '@nestjs/common';
import type { AccessParts } from './access-parts.js';
import { ApiKeysController } from './api-keys.controller.js';
import { AuditController } from './audit.controller.js';
import { MeController } from './me.controller.js';
import { SignInController } from './sign-in.controller.js';
import { UsersController } from './users.controller.js';

/** Without access parts there is `/v1/me` alone: the configuration's key and an issuer's tokens still say who asks. */
export function accessControllers(access: AccessParts | null): readonly Type<unknown>[] {
  if (access === null) return [MeController];
  const local = access.local === null ? [] : [SignInController, UsersController];
  return [MeController, ApiKeysController, AuditController, ...local];
}
