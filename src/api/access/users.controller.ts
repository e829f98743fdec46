/** Owns `/v1/users`, where an administrator keeps the users. Neighbours: the port `UserBook` carries changes out. */
import { Body, Controller, Get, Header, Inject, Param, Patch, Post, Put, Query, Res } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { UserNotFoundError } from '../../fraud/access/access-errors.js';
import { USERNAME, type User, type UserBook } from '../../fraud/access/user.js';
import type { Precondition } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { etag, IfMatch, TakesIfMatch } from '../if-match.js';
import { PAGE, type PageQuery, pageQuerySchema, pageWith, placeIn } from '../paging.js';
import { ACCESS_PARTS, type AccessParts } from './access-parts.js';
import {
  type NewPasswordBody,
  type NewUserBody,
  newPasswordSchema,
  newUserSchema,
  type UserChangeBody,
  userChangeSchema,
  userPageSchema,
  userSchema,
} from './access-views.js';
import { ChangesAccess } from './changes-access.js';
import { Requires, WriteOf } from './requires.js';

const NAMED = { name: 'username', schema: { type: 'string' as const, pattern: USERNAME.source } };

@ApiTags('access')
@Controller('v1/users')
export class UsersController {
  constructor(@Inject(ACCESS_PARTS) private readonly access: AccessParts) {}

  @Get()
  @Requires('access:write')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listUsers', summary: 'Lists the users, page by page' })
  @Answers(200, userPageSchema, 'A page of users')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async list(@Query({ schema: pageQuerySchema }) { limit = PAGE.default, cursor }: PageQuery) {
    const after = placeIn(cursor, (text) => USERNAME.test(text));
    return pageWith(await this.users().list(limit, after));
  }

  @Post()
  @ChangesAccess()
  @ApiOperation({ operationId: 'createUser', summary: 'Makes a user' })
  @Answers(201, userSchema, 'The user')
  @AnswersProblem(409, 'The name is taken')
  async create(
    @Body({ schema: newUserSchema }) user: NewUserBody,
    @WriteOf({ secrets: ['password'] }) write: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<User> {
    return tagged(reply, await this.users().create(write, user));
  }

  @Get(':username')
  @Requires('access:write')
  @Header('cache-control', 'no-store')
  @ApiParam(NAMED)
  @ApiOperation({ operationId: 'getUser', summary: 'Shows a user' })
  @Answers(200, userSchema, 'The user')
  @AnswersProblem(404, 'There is no such user')
  @AnswersProblem(503, 'The database does not answer')
  async get(@Param('username') username: string, @Res({ passthrough: true }) reply: FastifyReply): Promise<User> {
    return tagged(reply, await this.users().get(checked(username)));
  }

  @Patch(':username')
  @ChangesAccess()
  @TakesIfMatch()
  @ApiParam(NAMED)
  @ApiOperation({ operationId: 'changeUser', summary: 'Changes name or roles of a user, disables or enables them' })
  @Answers(200, userSchema, 'The user as it is now')
  @AnswersProblem(404, 'There is no such user')
  @AnswersProblem(409, 'You would lock yourself out')
  async change(
    @Param('username') username: string,
    @IfMatch() expected: Precondition,
    @Body({ schema: userChangeSchema }) change: UserChangeBody,
    @WriteOf() write: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<User> {
    return tagged(reply, await this.users().change(write, checked(username), expected, change));
  }

  @Put(':username/password')
  @ChangesAccess()
  @ApiParam(NAMED)
  @ApiOperation({ operationId: 'setPassword', summary: 'Gives a user a new password; their tokens count no more' })
  @Answers(200, userSchema, 'The user')
  @AnswersProblem(404, 'There is no such user')
  async setPassword(
    @Param('username') username: string,
    @Body({ schema: newPasswordSchema }) { password }: NewPasswordBody,
    @WriteOf({ secrets: ['password'] }) write: WriteRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<User> {
    return tagged(reply, await this.users().setPassword(write, checked(username), password));
  }

  private users(): UserBook {
    const { local } = this.access;
    if (local === null) throw new TypeError('routes of users are made only where there are some');
    return local.users;
  }
}

function checked(username: string): string {
  if (!USERNAME.test(username)) throw new UserNotFoundError(username);
  return username;
}

function tagged(reply: FastifyReply, user: User): User {
  reply.header('etag', etag(user.revision));
  return user;
}
