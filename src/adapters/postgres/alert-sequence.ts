/**
 * Owns the order in which alerts become visible: the lock under which they get their sequence, and the channel that
 * tells of them. Neighbours: `alert-projection.ts` stores under it, `alert-feed.ts` follows.
 *
 * The lock is held to the end of the database transaction, so sequences rise in the order of commits: a reader that has
 * seen n can't find a lower one later. What a failed transaction took is left out; gaps are fine.
 */
import type { EntityManager } from 'typeorm';
import { ADVISORY_LOCKS } from './advisory-locks.js';

/** The channel on which followers hear of new alerts. */
export const ALERTS_CHANNEL = 'fraud_alerts';

/** Waits for its turn; the turn ends with the transaction. Taken after the locks of rows that only one lane touches. */
export async function lockAlertOrder(manager: EntityManager): Promise<void> {
  await manager.query('SELECT pg_advisory_xact_lock($1)', [ADVISORY_LOCKS.alertOrder]);
}

/** Wakes the followers once the transaction has committed. */
export async function tellOfAlerts(manager: EntityManager): Promise<void> {
  await manager.query('SELECT pg_notify($1, $2)', [ALERTS_CHANNEL, '']);
}
