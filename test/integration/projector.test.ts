import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { migrations } from '../../migrations/index.js';
import { PostgresAlertProjection } from '../../src/adapters/postgres/alert-projection.js';
import { PostgresAlertRepository } from '../../src/adapters/postgres/alert-repository.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { encodeAlert } from '../../src/fraud/alerts/encode-alert.js';
import type { AlertProjection, ProjectorStatus } from '../../src/fraud/cases/projection.js';
import { Projector, type ProjectorParts } from '../../src/fraud/cases/projector.js';
import type { Clock, LogBackend, RecordWriter } from '../../src/stream/ports.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { type MemoryLog, makeMemoryLog } from '../../src/stream/testing/memory-log.js';
import { anAlert, query, startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const TOPIC = 'fraud.alerts';
const clock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

let postgres: TestPostgres;
let url: string;
let database: Database;
let log: MemoryLog;
let backend: LogBackend;
let writer: RecordWriter;
let projectors: Projector[];

beforeAll(async () => {
  postgres = await startTestPostgres(15_600);
});
afterAll(async () => postgres.dispose());

beforeEach(async () => {
  url = await postgres.newDatabase();
  database = await openDatabase({ url });
  log = makeMemoryLog();
  backend = log.open();
  const admin = await backend.openAdmin();
  await admin.ensure([{ name: TOPIC, partitions: 2, cleanup: 'delete' }]);
  writer = await backend.openWriter();
  projectors = [];
});
afterEach(async () => {
  await Promise.all(projectors.map((projector) => projector.stop()));
  await database.close();
});

function startProjector(changes: Partial<ProjectorParts> = {}): Projector {
  const projector = new Projector({
    topic: TOPIC,
    backend,
    partitionCount: async () => 2,
    projection: new PostgresAlertProjection(database.dataSource),
    clock,
    ...changes,
  });
  projectors.push(projector);
  projector.start();
  return projector;
}

const records = (alerts: readonly Alert[]): OutputRecord[] => alerts.map((alert) => encodeAlert(alert, TOPIC));
const some = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => anAlert(from + i));

async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 15_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain until ${what}`);
    await sleep(20);
  }
}

const repository = () => new PostgresAlertRepository(database.dataSource);
const stored = async () => (await repository().counts({})).total;

describe('the projector', () => {
  it('stores every alert of all partitions, whole, and says that nothing is left', async () => {
    await writer.write(records(some(0, 1200)));
    const projector = startProjector();
    await until('all are stored', async () => (await stored()) === 1200);
    await until('no lag is left', () => projector.status().lag === 0);
    expect(projector.status()).toMatchObject({
      state: 'running',
      stored: 1200,
      repeated: 0,
      unreadable: 0,
      error: null,
    });
    const wanted = anAlert(7);
    const found = await repository().get(wanted.alertId);
    expect(found).toMatchObject({ ...wanted, state: 'open' });
    await writer.write(records([anAlert(5000)]));
    await until('a new one is stored too', async () => (await stored()) === 1201);
  });

  it('resumes where it was, and reads nothing twice', async () => {
    await writer.write(records(some(0, 50)));
    const first = startProjector();
    await until('the first has stored all', async () => (await stored()) === 50);
    await first.stop();
    expect(first.status().state).toBe('stopped');
    await writer.write(records(some(50, 80)));
    const second = startProjector();
    await until('the second has stored the rest', async () => (await stored()) === 80);
    expect(second.status()).toMatchObject({ stored: 30, repeated: 0 });
  });

  it('stores alerts and position together or not at all', async () => {
    await writer.write(records(some(0, 40)));
    // The rows go in, then the transaction breaks: neither they nor the position may be there.
    await query(
      url,
      `CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'on purpose'; END $$ LANGUAGE plpgsql`,
    );
    await query(
      url,
      'CREATE CONSTRAINT TRIGGER broken AFTER INSERT ON alerts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()',
    );
    const projector = startProjector();
    await until('it is in trouble', () => projector.status().state === 'retrying');
    expect(projector.status().error).toMatchObject({ code: 'database-refused' });
    expect(await query(url, 'SELECT 1 FROM alerts')).toEqual([]);
    expect(await query(url, 'SELECT 1 FROM projector_offsets')).toEqual([]);
    await query(url, 'DROP TRIGGER broken ON alerts');
    await until('it has recovered', async () => (await stored()) === 40);
    await until('it says so', () => projector.status().state === 'running');
    expect(projector.status().stored).toBe(40);
  });

  it('stores once what it reads twice, and what two projectors read at once', async () => {
    await writer.write(records(some(0, 300)));
    await writer.write(records(some(0, 300)));
    const both = [startProjector(), startProjector()];
    const isDone = ({ state, lag }: ProjectorStatus) => state === 'running' && lag === 0;
    await until('both have read all', () => both.every((projector) => isDone(projector.status())));
    const sum = (of: (status: ProjectorStatus) => number) => both.reduce((all, one) => all + of(one.status()), 0);
    expect(sum(({ repeated }) => repeated)).toBeGreaterThanOrEqual(300);
    expect(await stored()).toBe(300);
    expect(sum((status) => status.stored)).toBe(300);
  });

  it('never lets a position go back, whoever stores late', async () => {
    const projection = new PostgresAlertProjection(database.dataSource);
    const batch = (nextOffset: number) => ({ topic: TOPIC, partition: 0, alerts: [], unreadable: [], nextOffset });
    await projection.append(batch(70));
    await projection.append(batch(40));
    expect(await projection.positions(TOPIC)).toEqual(new Map([[0, 70]]));
    expect(await projection.positions('another')).toEqual(new Map());
  });

  it('survives a restart of the database', async () => {
    await writer.write(records(some(0, 20)));
    const projector = startProjector();
    await until('the first are stored', async () => (await stored()) === 20);
    await postgres.stop();
    await writer.write(records(some(20, 60)));
    await until('it notices', () => projector.status().state === 'retrying');
    expect(projector.status().error?.code).toBe('database-unavailable');
    await postgres.start();
    await until('it has caught up', async () => (await stored().catch(() => 0)) === 60, 30_000);
    await until('it runs', () => projector.status().state === 'running');
  });

  it('keeps what is no alert, and what Postgres cannot hold, and goes on', async () => {
    const base = anAlert(1);
    const nul = anAlert(2, { merchantId: 'mer\u0000chant' });
    const { evidence } = anAlert(3);
    const surrogate = anAlert(3, { evidence: { ...evidence, pipelineVersion: 'lone \ud800' } });
    const noise = { ...encodeAlert(base, TOPIC), value: Buffer.from([0xff, 0x00, 0x01]) };
    await writer.write([
      noise,
      ...records([base, nul, surrogate]),
      { ...noise, value: null },
      ...records([anAlert(4)]),
    ]);
    const projector = startProjector();
    await until('the good ones are stored', async () => (await stored()) === 2);
    await until('the others are counted', () => projector.status().unreadable === 4);
    const rejects = await query<{ record_value: Buffer | null; reason: string }>(
      url,
      'SELECT record_value, reason FROM projector_rejects ORDER BY partition_id, record_offset',
    );
    expect(rejects).toHaveLength(4);
    expect(rejects.some(({ record_value }) => record_value?.equals(Buffer.from([0xff, 0x00, 0x01])))).toBe(true);
    expect(rejects.filter(({ reason }) => reason.includes("can't store it"))).toHaveLength(2);
  });

  it('stops a partition whose stored position is gone from the log, and says what to do', async () => {
    await writer.write(records(some(0, 30)));
    const first = startProjector();
    await until('all are stored', async () => (await stored()) === 30);
    await first.stop();
    await writer.write(records(some(30, 60)));
    for (const partition of [0, 1]) {
      const [{ end }] = (await (await backend.openAdmin()).ranges(TOPIC)).filter(
        (range) => range.partition === partition,
      );
      log.faults.truncate(TOPIC, partition, end - 1);
    }
    const second = startProjector();
    await until('it has failed', () => second.status().state === 'failed');
    expect(second.status().error?.code).toBe('offset-out-of-range');
    expect(second.status().error?.message).toContain('delete the row of topic');
    await sleep(300);
    expect(await stored()).toBe(30);
    // The way out that the message names works.
    await second.stop();
    await query(url, 'DELETE FROM projector_offsets');
    const third = startProjector();
    await until('it goes on', () => third.status().stored > 0 && third.status().lag === 0);
  });

  it('backs off while the database is away, and stops at once in the midst of it', async () => {
    let tries = 0;
    const projection: AlertProjection = {
      positions: async () => {
        tries++;
        throw new Error('away');
      },
      append: async () => ({ stored: 0, repeated: 0, unreadable: 0 }),
    };
    const projector = startProjector({ projection });
    await sleep(1_000);
    expect(tries).toBeLessThanOrEqual(10);
    const start = performance.now();
    await projector.stop();
    expect(performance.now() - start).toBeLessThan(500);
    expect(projector.status().state).toBe('stopped');
  });
});

describe('opening the database', () => {
  it('makes the tables once, even when several processes start together', async () => {
    const fresh = await postgres.newDatabase();
    const opened = await Promise.all([1, 2, 3].map(() => openDatabase({ url: fresh })));
    await Promise.all(opened.map((one) => one.close()));
    const again = await openDatabase({ url: fresh });
    await again.close();
    const done = await query<{ name: string }>(fresh, 'SELECT name FROM schema_migrations ORDER BY id');
    const known = migrations.map((migration) => ({ name: new migration().name }));
    expect(done).toEqual(known);
  });

  it('gives up after a while with the address and without the password', async () => {
    const opening = openDatabase({ url: 'postgres://me:secret@127.0.0.1:1/nowhere', waitMs: 300 });
    await expect(opening).rejects.toMatchObject({ code: 'database-unavailable' });
    const message = await opening.catch((error: Error) => error.message);
    expect(message).toContain('127.0.0.1:1/nowhere');
    expect(message).not.toContain('secret');
  });
});
