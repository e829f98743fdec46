/**
 * Owns the risk table's rows in Postgres. Neighbours: `src/fraud/enrichment/risk-rows.ts` is the port; `writes.ts` takes
 * each change together with its audit entry and the messages that bring it to the detectors.
 * Changes run one after another (W1), so what a change reads first can't be changed under it.
 */
import type { DataSource, EntityManager } from 'typeorm';
import { systemActor } from '../../fraud/access/actor.js';
import { type Precondition, PreconditionFailedError, requireRevision } from '../../fraud/audit/precondition.js';
import type { WriteRequest } from '../../fraud/audit/write-request.js';
import {
  MOST_RISK_ROWS,
  type RiskRow,
  RiskRowNotFoundError,
  type RiskRowPage,
  type RiskRows,
  RiskTableFullError,
  type RiskUpload,
  type RiskValues,
  type UploadedRow,
  type UploadOutcome,
} from '../../fraud/enrichment/risk-rows.js';
import { StreamError } from '../../stream/errors.js';
import { databaseError } from './database-errors.js';
import type { PostgresWrites, WriteTransaction } from './writes.js';

interface Columns {
  readonly merchant_id: string;
  readonly risk: number;
  readonly note: string | null;
  readonly revision: string;
  readonly updated_at: Date;
  readonly updated_by_id: string;
  readonly updated_by_name: string;
}

/** Sets rows given as columns: merchants, risks, notes, then time and who. */
const SET_ROWS = `
  INSERT INTO risk_rows (merchant_id, risk, note, revision, updated_at, updated_by_id, updated_by_name)
  SELECT merchant_id, risk, note, nextval('risk_row_revisions'), $4, $5, $6
  FROM unnest($1::text[], $2::double precision[], $3::text[]) AS given (merchant_id, risk, note)
  ON CONFLICT (merchant_id) DO UPDATE SET
    risk = excluded.risk, note = excluded.note, revision = excluded.revision, updated_at = excluded.updated_at,
    updated_by_id = excluded.updated_by_id, updated_by_name = excluded.updated_by_name`;

export class PostgresRiskRows implements RiskRows {
  /** `topic` is where detectors read the table from. */
  constructor(
    private readonly dataSource: DataSource,
    private readonly writes: PostgresWrites,
    private readonly topic: string,
  ) {}

  async list(prefix: string, limit: number, after: string | null): Promise<RiskRowPage> {
    try {
      const rows: Columns[] = await this.dataSource.query(
        `SELECT * FROM risk_rows
         WHERE merchant_id LIKE $1 AND ($2::text IS NULL OR merchant_id > $2) ORDER BY merchant_id LIMIT $3`,
        [`${prefix.replace(/[\\%_]/g, '\\$&')}%`, after, limit + 1],
      );
      const items = rows.slice(0, limit).map(rowOf);
      return { items, next: rows.length > limit ? (items.at(-1)?.merchantId ?? null) : null };
    } catch (error) {
      throw databaseError(error, 'listing the risk table');
    }
  }

  async get(merchantId: string): Promise<RiskRow | null> {
    try {
      return await find(this.dataSource.manager, merchantId);
    } catch (error) {
      throw databaseError(error, 'reading the risk table');
    }
  }

  set(request: WriteRequest, merchantId: string, values: RiskValues, expected: Precondition | 'absent') {
    return this.writes.run(request, async (transaction) => {
      const before = await find(transaction.manager, merchantId);
      requireExpected(merchantId, before, expected);
      if (before === null) await requireRoom(transaction.manager, 1);
      await this.setRows(transaction, request, [{ merchantId, ...values }]);
      transaction.audit({
        action: 'risk-row.set',
        subject: { kind: 'risk-row', id: merchantId },
        details: { before: before === null ? null : valuesOf(before), after: valuesOf(values) },
      });
      const row = await find(transaction.manager, merchantId);
      if (row === null)
        throw new StreamError('database-refused', `The row of ${merchantId} is gone right after its change`);
      return { row, isNew: before === null };
    });
  }

  async remove(request: WriteRequest, merchantId: string, expected: Precondition): Promise<void> {
    await this.writes.run(request, async (transaction) => {
      const before = await find(transaction.manager, merchantId);
      if (before === null) throw new RiskRowNotFoundError(merchantId);
      requireRevision(expected, `The row of ${merchantId}`, before.revision);
      await transaction.manager.query('DELETE FROM risk_rows WHERE merchant_id = $1', [merchantId]);
      transaction.audit({
        action: 'risk-row.removed',
        subject: { kind: 'risk-row', id: merchantId },
        details: { before: valuesOf(before) },
      });
      transaction.publish({ topic: this.topic, key: merchantId, value: null });
      return null;
    });
  }

  upload(request: WriteRequest, { rows, format, sha256 }: RiskUpload): Promise<UploadOutcome> {
    return this.writes.run(request, async (transaction) => {
      const outcome = await outcomeOf(transaction.manager, rows);
      await requireRoom(transaction.manager, outcome.created);
      await this.setRows(transaction, request, rows);
      // The file itself can be told by its digest; fifty thousand entries would bury the trail.
      transaction.audit({
        action: 'risk-table.uploaded',
        subject: { kind: 'risk-table', id: this.topic },
        details: { rows: rows.length, ...outcome, format, sha256 },
      });
      return outcome;
    });
  }

  /** Publishes every row as it is, for a topic that holds none of them. Returns how many there were. */
  publishAll(): Promise<number> {
    const request = { actor: systemActor('risk-table'), requestId: 'risk-table-start', idempotency: null };
    return this.writes.run(request, async ({ manager, publish, audit }) => {
      const rows: Columns[] = await manager.query('SELECT * FROM risk_rows ORDER BY merchant_id');
      for (const { merchant_id, risk, updated_at } of rows) {
        publish({ topic: this.topic, key: merchant_id, value: { risk, asOf: updated_at.getTime() } });
      }
      if (rows.length > 0) {
        const subject = { kind: 'risk-table', id: this.topic };
        audit({ action: 'risk-table.published-again', subject, details: { rows: rows.length } });
      }
      return rows.length;
    });
  }

  async preview(rows: readonly UploadedRow[]): Promise<UploadOutcome> {
    try {
      const outcome = await outcomeOf(this.dataSource.manager, rows);
      await requireRoom(this.dataSource.manager, outcome.created);
      return outcome;
    } catch (error) {
      throw databaseError(error, 'looking at the risk table');
    }
  }

  private async setRows(
    { manager, nowMs, publish }: WriteTransaction,
    { actor }: WriteRequest,
    rows: readonly UploadedRow[],
  ): Promise<void> {
    await manager.query(SET_ROWS, [
      rows.map(({ merchantId }) => merchantId),
      rows.map(({ risk }) => risk),
      rows.map(({ note }) => note),
      new Date(nowMs),
      actor.id,
      actor.name,
    ]);
    for (const { merchantId, risk } of rows) {
      publish({ topic: this.topic, key: merchantId, value: { risk, asOf: nowMs } });
    }
  }
}

async function find(manager: EntityManager, merchantId: string): Promise<RiskRow | null> {
  const rows: Columns[] = await manager.query('SELECT * FROM risk_rows WHERE merchant_id = $1', [merchantId]);
  return rows[0] === undefined ? null : rowOf(rows[0]);
}

async function outcomeOf(manager: EntityManager, rows: readonly UploadedRow[]): Promise<UploadOutcome> {
  const [{ updated }]: { updated: number }[] = await manager.query(
    'SELECT count(*)::integer AS updated FROM risk_rows WHERE merchant_id = ANY ($1::text[])',
    [rows.map(({ merchantId }) => merchantId)],
  );
  return { created: rows.length - updated, updated };
}

async function requireRoom(manager: EntityManager, added: number): Promise<void> {
  if (added === 0) return;
  const [{ held }]: { held: number }[] = await manager.query('SELECT count(*)::integer AS held FROM risk_rows');
  if (held + added > MOST_RISK_ROWS) throw new RiskTableFullError(held + added);
}

function requireExpected(merchantId: string, before: RiskRow | null, expected: Precondition | 'absent'): void {
  const what = `The row of ${merchantId}`;
  if (expected === 'absent') {
    if (before !== null) throw new PreconditionFailedError(what, before.revision);
  } else if (before === null) {
    throw new StreamError(
      'precondition-failed',
      `${what} does not exist (any more). Send If-None-Match: * instead of If-Match to make it.`,
    );
  } else requireRevision(expected, what, before.revision);
}

const valuesOf = ({ risk, note }: RiskValues): RiskValues => ({ risk, note });

function rowOf(columns: Columns): RiskRow {
  return {
    merchantId: columns.merchant_id,
    risk: columns.risk,
    note: columns.note,
    revision: Number(columns.revision),
    updatedAt: columns.updated_at.getTime(),
    updatedBy: { id: columns.updated_by_id, name: columns.updated_by_name },
  };
}
