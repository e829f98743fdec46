/** Owns `/v1/me`: what the credentials of a request stand for. */
import { Controller, Get, Header } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { z } from 'zod';
import type { Actor } from '../../fraud/access/actor.js';
import { PERMISSIONS } from '../../fraud/access/permissions.js';
import { Answers } from '../docs/answers.js';
import { meSchema } from './access-views.js';
import { ActorOf, ForAllSignedIn } from './requires.js';

@ApiTags('access')
@Controller('v1/me')
export class MeController {
  @Get()
  @ForAllSignedIn()
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'getMe', summary: 'Tells who asks, and what they may do' })
  @Answers(200, meSchema, 'You')
  show(@ActorOf() { id, name, kind, roles, permissions }: Actor): z.infer<typeof meSchema> {
    return { id, name, kind, roles: [...roles], permissions: PERMISSIONS.filter((one) => permissions.has(one)) };
  }
}
