/**
 * Owns storing projected alerts: rows and position in one database transaction. Neighbours: `src/fraud/cases/projector.ts`
 * reads the log and calls this; `alert-repository.ts` reads what was stored.
 *
 * The position's row is written first, so that it locks out another projector of the same partition until the commit.
 * Alerts get their sequence, the column's default, under the lock of `alert-sequence.ts`.
 */
import type { DataSource, EntityManager } from 'typeorm';
import type { Alert } from '../../fraud/alerts/alert.js';
import type { AlertProjection, AppendResult, ProjectedBatch, UnreadableRecord } from '../../fraud/cases/projection.js';
import { lockAlertOrder, tellOfAlerts } from './alert-sequence.js';
import { databaseError, isValueRefused } from './database-errors.js';
import { AlertEntity, type AlertRow, OffsetEntity, RejectEntity } from './entities.js';

type PlacedAlert = ProjectedBatch['alerts'][number];

export class PostgresAlertProjection implements AlertProjection {
  constructor(private readonly dataSource: DataSource) {}

  async positions(topic: string): Promise<ReadonlyMap<number, number>> {
    try {
      const rows = await this.dataSource.getRepository(OffsetEntity).findBy({ topic });
      return new Map(rows.map(({ partition, nextOffset }) => [partition, nextOffset]));
    } catch (error) {
      throw databaseError(error, "reading the projector's positions");
    }
  }

  async append(batch: ProjectedBatch): Promise<AppendResult> {
    try {
      return await this.dataSource.transaction((manager) => appendTogether(manager, batch));
    } catch (error) {
      if (!isValueRefused(error)) throw databaseError(error, 'storing alerts');
    }
    // Postgres stores no U+0000 and no lone surrogate, which a payment's text may hold: find out which alerts do.
    try {
      return await this.dataSource.transaction((manager) => appendOneByOne(manager, batch));
    } catch (error) {
      throw databaseError(error, 'storing alerts one by one');
    }
  }
}

async function appendTogether(manager: EntityManager, batch: ProjectedBatch): Promise<AppendResult> {
  await storePosition(manager, batch);
  const stored = await insertAlerts(manager, batch.alerts);
  await insertRejects(manager, batch, batch.unreadable);
  return { stored, repeated: batch.alerts.length - stored, unreadable: batch.unreadable.length };
}

async function appendOneByOne(manager: EntityManager, batch: ProjectedBatch): Promise<AppendResult> {
  await storePosition(manager, batch);
  const rejects: UnreadableRecord[] = [...batch.unreadable];
  let stored = 0;
  for (const placed of batch.alerts) {
    await manager.query('SAVEPOINT one_alert');
    try {
      stored += await insertAlerts(manager, [placed]);
      await manager.query('RELEASE SAVEPOINT one_alert');
    } catch (error) {
      if (!isValueRefused(error)) throw error;
      await manager.query('ROLLBACK TO SAVEPOINT one_alert');
      const reason = `the database can't store it: ${error instanceof Error ? error.message : String(error)}`;
      rejects.push({ offset: placed.offset, value: Buffer.from(JSON.stringify(placed.alert)), reason });
    }
  }
  await insertRejects(manager, batch, rejects);
  const repeated = batch.alerts.length - stored - (rejects.length - batch.unreadable.length);
  return { stored, repeated, unreadable: rejects.length };
}

async function storePosition(manager: EntityManager, { topic, partition, nextOffset }: ProjectedBatch): Promise<void> {
  await manager.query(
    `INSERT INTO projector_offsets (topic, partition_id, next_offset) VALUES ($1, $2, $3)
     ON CONFLICT (topic, partition_id) DO UPDATE
     SET next_offset = GREATEST(projector_offsets.next_offset, excluded.next_offset), stored_at = now()`,
    [topic, partition, nextOffset],
  );
}

/** Returns how many were new. */
async function insertAlerts(manager: EntityManager, alerts: readonly PlacedAlert[]): Promise<number> {
  if (alerts.length === 0) return 0;
  await lockAlertOrder(manager);
  const inserted = await manager
    .createQueryBuilder()
    .insert()
    .into(AlertEntity)
    .values(alerts.map(({ alert }) => rowOf(alert)))
    .orIgnore()
    .returning('alert_id')
    .execute();
  const stored = Array.isArray(inserted.raw) ? inserted.raw.length : 0;
  if (stored > 0) await tellOfAlerts(manager);
  return stored;
}

async function insertRejects(
  manager: EntityManager,
  { topic, partition }: ProjectedBatch,
  rejects: readonly UnreadableRecord[],
): Promise<void> {
  if (rejects.length === 0) return;
  const values = rejects.map(({ offset, value, reason }) => ({
    topic,
    partition,
    offset,
    value,
    reason: reason.replaceAll('\0', '').toWellFormed().slice(0, 2_000),
  }));
  await manager.createQueryBuilder().insert().into(RejectEntity).values(values).orIgnore().execute();
}

function rowOf(alert: Alert): Omit<AlertRow, 'state' | 'storedAt'> {
  return { ...alert, ruleId: alert.rules[0].id };
}
