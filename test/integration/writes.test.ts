import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { type AuditEntry, auditFault } from '../../src/fraud/audit/audit-trail.js';
import type { WriteRequest } from '../../src/fraud/audit/write-request.js';
import { StreamError } from '../../src/stream/errors.js';
import { anActor } from '../support/actors.js';
import { startTestPostgres, type TestPostgres } from './projector-fixtures.js';

const NOW = Date.UTC(2026, 0, 5, 13);
let postgres: TestPostgres;
let database: Database;
let writes: PostgresWrites;
let nowMs: number;

beforeAll(async () => {
  postgres = await startTestPostgres(15_611);
});
afterAll(async () => {
  await postgres.dispose();
});
beforeEach(async () => {
  database = await openDatabase({ url: await postgres.newDatabase() });
  nowMs = NOW;
  writes = new PostgresWrites(database.dataSource, { now: () => nowMs });
  return () => database.close();
});

const request = (key: string | null = null, fingerprint = 'f'): WriteRequest => ({
  actor: anActor('admin'),
  requestId: 'r-1',
  idempotency: key === null ? null : { key, fingerprint },
});
const change = (topic: string) => (transaction: Parameters<Parameters<typeof writes.run>[1]>[0]) => {
  transaction.audit({
    action: 'thing.changed',
    subject: { kind: 'thing', id: topic },
    details: { price: 1.1, n: null },
  });
  transaction.publish({ topic, key: 'k', value: { a: 1 } });
  return Promise.resolve({ topic });
};
const entries = async (): Promise<AuditEntry[]> => {
  const rows: { entry: string; hash: string }[] = await database.dataSource.query(
    'SELECT entry, hash FROM audit_entries ORDER BY sequence',
  );
  return rows.map(({ entry, hash }) => ({ ...JSON.parse(entry), hash }));
};
const outbox = (): Promise<{ sequence: string; topic: string; value: string | null }[]> =>
  database.dataSource.query('SELECT sequence, topic, value FROM outbox ORDER BY sequence');

describe('a change', () => {
  it('is kept with its audit entries and the messages it owes, numbered and chained without gaps', async () => {
    await Promise.all(Array.from({ length: 12 }, (_, i) => writes.run(request(), change(`t${i}`))));
    const kept = await entries();
    expect(kept.map((entry, index) => auditFault(entry, kept[index - 1] ?? null))).toEqual(Array(12).fill(null));
    expect((await outbox()).map(({ sequence }) => Number(sequence))).toEqual(
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
  });

  it('that fails leaves nothing behind, and passes its reason on', async () => {
    const failing = writes.run(request('key'), async (transaction) => {
      await change('t')(transaction);
      await transaction.manager.query("INSERT INTO outbox VALUES (99, 'x', 'y', null, now())");
      throw new StreamError('rule-not-found', 'no such rule');
    });
    await expect(failing).rejects.toMatchObject({ code: 'rule-not-found' });
    expect([await entries(), await outbox()]).toEqual([[], []]);
    expect(await writes.run(request('key'), change('again'))).toEqual({ topic: 'again' });
    expect((await outbox()).map(({ sequence }) => Number(sequence))).toEqual([1]);
  });

  it('asked for twice with one idempotency key happens once and answers the same', async () => {
    const [first, second] = await Promise.all([
      writes.run(request('key'), change('one')),
      writes.run(request('key'), change('two')),
    ]);
    expect(second).toEqual(first);
    expect(await entries()).toHaveLength(1);
  });

  it('refuses the key of another request, and forgets keys after a day', async () => {
    await writes.run(request('key', 'f'), change('one'));
    await expect(writes.run(request('key', 'g'), change('two'))).rejects.toMatchObject({
      code: 'idempotency-key-reused',
    });
    nowMs += 25 * 3_600_000;
    await writes.run(request('other'), change('three'));
    expect(await writes.run(request('key', 'g'), change('two'))).toEqual({ topic: 'two' });
  });
});

describe('the audit trail', () => {
  it('refuses to be changed, deleted from or emptied', async () => {
    await writes.run(request(), change('one'));
    for (const statement of [
      "UPDATE audit_entries SET actor_id = 'x'",
      'DELETE FROM audit_entries',
      'TRUNCATE audit_entries',
    ]) {
      await expect(database.dataSource.query(statement)).rejects.toThrow('append-only');
    }
  });

  it('shows an entry changed, removed or slipped in behind its back', async () => {
    for (const topic of ['a', 'b', 'c']) await writes.run(request(), change(topic));
    const [a, b, c] = await entries();
    if (a === undefined || b === undefined || c === undefined) throw new Error('three entries were written');
    expect(auditFault({ ...b, action: 'thing.hidden' }, a)).toContain('entry 2 was changed');
    expect(auditFault(c, a)).toContain('entry 2 is missing');
    expect(auditFault({ ...c, sequence: 2 }, a)).toContain('does not join on');
  });
});
