/**
 * Owns reading the whole audit trail for its verification: page by page, in one unchanging view of the database, over a
 * connection that may only read. Neighbours: `src/fraud/audit/audit-reading.ts` judges, `fraud audit verify` shows.
 */
import pg from 'pg';
import { type AuditHead, AuditWalk } from '../../fraud/audit/audit-reading.js';
import { StreamError } from '../../stream/errors.js';
import { AUDIT_COLUMNS, type AuditRow, keptEntry } from './audit-rows.js';
import { databaseError, sqlState } from './database-errors.js';

const PAGE = 1_000;
const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 60_000;
/** SQLSTATE: there is no such table. */
const UNDEFINED_TABLE = '42P01';

export interface VerificationOptions {
  /** Address of the database. Never shown. */
  readonly url: string;
  readonly noted: AuditHead | null;
  readonly signal: AbortSignal;
  /** Called after each page. */
  onProgress(checked: number, total: number): void;
}

export type Verification = ReturnType<AuditWalk['end']>;

/** Errors: codes `database-unavailable`, `database-refused`, `audit-missing` (no such table), `aborted`. */
export async function verifyAudit(options: VerificationOptions): Promise<Verification> {
  const client = new pg.Client({
    connectionString: options.url,
    application_name: 'fraud audit verify',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
  });
  // A connection that breaks between queries says so here; the next query fails of itself.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    return await walk(client, options);
  } catch (error) {
    if (sqlState(error) !== UNDEFINED_TABLE) throw databaseError(error, 'verifying the audit trail');
    throw new StreamError(
      'audit-missing',
      'This database has no audit trail: the service has never run on it. Name another one with --postgres-url or --data-dir.',
    );
  } finally {
    await client.end();
  }
}

async function walk(client: pg.Client, { noted, signal, onProgress }: VerificationOptions): Promise<Verification> {
  const { rows: counted } = await client.query<{ total: string }>('SELECT count(*) AS total FROM audit_entries');
  const total = Number(counted[0]?.total ?? 0);
  const checking = new AuditWalk(noted);
  let after: string | null = null;
  let seen = 0;
  for (;;) {
    if (signal.aborted) throw new StreamError('aborted', `Stopped after ${seen} of ${total} entries.`);
    const page: { rows: AuditRow[] } = await client.query<AuditRow>(
      `SELECT ${AUDIT_COLUMNS} FROM audit_entries WHERE $2::bigint IS NULL OR sequence > $2 ORDER BY sequence LIMIT $1`,
      [PAGE, after],
    );
    for (const row of page.rows) {
      if (!checking.take(keptEntry(row))) return checking.end();
      after = row.sequence;
      seen++;
    }
    onProgress(seen, total);
    if (page.rows.length < PAGE) return checking.end();
  }
}
