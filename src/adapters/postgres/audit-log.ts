/**
 * Owns the audit trail in Postgres as the API uses it: entries that belong to no change (somebody signed in), lists, the
 * head. Neighbours: `writes.ts` appends, `audit-verification.ts` reads it from end to end.
 */
import type { DataSource } from 'typeorm';
import type { AuditLog } from '../../fraud/access/sign-in.js';
import {
  type AuditFilter,
  type AuditHead,
  type AuditReader,
  type KeptAuditEntry,
  readKeptEntry,
} from '../../fraud/audit/audit-reading.js';
import { type AuditEntry, type AuditEvent, FIRST_PREVIOUS_HASH } from '../../fraud/audit/audit-trail.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import { CorruptDataError } from '../../stream/errors.js';
import { AUDIT_COLUMNS, type AuditRow, keptEntry } from './audit-rows.js';
import { databaseError } from './database-errors.js';
import type { PostgresWrites } from './writes.js';

export class PostgresAuditLog implements AuditLog, AuditReader {
  constructor(
    private readonly dataSource: DataSource,
    private readonly writes: PostgresWrites,
  ) {}

  append(request: WriteRequest, event: AuditEvent): Promise<void> {
    return this.writes.run(request, async ({ audit }) => audit(event));
  }

  async list(filter: AuditFilter, limit: number, before: number | null) {
    const wanted: [string, unknown][] = [
      ['actor_id =', filter.actorId],
      ['action =', filter.action],
      ['subject_kind =', filter.subjectKind],
      ['subject_id =', filter.subjectId],
      ['at >=', filter.from === undefined ? undefined : new Date(filter.from)],
      ['at <', filter.to === undefined ? undefined : new Date(filter.to)],
      ['sequence <', before ?? undefined],
    ];
    const given = wanted.filter(([, value]) => value !== undefined);
    const where = given.map(([condition], index) => `${condition} $${index + 2}`).join(' AND ');
    const rows = await this.query<AuditRow>(
      'listing the audit trail',
      `SELECT ${AUDIT_COLUMNS} FROM audit_entries ${where === '' ? '' : `WHERE ${where}`} ORDER BY sequence DESC LIMIT $1`,
      [limit + 1, ...given.map(([, value]) => value)],
    );
    const items = rows.slice(0, limit).map((row) => entryOf(keptEntry(row)));
    return { items, next: rows.length > limit ? (items.at(-1)?.sequence ?? null) : null };
  }

  async head(): Promise<AuditHead> {
    const [row] = await this.query<{ sequence: string; hash: string }>(
      'reading the head of the audit trail',
      'SELECT sequence, hash FROM audit_entries ORDER BY sequence DESC LIMIT 1',
      [],
    );
    return { sequence: Number(row?.sequence ?? 0), hash: row?.hash ?? FIRST_PREVIOUS_HASH };
  }

  private async query<Row>(doing: string, sql: string, values: readonly unknown[]): Promise<Row[]> {
    try {
      return await this.dataSource.query(sql, [...values]);
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

function entryOf(kept: KeptAuditEntry): AuditEntry {
  const entry = readKeptEntry(kept);
  if (entry !== null) return entry;
  throw new CorruptDataError(
    `Entry ${kept.columns.sequence} of the audit trail cannot be read; \`fraud audit verify\` tells more.`,
  );
}
