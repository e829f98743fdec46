/**
 * The outbox on a real broker and a real Postgres, while the processes that relay it are killed: every label is in its
 * topic once, in the order in which its change was committed.
 */
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readTopic, text } from '../../scripts/prove/outputs.js';
import { type Surroundings, setUp } from '../../scripts/prove/setting-up.js';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { OUTBOX_SEQUENCE_HEADER } from '../../src/fraud/outbox/relay.js';
import { Random } from '../../src/fraud/world/random.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { anActor } from '../support/actors.js';
import { startChild, type TestChild } from '../support/child.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const CHILD = path.resolve(import.meta.dirname, 'relay.child.ts');
const KILLS = 6;
/** Labels of one change: some hundred make a commit take long enough to be killed in. */
const LABELS_A_CHANGE = 100;
const WAIT_MS = 30_000;

let surroundings: Surroundings;
let postgres: TestPostgres;
let database: Database;
let url: string;
const children = new Set<TestChild>();

beforeAll(async () => {
  [surroundings, postgres] = await Promise.all([setUp({ port: 19_551, partitions: 2 }), startTestPostgres(15_653)]);
  url = await postgres.newDatabase();
  database = await openDatabase({ url });
});
afterAll(async () => {
  await Promise.all([...children].map((child) => child.kill('SIGKILL')));
  await database?.close();
  await Promise.all([surroundings?.close(), postgres?.dispose()]);
});

const waiting = async (): Promise<number> => {
  const [row] = await database.dataSource.query('SELECT count(*)::integer AS number FROM outbox');
  return row.number;
};
const written = async (): Promise<number> => {
  const [row] = await database.dataSource.query('SELECT last_sequence FROM outbox_sequence');
  return Number(row.last_sequence);
};

it('every label is relayed once and in order, though its relay is killed again and again', async () => {
  const topics = { labels: await surroundings.inputTopic('labels'), log: await surroundings.inputTopic('outbox-log') };
  const [broker] = surroundings.brokers;
  const start = () => {
    const child = startChild(CHILD, [url, broker, `relayed-${process.pid}`, topics.log]);
    children.add(child);
    return child;
  };
  const random = new Random(7);
  const writes = new PostgresWrites(database.dataSource, systemClock);
  const request = { actor: anActor('analyst'), requestId: 'r', idempotency: null };
  let writing = true;
  const writer = async () => {
    while (writing) {
      await writes.run(request, async ({ publish }) => {
        for (let i = 0; i < LABELS_A_CHANGE; i++) {
          publish({ topic: topics.labels, key: `alert-${random.whole(1, 50)}`, value: { label: 'fraud' } });
        }
      });
      await sleep(25);
    }
  };
  const writers = [writer(), writer()];

  let standby = start();
  let killedAtWork = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const relay = standby;
    await relay.line('running', WAIT_MS);
    // Every third time the next one waits for the seat already when this one dies.
    if (kill % 3 === 0) standby = start();
    // By turns just behind a commit, and at any moment.
    if (kill % 2 === 0) await relay.line('forgetting while running', WAIT_MS);
    else await sleep(random.whole(0, 300));
    if ((await waiting()) > 0) killedAtWork++;
    await relay.kill('SIGKILL');
    children.delete(relay);
    if (kill % 3 !== 0) standby = start();
  }
  writing = false;
  await Promise.all(writers);
  await expect.poll(waiting, { timeout: WAIT_MS, interval: 50 }).toBe(0);
  expect(await standby.kill('SIGTERM')).toBe(0);
  children.delete(standby);
  expect(standby.lines.at(-1)).toBe('stopped in state stopped');

  expect(killedAtWork).toBeGreaterThan(0);
  const sequences = (await readTopic(surroundings.backend, topics.labels)).map(({ headers }) =>
    Number(text(headers, OUTBOX_SEQUENCE_HEADER)),
  );
  const count = await written();
  expect(count).toBeGreaterThan(KILLS * LABELS_A_CHANGE);
  // Read partition by partition: rising but for the one place where the second partition begins.
  expect(sequences.filter((sequence, index) => index > 0 && sequence < sequences[index - 1])).toHaveLength(1);
  expect(sequences.sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
}, 180_000);
