/**
 * Owns connections outside the pool: one that listens, or holds a lock for as long as it lives, must not wait in a pool
 * for its turn nor be given to others. Neighbours: `alert-feed.ts`, `outbox-table.ts`.
 */
import pg from 'pg';
import type { DataSource } from 'typeorm';

const CONNECT_TIMEOUT_MS = 5_000;

/** Where the data source's database is. Errors: TypeError where it was not opened by its address. */
export function addressOf({ options }: DataSource): string {
  if (options.type === 'postgres' && options.url !== undefined) return options.url;
  throw new TypeError('the data source was not opened by an address of Postgres');
}

/** A client that is not connected yet; `name` is shown by the server. */
export function ownConnection(address: string, name: string, options: pg.ClientConfig = {}): pg.Client {
  return new pg.Client({
    connectionString: address,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    ...options,
  });
}
