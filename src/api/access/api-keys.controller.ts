/** Owns `/v1/api-keys`, where an administrator makes and revokes keys. Neighbours: the port `ApiKeyBook` keeps them. */
import { Body, Controller, Delete, Get, Header, Inject, Param, Post, Query } from '@nestjs/common';
import { ApiOperation, ApiParam, ApiTags } from '@nestjs/swagger';
import { ApiKeyNotFoundError } from '../../fraud/access/access-errors.js';
import type { ApiKey } from '../../fraud/access/api-key.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { Answers, AnswersProblem } from '../docs/answers.js';
import { PAGE, type PageQuery, pageQuerySchema, pageWith, placeIn } from '../paging.js';
import { ACCESS_PARTS, type AccessParts } from './access-parts.js';
import {
  API_KEY_ID,
  apiKeyPageSchema,
  apiKeySchema,
  madeApiKeySchema,
  type NewApiKeyBody,
  newApiKeySchema,
} from './access-views.js';
import { ChangesAccess } from './changes-access.js';
import { Requires, WriteOf } from './requires.js';

@ApiTags('access')
@Controller('v1/api-keys')
export class ApiKeysController {
  constructor(@Inject(ACCESS_PARTS) private readonly access: AccessParts) {}

  @Get()
  @Requires('access:write')
  @Header('cache-control', 'no-store')
  @ApiOperation({ operationId: 'listApiKeys', summary: 'Lists API keys, revoked ones too, page by page' })
  @Answers(200, apiKeyPageSchema, 'A page of keys')
  @AnswersProblem(400, 'A parameter is wrong')
  @AnswersProblem(503, 'The database does not answer')
  async list(@Query({ schema: pageQuerySchema }) { limit = PAGE.default, cursor }: PageQuery) {
    const after = placeIn(cursor, (text) => API_KEY_ID.test(text));
    return pageWith(await this.access.apiKeys.list(limit, after));
  }

  @Post()
  @ChangesAccess()
  @ApiOperation({ operationId: 'createApiKey', summary: 'Makes an API key; `key` has it, this once' })
  @Answers(201, madeApiKeySchema, 'The key, and what is known of it')
  async create(
    @Body({ schema: newApiKeySchema }) { name, roles, scopes, expiresAt }: NewApiKeyBody,
    @WriteOf() write: WriteRequest,
  ): Promise<ApiKey & { readonly key: string | null }> {
    const wanted = { name, roles, scopes: scopes ?? null, expiresAt: expiresAt ?? null };
    const made = await this.access.apiKeys.create(write, wanted);
    return { ...made.key, key: made.text };
  }

  @Delete(':id')
  @ChangesAccess()
  @ApiParam({ name: 'id', schema: { type: 'string', pattern: API_KEY_ID.source } })
  @ApiOperation({ operationId: 'revokeApiKey', summary: 'Revokes an API key, at once in this process' })
  @Answers(200, apiKeySchema, 'The key as it is now')
  @AnswersProblem(404, 'There is no such key')
  async revoke(@Param('id') id: string, @WriteOf() write: WriteRequest): Promise<ApiKey> {
    if (!API_KEY_ID.test(id)) throw new ApiKeyNotFoundError(id);
    return this.access.apiKeys.revoke(write, id);
  }
}
