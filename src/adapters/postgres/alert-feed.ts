/**
 * Owns following new alerts in the database: reading them by sequence, and one connection that hears of them.
 * Neighbours: the API's streams use it through the port `AlertFeed`, `alert-projection.ts` tells of what it stored.
 */
import type pg from 'pg';
import type { DataSource } from 'typeorm';
import type { AlertFeed, FedAlert, FeedFilter } from '../../fraud/cases/alert-feed.js';
import type { Clock } from '../../stream/ports.js';
import { retryDelayMs } from '../../stream/runtime/retries.js';
import { conditionsOf, HEAD_COLUMNS, type HeadRow, headOf } from './alert-rows.js';
import { ALERTS_CHANNEL } from './alert-sequence.js';
import { databaseError } from './database-errors.js';
import { addressOf, ownConnection } from './own-connection.js';

export class PostgresAlertFeed implements AlertFeed {
  constructor(
    private readonly dataSource: DataSource,
    private readonly clock: Pick<Clock, 'schedule'>,
  ) {}

  async latest(): Promise<number> {
    const rows = await this.ask<{ latest: number }>(
      'reading the newest alert',
      'SELECT coalesce(max(stored_sequence), 0)::float8 AS latest FROM alerts',
      [],
    );
    return rows[0]?.latest ?? 0;
  }

  async after(after: number, upTo: number, filter: FeedFilter, limit: number): Promise<readonly FedAlert[]> {
    const conditions = conditionsOf(filter);
    conditions.add('stored_sequence > $::bigint', after);
    conditions.add('stored_sequence <= $::bigint', upTo);
    const rows = await this.ask<HeadRow & { sequence: number }>(
      'following new alerts',
      `SELECT ${HEAD_COLUMNS}, stored_sequence::float8 AS sequence FROM alerts ${conditions.where()}
       ORDER BY stored_sequence LIMIT ${conditions.value(limit)}`,
      conditions.values,
    );
    return rows.map((row) => ({ sequence: row.sequence, alert: headOf(row) }));
  }

  listen(onNews: () => void): { close(): Promise<void> } {
    const listener = new Listener(addressOf(this.dataSource), this.clock, onNews);
    listener.start();
    return listener;
  }

  private async ask<Row>(doing: string, statement: string, values: unknown[]): Promise<Row[]> {
    try {
      return await this.dataSource.query(statement, values);
    } catch (error) {
      throw databaseError(error, doing);
    }
  }
}

/** One connection that listens; where it is lost, another is tried until it is closed. */
class Listener {
  private client: pg.Client | null = null;
  private closed = false;
  private failures = 0;
  private cancelRetry: () => void = () => {};

  constructor(
    private readonly address: string,
    private readonly clock: Pick<Clock, 'schedule'>,
    private readonly onNews: () => void,
  ) {}

  start(): void {
    const client = ownConnection(this.address, 'fraud-detector alert feed');
    this.client = client;
    client.on('notification', this.onNews);
    // A lost connection gives both; a failed `connect` rejects as well. The first of them counts.
    client.on('error', () => this.lost(client));
    client.on('end', () => this.lost(client));
    client
      .connect()
      .then(() => client.query(`LISTEN ${ALERTS_CHANNEL}`))
      .then(
        () => {
          this.failures = 0;
          // What was stored while nobody listened.
          if (this.client === client) this.onNews();
        },
        () => this.lost(client),
      );
  }

  async close(): Promise<void> {
    this.closed = true;
    this.cancelRetry();
    const { client } = this;
    this.client = null;
    await client?.end();
  }

  /** The trouble itself is told by everything else that uses the database: followers ask it every second. */
  private lost(client: pg.Client): void {
    if (this.client !== client) return;
    this.client = null;
    void client.end().catch(() => undefined);
    if (this.closed) return;
    this.cancelRetry = this.clock.schedule(retryDelayMs(this.failures++), () => this.start());
  }
}
