/**
 * Owns API keys in Postgres. Neighbours: `src/fraud/access/api-key.ts` says what one is, `writes.ts` carries changes out
 * with their audit entries. The key's text is never kept, nor is it in a kept answer.
 */
import type { DataSource } from 'typeorm';
import { ApiKeyNotFoundError } from '../../fraud/access/access-errors.js';
import {
  type ApiKey,
  type ApiKeyBook,
  type ApiKeyFinder,
  type KeptSecret,
  keepSecret,
  makeKeyText,
  type NewApiKey,
  permissionsOfKey,
} from '../../fraud/access/api-key.js';
import { requireToHave } from '../../fraud/access/granting.js';
import type { Permission, Role } from '../../fraud/access/permissions.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { databaseError } from './database-errors.js';
import type { PostgresWrites } from './writes.js';

interface ApiKeyRow {
  readonly id: string;
  readonly name: string;
  readonly salt: string;
  readonly hash: string;
  readonly roles: Role[];
  readonly scopes: Permission[] | null;
  readonly created_by: string;
  readonly principal: string;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly last_used_at: Date | null;
}

export interface PostgresApiKeyParts {
  readonly dataSource: DataSource;
  readonly writes: PostgresWrites;
  randomBytes(size: number): Buffer;
  /** Told of a key that counts no more, once that is certain. */
  onRevoked(id: string): void;
}

export class PostgresApiKeys implements ApiKeyBook, ApiKeyFinder {
  constructor(private readonly parts: PostgresApiKeyParts) {}

  async find(id: string): Promise<(ApiKey & KeptSecret) | null> {
    const [row] = await this.query<ApiKeyRow>('looking an API key up', 'SELECT * FROM api_keys WHERE id = $1', [id]);
    return row === undefined ? null : { ...keyOf(row), salt: row.salt, hash: row.hash };
  }

  async touch(id: string, atMs: number): Promise<void> {
    await this.query('noting the use of an API key', 'UPDATE api_keys SET last_used_at = $2 WHERE id = $1', [
      id,
      new Date(atMs),
    ]);
  }

  async list(limit: number, afterId: string | null): Promise<{ items: readonly ApiKey[]; next: string | null }> {
    const rows = await this.query<ApiKeyRow>(
      'listing API keys',
      'SELECT * FROM api_keys WHERE $2::text IS NULL OR id > $2 ORDER BY id LIMIT $1',
      [limit + 1, afterId],
    );
    const items = rows.slice(0, limit).map(keyOf);
    return { items, next: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
  }

  async create(request: WriteRequest, given: NewApiKey): Promise<{ key: ApiKey; text: string | null }> {
    requireToHave(request.actor, permissionsOfKey(given));
    const { id, text } = makeKeyText(this.parts.randomBytes);
    const { salt, hash } = keepSecret(text, this.parts.randomBytes(16));
    const key = await this.parts.writes.run(request, async ({ manager, nowMs, audit }) => {
      const { name, roles, scopes, expiresAt } = given;
      const { principal } = request.actor;
      const rows: ApiKeyRow[] = await manager.query(
        `INSERT INTO api_keys (id, name, salt, hash, roles, scopes, created_by, principal, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING *`,
        [id, name, salt, hash, roles, scopes, request.actor.id, principal, new Date(nowMs), dateOf(expiresAt)],
      );
      audit({
        action: 'api-key.created',
        subject: { kind: 'api-key', id },
        details: { name, roles, scopes, expiresAt, principal },
      });
      return rows.map(keyOf)[0] ?? missing(id);
    });
    return { key, text: key.id === id ? text : null };
  }

  async revoke(request: WriteRequest, id: string): Promise<ApiKey> {
    const revoked = await this.parts.writes.run(request, async ({ manager, nowMs, audit }) => {
      const rows: ApiKeyRow[] = await manager.query('SELECT * FROM api_keys WHERE id = $1', [id]);
      const before = rows.map(keyOf)[0] ?? missing(id);
      if (before.revokedAt !== null) return before;
      await manager.query('UPDATE api_keys SET revoked_at = $2 WHERE id = $1', [id, new Date(nowMs)]);
      audit({ action: 'api-key.revoked', subject: { kind: 'api-key', id }, details: { name: before.name } });
      return { ...before, revokedAt: nowMs };
    });
    this.parts.onRevoked(id);
    return revoked;
  }

  private async query<Row>(doing: string, sql: string, values: readonly unknown[]): Promise<Row[]> {
    try {
      return await this.parts.dataSource.query(sql, [...values]);
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

function keyOf(row: ApiKeyRow): ApiKey {
  const { id, name, roles, scopes } = row;
  return {
    id,
    name,
    roles,
    scopes,
    createdBy: row.created_by,
    principal: row.principal,
    createdAt: row.created_at.getTime(),
    expiresAt: row.expires_at?.getTime() ?? null,
    revokedAt: row.revoked_at?.getTime() ?? null,
    lastUsedAt: row.last_used_at?.getTime() ?? null,
  };
}

const dateOf = (ms: number | null): Date | null => (ms === null ? null : new Date(ms));

function missing(id: string): never {
  throw new ApiKeyNotFoundError(id);
}
