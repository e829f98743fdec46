/** The outbox as a table of a real Postgres: pages, the relay's seat, and what wakes the relay. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { readTopic } from '../../scripts/prove/outputs.js';
import { openEmbeddedBackend } from '../../src/adapters/embedded-log/backend.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresOutbox } from '../../src/adapters/postgres/outbox-table.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { OutboxRelay } from '../../src/fraud/outbox/relay.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { anActor } from '../support/actors.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOW = Date.UTC(2026, 0, 5, 13);
const MUCH = { entries: 100, bytes: 1_000_000 };
let postgres: TestPostgres;
let database: Database;
let url: string;
let outbox: PostgresOutbox;

beforeAll(async () => {
  postgres = await startTestPostgres(15_651);
});
afterAll(() => postgres.dispose());
beforeEach(async () => {
  url = await postgres.newDatabase();
  database = await openDatabase({ url, onTrouble: () => {} });
  outbox = new PostgresOutbox(database.dataSource);
  return () => database.close();
});

async function publish(...values: readonly unknown[]): Promise<void> {
  const writes = new PostgresWrites(database.dataSource, { now: () => NOW });
  await writes.run({ actor: anActor('admin'), requestId: 'r', idempotency: null }, async (transaction) => {
    for (const value of values) transaction.publish({ topic: 'labels', key: 'k', value });
  });
}

const never = new AbortController().signal;
const noHandlers = { onEntries: () => {}, onLost: () => {} };
const until = (what: () => boolean) => expect.poll(what, { timeout: 20_000, interval: 5 }).toBe(true);

describe('the table', () => {
  it('gives entries after a sequence with the head that belongs to them', async () => {
    await publish({ a: 1 }, null, 'x');
    const page = await outbox.after(1, MUCH);
    expect(page).toEqual({
      ...(await outbox.head()),
      entries: [
        { sequence: 2, topic: 'labels', key: 'k', value: null, at: NOW },
        { sequence: 3, topic: 'labels', key: 'k', value: '"x"', at: NOW },
      ],
    });
    expect(page).toMatchObject({ lastSequence: 3, outboxId: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    await outbox.forget(2);
    expect((await outbox.after(0, MUCH)).entries.map(({ sequence }) => sequence)).toEqual([3]);
    await outbox.forget(3);
    expect(await outbox.after(0, MUCH)).toEqual({ ...(await outbox.head()), lastSequence: 3, entries: [] });
  });

  it('keeps a page within its entries and bytes, and gives one entry at least', async () => {
    await publish('x'.repeat(500), 'x'.repeat(500), 'x'.repeat(2_000), 'x');
    const sequences = async (after: number, entries: number, bytes: number) =>
      (await outbox.after(after, { entries, bytes })).entries.map(({ sequence }) => sequence);
    expect(await sequences(0, 2, 10_000)).toEqual([1, 2]);
    expect(await sequences(0, 10, 1_100)).toEqual([1, 2]);
    expect(await sequences(2, 10, 1_100)).toEqual([3]);
    expect(await sequences(0, 10, 10_000)).toEqual([1, 2, 3, 4]);
  });

  it('of another database has another identity', async () => {
    const other = await openDatabase({ url: await postgres.newDatabase() });
    const { outboxId } = await new PostgresOutbox(other.dataSource).head();
    await other.close();
    expect(outboxId).not.toBe((await outbox.head()).outboxId);
  });
});

describe('the seat', () => {
  it('is one, passes on when it is given back, and is not waited for any more when asked to stop', async () => {
    const first = await outbox.takeSeat(noHandlers, never);
    const stopping = new AbortController();
    const given = outbox.takeSeat(noHandlers, stopping.signal);
    const second = outbox.takeSeat(noHandlers, never);
    stopping.abort();
    expect(await given).toBeNull();
    await first?.release();
    await (await second)?.release();
    expect(first).not.toBeNull();
  });

  it('hears of new entries, and of its loss', async () => {
    let heard = 0;
    let lost = 0;
    const seat = await outbox.takeSeat({ onEntries: () => heard++, onLost: () => lost++ }, never);
    await publish(1);
    await until(() => heard === 1);
    expect(lost).toBe(0);
    await database.dataSource.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fraud-detector-relay'",
    );
    await until(() => lost > 0);
    await seat?.release();
  });

  it('that cannot be asked for says that the database does not answer', async () => {
    const nowhere = new PostgresOutbox(database.dataSource, 'postgres://nobody@127.0.0.1:1/none');
    await expect(nowhere.takeSeat(noHandlers, never)).rejects.toMatchObject({ code: 'database-unavailable' });
  });
});

it('the relay brings a change to its topic in a moment, also after the database went away and came back', async () => {
  const log = makeMemoryLog();
  const backend = log.open();
  const topic = (name: string) => ({ name, partitions: 1, cleanup: 'delete' as const });
  await (await backend.openAdmin()).ensure([topic('labels'), topic('log')]);
  const relay = new OutboxRelay({
    outbox,
    backend,
    taskId: 'outbox',
    stateLogTopic: 'log',
    // Without its poll: only a notification can wake it in time.
    clock: {
      ...systemClock,
      schedule: (delayMs, fire) => systemClock.schedule(delayMs === 1_000 ? 60_000 : delayMs, fire),
    },
  });
  relay.start();
  try {
    await until(() => relay.status().state === 'running');
    await publish(1);
    await until(() => log.records('labels').length === 1);
    await postgres.stop();
    await until(() => relay.status().state === 'retrying');
    await postgres.start();
    await publish(2);
    await until(() => log.records('labels').length === 2 && relay.status().lag === 0);
    expect(relay.status()).toEqual({ state: 'running', error: null, relayed: 2, lag: 0, waitingSince: null });
  } finally {
    await relay.stop();
  }
  // Its connection is gone: nobody holds the seat.
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query("SELECT count(*)::integer AS locks FROM pg_locks WHERE locktype = 'advisory'");
  await client.end();
  expect(rows).toEqual([{ locks: 0 }]);
});

it('the relay keeps its place on the embedded log over a restart of everything but the database', async () => {
  const directory = await mkdtemp(path.join(tmpdir(), 'outbox-log-'));
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  const topic = (name: string) => ({ name, partitions: 1, cleanup: 'delete' as const });
  // The second turn forgets nothing, as if it had been killed behind its commits: the third must not repeat it.
  for (const [turn, forgets] of [true, false, true].entries()) {
    const backend = await openEmbeddedBackend({ directory });
    try {
      const admin = await backend.openAdmin();
      await admin.ensure([topic('labels'), topic('log')]);
      await admin.close();
      await publish(turn, turn);
      const kept = new PostgresOutbox(database.dataSource);
      if (!forgets) kept.forget = async () => {};
      const relay = new OutboxRelay({ outbox: kept, backend, taskId: 'o', stateLogTopic: 'log', clock: systemClock });
      relay.start();
      await until(() => relay.status().relayed >= 2 && relay.status().lag === 0);
      await relay.stop();
      expect((await readTopic(backend, 'labels')).map(({ value }) => Number(value))).toEqual(
        [0, 0, 1, 1, 2, 2].slice(0, 2 * turn + 2),
      );
    } finally {
      await backend.close();
    }
  }
  expect((await outbox.after(0, MUCH)).entries).toEqual([]);
});
