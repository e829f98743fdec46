/** The process that the tests of the embedded Postgres kill: starts it, writes a row, says so, and waits. */
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/adapters/postgres/embedded-postgres.js';

const [directory = '', end] = process.argv.slice(2);
const { url } = await startEmbeddedPostgres({ directory, log: () => undefined });
const client = new pg.Client(url);
client.on('error', () => undefined);
await client.connect();
await client.query('create table if not exists kept (x int)');
await client.query('insert into kept values (1)');
const { rows } = await client.query('select pg_postmaster_start_time()');
process.stdout.write(`started ${rows.length}\n`);
if (end === 'end') await client.end();
else setInterval(() => undefined, 1_000);
