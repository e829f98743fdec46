/** `fraud audit verify`: whatever is done to the trail behind the program's back, it is found. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/adapters/postgres/database.js';
import { startEmbeddedPostgres } from '../../src/adapters/postgres/embedded-postgres.js';
import { PostgresWrites } from '../../src/adapters/postgres/writes.js';
import { openDataDirectory } from '../../src/app/data-directory.js';
import { runCommandLine } from '../../src/cli/main.js';
import { type AuditEntry, auditHash } from '../../src/fraud/audit/audit-trail.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { asTest } from './access-world.js';

const ENTRIES = 30;
let directory: string;
let dataDir: string;
let database: Database;
let server: Awaited<ReturnType<typeof startEmbeddedPostgres>>;

const startServer = () => startEmbeddedPostgres({ directory: join(dataDir, 'postgres'), port: 15_643, log: () => {} });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'fraud-audit-'));
  dataDir = join(directory, 'data');
  const marked = await openDataDirectory(dataDir);
  await marked.subdirectory('postgres');
  await marked.close();
  server = await startServer();
});
afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(async () => {
  database = await openDatabase({ url: server.url });
  await write(ENTRIES);
  return async () => {
    await tamper('TRUNCATE audit_entries');
    await database.close();
  };
});

async function write(count: number): Promise<void> {
  await new PostgresWrites(database.dataSource, systemClock).run(asTest, async ({ audit }) => {
    for (let i = 0; i < count; i++) {
      audit({
        action: 'rule.activated',
        subject: { kind: 'rule', id: `rule-${i}` },
        details: { price: 0.1 + i, note: 'Grüße 🙂', nested: { b: null, a: [1, 2] } },
      });
    }
  });
}

/** As whoever owns the database can: the trigger is switched off meanwhile. */
async function tamper(...statements: readonly string[]): Promise<void> {
  await database.dataSource.transaction(async (manager) => {
    await manager.query('ALTER TABLE audit_entries DISABLE TRIGGER audit_append_only');
    for (const statement of statements) await manager.query(statement);
    await manager.query('ALTER TABLE audit_entries ENABLE TRIGGER audit_append_only');
  });
}

async function verify(...words: readonly string[]) {
  const printed: string[] = [];
  const told: string[] = [];
  const surroundings = {
    env: {},
    cwd: directory,
    clock: systemClock,
    signal: new AbortController().signal,
    print: (text: string) => printed.push(text),
    tell: (text: string) => told.push(text),
    screen: null,
    columns: 100,
    readFile: () => undefined,
    openBackend: () => Promise.reject(new Error('there is no log here')),
  };
  const code = await runCommandLine(['audit', 'verify', ...words], surroundings, '1');
  return { code, printed: printed.join('\n'), told: told.join('\n') };
}
const atUrl = (...words: readonly string[]) => verify('--postgres-url', server.url, ...words);
const entryAt = async (sequence: number): Promise<AuditEntry> => {
  const [row] = await database.dataSource.query('SELECT * FROM audit_entries WHERE sequence = $1', [sequence]);
  return { ...JSON.parse(row.entry), hash: row.hash };
};
const headOf = async (sequence: number) => `${sequence}:${(await entryAt(sequence)).hash}`;
const quoted = (value: unknown) => `'${JSON.stringify(value).replaceAll("'", "''")}'`;

describe('an untouched trail', () => {
  it('is whole, and its head is told for the next time', async () => {
    const { code, printed } = await atUrl();
    expect(code).toBe(0);
    expect(printed).toContain(`whole: ${ENTRIES} entries checked`);
    expect(printed).toContain(`Head: ${await headOf(ENTRIES)}`);
    const noted = await headOf(10);
    expect((await atUrl('--head', noted)).code).toBe(0);
    const { hash } = await entryAt(ENTRIES);
    const json = await atUrl('--json');
    expect(JSON.parse(json.printed)).toEqual({
      whole: true,
      checked: ENTRIES,
      head: { sequence: ENTRIES, hash },
      fault: null,
    });
  });

  it('is whole when it is empty, and when it is longer than a page', async () => {
    await tamper('TRUNCATE audit_entries');
    expect(await atUrl()).toMatchObject({ code: 0, printed: expect.stringContaining('0 entries') });
    await write(2_000);
    expect(await atUrl()).toMatchObject({ code: 0, printed: expect.stringContaining('2000 entries') });
    await tamper('DELETE FROM audit_entries WHERE sequence = 1000');
    expect(await atUrl()).toMatchObject({ code: 1, printed: expect.stringContaining('entry 1000 is missing') });
  }, 30_000);
});

describe('a trail that was tampered with', () => {
  it.each<[string, string, string]>([
    [
      'content changed',
      `UPDATE audit_entries SET entry = replace(entry, 'rule-6', 'rule-x') WHERE sequence = 7`,
      'entry 7 was changed',
    ],
    [
      'another actor in the column',
      `UPDATE audit_entries SET actor_id = 'eve' WHERE sequence = 7`,
      'entry 7 is filed under columns',
    ],
    [
      'another action in the column',
      `UPDATE audit_entries SET action = 'x.y' WHERE sequence = 7`,
      'entry 7 is filed under columns',
    ],
    [
      'another subject in the column',
      `UPDATE audit_entries SET subject_id = 'x' WHERE sequence = 7`,
      'entry 7 is filed under columns',
    ],
    [
      'another time in the column',
      `UPDATE audit_entries SET at = at + interval '1 ms' WHERE sequence = 7`,
      'entry 7 is filed under columns',
    ],
    [
      'another hash before',
      `UPDATE audit_entries SET previous_hash = repeat('0', 64) WHERE sequence = 7`,
      'entry 7 is filed under columns',
    ],
    ['another hash', `UPDATE audit_entries SET hash = repeat('0', 64) WHERE sequence = 7`, 'entry 7 was changed'],
    ['no content at all', `UPDATE audit_entries SET entry = 'gone' WHERE sequence = 7`, 'entry 7 holds no content'],
    [
      'a field added',
      `UPDATE audit_entries SET entry = replace(entry, '{"sequence"', '{"approved":true,"sequence"') WHERE sequence = 7`,
      'entry 7 holds no content',
    ],
    [
      'a field given twice',
      `UPDATE audit_entries SET entry = replace(entry, '{"sequence"', '{"action":"x","sequence"') WHERE sequence = 7`,
      'entry 7 holds no content',
    ],
    ['an entry removed', 'DELETE FROM audit_entries WHERE sequence = 7', 'entry 7 is missing'],
    ['the first removed', 'DELETE FROM audit_entries WHERE sequence = 1', 'entry 1 is missing'],
    ['all but the last removed', `DELETE FROM audit_entries WHERE sequence < ${ENTRIES}`, 'entry 1 is missing'],
    [
      'one slipped in before the first',
      `INSERT INTO audit_entries SELECT 0, at, actor_id, action, subject_kind, subject_id, entry, previous_hash, hash FROM audit_entries WHERE sequence = 1`,
      'entry 0 is filed under columns',
    ],
    [
      'one put at the end',
      `INSERT INTO audit_entries SELECT ${ENTRIES + 1}, at, actor_id, action, subject_kind, subject_id, entry, previous_hash, hash FROM audit_entries WHERE sequence = ${ENTRIES}`,
      `entry ${ENTRIES + 1} is missing`,
    ],
  ])('is found out: %s', async (_, statement, fault) => {
    await tamper(statement);
    const { code, printed } = await atUrl();
    expect(code).toBe(1);
    expect(printed).toContain('NOT whole');
    expect(printed).toContain(fault);
    const { fault: named } = JSON.parse((await atUrl('--json')).printed);
    expect(named.message).toContain(fault);
  });

  it('is found out when an entry is rewritten with its hash made anew', async () => {
    const { hash: _, ...content } = await entryAt(7);
    const changed = { ...content, subject: { kind: 'rule', id: 'another' } };
    const hash = auditHash(changed);
    await tamper(
      `UPDATE audit_entries SET entry = ${quoted(changed)}, subject_id = 'another', hash = '${hash}' WHERE sequence = 7`,
    );
    expect(await atUrl()).toMatchObject({ code: 1, printed: expect.stringContaining('entry 8 does not join on') });
  });

  it('is found out by a head noted earlier when its end is cut off, or all of it is written anew', async () => {
    const noted = await headOf(20);
    await tamper('DELETE FROM audit_entries WHERE sequence > 15');
    expect((await atUrl()).code).toBe(0);
    expect(await atUrl('--head', noted)).toMatchObject({
      code: 1,
      printed: expect.stringContaining('entries 16 to 20 are missing at the end'),
    });
    await tamper('TRUNCATE audit_entries');
    await write(25);
    expect((await atUrl()).code).toBe(0);
    expect(await atUrl('--head', noted)).toMatchObject({ code: 1, printed: expect.stringContaining('written anew') });
  });
});

describe('fraud audit verify', () => {
  it('reads the embedded Postgres of a service that runs, and of one that does not', async () => {
    const running = await verify('--data-dir', dataDir);
    expect(running).toMatchObject({ code: 0, printed: expect.stringContaining(`${ENTRIES} entries checked`) });
    await database.close();
    await server.stop();
    try {
      const stopped = await verify('--data-dir', dataDir);
      expect(stopped).toMatchObject({ code: 0, printed: expect.stringContaining(`${ENTRIES} entries checked`) });
    } finally {
      server = await startServer();
      database = await openDatabase({ url: server.url });
    }
  }, 30_000);

  it('says what is missing, and how it wants to be called', async () => {
    expect(await verify('--data-dir', join(directory, 'none'))).toMatchObject({
      code: 1,
      told: expect.stringContaining('(database-missing)'),
    });
    expect(await atUrl('--head', '12')).toMatchObject({ code: 2, told: expect.stringContaining('SEQUENCE:HASH') });
    expect(await atUrl('more')).toMatchObject({ code: 2 });
    const elsewhere = server.url.replace(/[^/]*$/, 'template1');
    expect(await verify('--postgres-url', elsewhere)).toMatchObject({
      code: 1,
      told: expect.stringContaining('audit-missing'),
    });
    const nobody = await verify('--postgres-url', 'postgres://u:hunter2@127.0.0.1:1/x');
    expect(nobody).toMatchObject({ code: 1, told: expect.stringContaining('database-unavailable') });
    expect(nobody.told).not.toContain('hunter2');
  });
});
