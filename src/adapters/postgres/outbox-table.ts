/**
 * Owns the outbox as a table: reading what waits, forgetting what was relayed, and the relay's seat, which is an
 * advisory lock on a connection of its own. Neighbours: `writes.ts` adds entries, `src/fraud/outbox/relay.ts` takes them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { DataSource } from 'typeorm';
import type { Outbox, OutboxHead, OutboxPage, OutboxSeat, SeatHandlers } from '../../fraud/outbox/outbox.js';
import { ADVISORY_LOCKS } from './advisory-locks.js';
import { databaseError } from './database-errors.js';
import { addressOf, ownConnection } from './own-connection.js';
import { OUTBOX_CHANNEL } from './writes.js';

/** How often a taken seat is asked for again. */
const SEAT_RETRY_MS = 1_000;
const RELEASE_MS = 1_000;
const STATEMENT_TIMEOUT_MS = 15_000;
/** A machine that vanished gives its seat up after about 25 s: the server probes the silent connection. */
const PROBES = ['tcp_keepalives_idle = 10', 'tcp_keepalives_interval = 5', 'tcp_keepalives_count = 3'];

interface Row {
  readonly outbox_id: string;
  readonly last_sequence: string;
  readonly sequence: string | null;
  readonly topic: string;
  readonly key: string;
  readonly value: string | null;
  readonly at: Date;
}

export class PostgresOutbox implements Outbox {
  /** `address` is where the seat's connection goes, which is none of the pool's. */
  constructor(
    private readonly dataSource: DataSource,
    private readonly address = addressOf(dataSource),
  ) {}

  async head(): Promise<OutboxHead> {
    const { outboxId, lastSequence } = await this.after(Number.MAX_SAFE_INTEGER, { entries: 0, bytes: 0 });
    return { outboxId, lastSequence };
  }

  async after(sequence: number, most: { readonly entries: number; readonly bytes: number }): Promise<OutboxPage> {
    try {
      // In one statement, so that head and entries belong together.
      const rows: Row[] = await this.dataSource.query(
        `SELECT head.outbox_id, head.last_sequence, entry.*
         FROM outbox_sequence head LEFT JOIN LATERAL (
           SELECT sequence, topic, key, value, at FROM (
             SELECT *, sum(octet_length(key) + coalesce(octet_length(value), 0)) OVER (ORDER BY sequence) AS bytes,
                    row_number() OVER (ORDER BY sequence) AS number
             FROM (SELECT * FROM outbox WHERE sequence > $1 ORDER BY sequence LIMIT $2) waiting
           ) counted
           WHERE bytes <= $3 OR number = 1
         ) entry ON true
         ORDER BY entry.sequence`,
        [sequence, most.entries, most.bytes],
      );
      return pageOf(rows);
    } catch (error) {
      throw databaseError(error, 'reading the outbox');
    }
  }

  async forget(sequence: number): Promise<void> {
    try {
      await this.dataSource.query('DELETE FROM outbox WHERE sequence <= $1', [sequence]);
    } catch (error) {
      throw databaseError(error, 'emptying the outbox');
    }
  }

  async takeSeat(handlers: SeatHandlers, stopping: AbortSignal): Promise<OutboxSeat | null> {
    const client = ownConnection(this.address, 'fraud-detector-relay', {
      statement_timeout: STATEMENT_TIMEOUT_MS,
      query_timeout: STATEMENT_TIMEOUT_MS + 5_000,
    });
    const seat = new Seat(client, handlers);
    try {
      await client.connect();
      for (const probe of PROBES) await client.query(`SET ${probe}`);
      while (!stopping.aborted) {
        const { rows } = await client.query('SELECT pg_try_advisory_lock($1) AS taken', [ADVISORY_LOCKS.outboxSeat]);
        if (rows[0].taken === true) {
          await client.query(`LISTEN ${OUTBOX_CHANNEL}`);
          return seat;
        }
        // Ends early when asked to stop, which the loop sees.
        await sleep(SEAT_RETRY_MS, undefined, { signal: stopping }).catch(() => {});
      }
    } catch (error) {
      await seat.release();
      throw databaseError(error, "taking the relay's seat");
    }
    await seat.release();
    return null;
  }
}

class Seat implements OutboxSeat {
  private released = false;

  constructor(
    private readonly client: pg.Client,
    handlers: SeatHandlers,
  ) {
    const lost = (error: Error) => {
      if (!this.released) handlers.onLost(error);
    };
    client.on('error', lost);
    client.on('end', () => lost(new Error('the connection ended')));
    client.on('notification', () => handlers.onEntries());
  }

  async release(): Promise<void> {
    this.released = true;
    // The session's end gives lock and subscription back; where it can't be said, the connection is gone already.
    await Promise.race([this.client.end().catch(() => {}), sleep(RELEASE_MS, undefined, { ref: false })]);
  }
}

function pageOf(rows: readonly Row[]): OutboxPage {
  const [first] = rows;
  if (first === undefined) throw new Error('the table outbox_sequence is empty; its one row must not be deleted');
  const entries = rows.flatMap(({ sequence, topic, key, value, at }) =>
    sequence === null ? [] : [{ sequence: Number(sequence), topic, key, value, at: at.getTime() }],
  );
  return { outboxId: first.outbox_id, lastSequence: Number(first.last_sequence), entries };
}
