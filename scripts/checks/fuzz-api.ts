/**
 * Owns putting the API under fire: starts the built service on a directory and a port of its own, with the demo, lets
 * schemathesis ask it everything that the OpenAPI document allows and much that it does not, and ends as that ends.
 * Run: `npm run -s fuzz -- [--seed N] [--examples N] [--role ROLE]`.
 * Not part of `npm test`: schemathesis (`pip install schemathesis`) is found on PATH, or where SCHEMATHESIS says.
 *
 * Left out: `/v1/alerts/stream`, which never ends an answer (test/integration/alerts-stream.test.ts asks it).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..', '..');
const START_MS = 120_000;
const LONGEST_MS = 60 * 60_000;
/** Alerts that there must be before the first question. */
const ALERTS = 3;
const ADMIN_KEY = `fuzz-${crypto.randomUUID()}`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    examples: { type: 'string', default: '25' },
    role: { type: 'string', default: 'admin' },
  },
});

/** What may be refused though its form is right: it does not fit what is there, or is repeated. */
const REFUSALS = ['2xx', '3xx', 401, 403, 404, 409, 412, 422, 428, 429, 503];
/**
 * Here a form can't say all, or schemathesis does not heed it: cursors, what fields have to do with each other, one of two
 * fields, names that no body may have (`__proto__`), an If-Match that may be left out (it sends 0 without the quotes that the pattern asks for).
 */
const SAYS_NOT_ALL = [
  'GET',
  'PUT /v1/pattern-parameters',
  'PUT /v1/risk-table/{merchantId}',
  'POST /v1/rules/validate',
  'POST /v1/rules/{id}/test',
  ...['assign', 'notes', 'disposition', 'reopen'].map((work) => `POST /v1/alerts/{id}/${work}`),
];
/** Fixed words where others have ids: what these answer to more methods is documented at the pattern. */
const ALSO_IDS = ['/v1/risk-table/bulk', '/v1/rules/validate'];

/** Settings of schemathesis, as TOML. */
function settings(alertIds: readonly string[]): string {
  const operation = (filter: string, ...lines: string[]) => ['[[operations]]', filter, ...lines, ''];
  const accepting = (statuses: readonly unknown[]) =>
    `expected-statuses = [${statuses.map((one) => JSON.stringify(String(one))).join(', ')}]`;
  return [
    '[dictionaries.alerts]',
    `values = ${JSON.stringify(alertIds)}`,
    '[checks.missing_required_header]',
    accepting([400, 401, 403, 415, 422, 428]),
    '[checks.positive_data_acceptance]',
    accepting(REFUSALS),
    ...SAYS_NOT_ALL.flatMap((name) => {
      const [method, path] = name.split(' ');
      const filter = path === undefined ? `include-method = "${method}"` : `include-name = "${name}"`;
      return operation(filter, '[operations.checks.positive_data_acceptance]', accepting([...REFUSALS, 400]));
    }),
    ...ALSO_IDS.flatMap((path) =>
      operation(`include-path = "${path}"`, '[operations.checks.allow_header_conformance]', 'enabled = false'),
    ),
    ...operation(
      'include-path-regex = "^/v1/alerts/[{]id[}]"',
      '[operations.parameters]',
      '"path.id" = { dictionary = "alerts" }',
    ),
  ].join('\n');
}

/** A port that is free now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => (typeof address === 'object' && address !== null ? resolve(address.port) : reject(address)));
    });
  });
}

function startService(directory: string, port: number): ChildProcess {
  const log = openSync(join(directory, 'service.log'), 'w');
  const flags = ['--data-dir', join(directory, 'data'), '--port', String(port), '--workers', '1', '--demo'];
  const limits = ['--access-rate-limit-per-actor', '10000000', '--access-rate-limit-per-address', '10000000'];
  return spawn(process.execPath, ['dist/src/main.js', ...flags, ...limits, '--no-rules-four-eyes'], {
    cwd: root,
    env: { ...process.env, FRAUD_API_KEY: ADMIN_KEY },
    stdio: ['ignore', log, log],
  });
}

async function ask(url: string, init: RequestInit = {}): Promise<Record<string, unknown>> {
  const headers = { 'x-api-key': ADMIN_KEY, 'content-type': 'application/json' };
  const answer = await fetch(url, { ...init, headers, signal: AbortSignal.timeout(10_000) });
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}: ${await answer.text()}`);
  return (await answer.json()) as Record<string, unknown>;
}

/** Ids of alerts, once there are some. Errors: what went wrong last, where that takes too long. */
async function firstAlerts(url: string, service: ChildProcess): Promise<string[]> {
  const giveUpAt = performance.now() + START_MS;
  let trouble: unknown = new Error('no alert came');
  while (performance.now() < giveUpAt) {
    if (service.exitCode !== null) throw new Error(`the service ended with ${service.exitCode}`);
    try {
      const { items } = (await ask(`${url}/v1/alerts`)) as { items: readonly { readonly alertId: string }[] };
      if (items.length >= ALERTS) return items.map(({ alertId }) => alertId);
    } catch (error) {
      trouble = error;
    }
    await sleep(500);
  }
  throw new Error('the service has no alerts yet', { cause: trouble });
}

/** The credentials of a role: a key made for it; an administrator's is the preset one, which can't be revoked. */
async function credentials(url: string, role: string): Promise<string> {
  if (role === 'admin') return ADMIN_KEY;
  const made = await ask(`${url}/v1/api-keys`, { method: 'POST', body: JSON.stringify({ name: role, roles: [role] }) });
  return String(made.key);
}

function fuzz(url: string, key: string, directory: string): Promise<number> {
  const chosen = ['--seed', values.seed, '--max-examples', values.examples, '--workers', '2'];
  const settled = ['--exclude-path', '/v1/alerts/stream', '--continue-on-failure', '--suppress-health-check', 'all'];
  const program = process.env.SCHEMATHESIS ?? 'schemathesis';
  const child = spawn(
    program,
    [
      ...['--config-file', join(directory, 'schemathesis.toml'), 'run', `${url}/openapi.json`, ...chosen, ...settled],
      ...['--request-timeout', '20', '--header', `Authorization: Bearer ${key}`],
    ],
    { stdio: 'inherit', cwd: directory, timeout: LONGEST_MS },
  );
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      reject(new Error(`${program} can't be run: pip install schemathesis, or name it in SCHEMATHESIS`, { cause }));
    });
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

async function stop(service: ChildProcess): Promise<void> {
  if (service.exitCode !== null || service.signalCode !== null) return;
  const ended = new Promise((resolve) => service.once('exit', resolve));
  service.kill('SIGTERM');
  await Promise.race([ended, sleep(15_000, undefined, { ref: false })]);
  service.kill('SIGKILL');
}

async function main(): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'fuzz-api-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const service = startService(directory, port);
  let code = 1;
  try {
    const alertIds = await firstAlerts(url, service);
    writeFileSync(join(directory, 'schemathesis.toml'), settings(alertIds));
    code = await fuzz(url, await credentials(url, values.role), directory);
    if (service.exitCode !== null) throw new Error(`the service ended with ${service.exitCode}`);
  } catch (error) {
    console.error(error);
  } finally {
    await stop(service);
  }
  if (code === 0) rmSync(directory, { recursive: true, force: true });
  else console.error(`The service's log and data are kept in ${directory}.`);
  return code;
}

process.exitCode = await main();
