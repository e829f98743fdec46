/** Owns `/v1/auth/token`: a token for a name and a password. Neighbours: `src/fraud/access/sign-in.ts` decides. */
import { Body, Controller, Header, HttpCode, Inject, Post, Req } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { CredentialsRefusedError } from '../../fraud/access/authenticator.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { ACCESS_PARTS, type AccessParts } from './access-parts.js';
import { type SignInBody, signInSchema, tokenSchema } from './access-views.js';
import { OpenToAll } from './requires.js';

@ApiTags('access')
@Controller('v1/auth')
export class SignInController {
  constructor(@Inject(ACCESS_PARTS) private readonly access: AccessParts) {}

  @Post('token')
  @OpenToAll()
  @HttpCode(200)
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'signIn', summary: 'Gives a token for a name and a password' })
  @Answers(200, tokenSchema, 'A token')
  @AnswersProblem(400, 'The body is wrong')
  @AnswersProblem(401, 'Name and password do not fit together')
  @AnswersProblem(413, 'The body is too large')
  @AnswersProblem(415, 'The body is no JSON')
  @AnswersProblem(429, 'Too many tries; `Retry-After` says when to come back')
  @AnswersProblem(503, 'The database does not answer, or too many people sign in at this moment')
  async signIn(
    @Body({ schema: signInSchema }) { username, password }: SignInBody,
    @Req() request: FastifyRequest,
  ): Promise<z.infer<typeof tokenSchema>> {
    const { local } = this.access;
    if (local === null) throw new CredentialsRefusedError('credentials-invalid', 'Nobody signs in here.');
    const from = { address: request.ip, requestId: request.id };
    const { token, expiresInMs, roles } = await local.signIn.signIn(username, password, from);
    return { accessToken: token, tokenType: 'Bearer', expiresIn: Math.floor(expiresInMs / 1_000), roles: [...roles] };
  }
}
