/** Owns what tests of the analyst API start from: a database of their own, the API over it, and alerts to put in. */
import supertest from 'supertest';
import { PostgresAlertFeed } from '../../src/adapters/postgres/alert-feed.js';
import { PostgresAlertProjection } from '../../src/adapters/postgres/alert-projection.js';
import { PostgresAlertRepository } from '../../src/adapters/postgres/alert-repository.js';
import { PostgresAlertStatistics } from '../../src/adapters/postgres/alert-statistics.js';
import { PostgresAlertWork } from '../../src/adapters/postgres/alert-work.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { type Api, createApi } from '../../src/api/api.js';
import type { AlertParts } from '../../src/api/parts.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { bearer } from '../support/actors.js';
import { BARE_PARTS } from '../support/bare-parts.js';

export const LABELS = 'fraud.labels';

export interface AlertsWorld {
  readonly url: string;
  readonly database: Database;
  readonly parts: AlertParts;
  readonly api: Api;
  /** Failures that the API told nobody else of. */
  readonly unexpected: unknown[];
  nowMs: number;
  /** Asks as a role, or as `role:id`. */
  as(who: string): ReturnType<typeof supertest.agent>;
  store(alerts: readonly Alert[]): Promise<void>;
  close(): Promise<void>;
}

export function alertParts(database: Database, clock: { now(): number }): AlertParts {
  const { dataSource } = database;
  return {
    reader: new PostgresAlertRepository(dataSource),
    work: new PostgresAlertWork(new PostgresWrites(dataSource, clock), LABELS),
    feed: new PostgresAlertFeed(dataSource, systemClock),
    statistics: new PostgresAlertStatistics(dataSource),
  };
}

/** `change` stands in for parts of the API. */
export async function openAlertsWorld(
  url: string,
  nowMs: number,
  change: (parts: AlertParts) => AlertParts = (parts) => parts,
): Promise<AlertsWorld> {
  const database = await openDatabase({ url });
  const unexpected: unknown[] = [];
  const clock = { ...systemClock, now: () => world.nowMs };
  const parts = change(alertParts(database, clock));
  const api = await createApi({
    ...BARE_PARTS,
    alerts: parts,
    database,
    clock,
    onUnexpected: (error) => unexpected.push(error),
  });
  const projection = new PostgresAlertProjection(database.dataSource);
  let nextOffset = 0;
  const world: AlertsWorld = {
    url,
    database,
    parts,
    api,
    unexpected,
    nowMs,
    as: (who) => supertest.agent(api.app.getHttpServer()).set(bearer(who)),
    store: async (alerts) => {
      const placed = alerts.map((alert) => ({ offset: nextOffset++, alert }));
      await projection.append({ topic: 'fraud.alerts', partition: 0, alerts: placed, unreadable: [], nextOffset });
    },
    close: async () => {
      await api.close();
      await database.close();
    },
  };
  return world;
}
