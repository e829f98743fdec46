/**
 * Owns `npm run -s bench -- api`: how soon the analyst API answers over a month of alerts. A fresh embedded Postgres is
 * filled, the API runs in a process of its own, and a paced mix of lists is asked of it. Load, API and Postgres share
 * the machine, as they do for a small team.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { request } from 'undici';
import { openDatabase } from '../src/adapters/postgres/database.js';
import { startEmbeddedPostgres } from '../src/adapters/postgres/embedded-postgres.js';
import { Random } from '../src/fraud/world/random.js';
import { fillAlerts, NEWEST_MS } from './api-alerts.js';
import { type LoadFigures, load } from './api-load.js';
import type { Bench, BenchPlace } from './bench.js';
import { cpuSeconds, loadAverage, peakRssMiB } from './process-figures.js';

interface ApiFigures extends LoadFigures {
  readonly alerts: number;
  readonly fillSeconds: number;
  readonly databaseMiB: number;
  /** Of 31 days, by rule and hour: the slowest of five. */
  readonly statisticsMs: number;
  /** Of the API's process, as a share of the run's time. */
  readonly apiCpuShare: number;
  readonly apiPeakRssMiB: number;
  /** Load average when the paced run began. */
  readonly load: number;
}

const WARM_UP_SECONDS = 5;

export const apiBench: Bench = {
  name: 'api',
  summary: 'lists of the analyst API over many alerts, in a fresh Postgres; needs no broker',
  run: async (place) => {
    const figures = await measure(place);
    const rows = Object.entries(figures).map(([figure, value]) => ({
      figure,
      value: typeof value === 'number' ? value : JSON.stringify(value),
    }));
    return { figures: { ...figures }, rows };
  },
};

async function measure({ options, directory, say }: BenchPlace): Promise<ApiFigures> {
  const { alerts } = options;
  const rate = options.rates?.[0] ?? 100;
  const seconds = options.seconds ?? 60;
  const server = await startEmbeddedPostgres({ directory: join(directory, 'postgres'), log: () => {} });
  let service: ChildProcess | null = null;
  try {
    const database = await openDatabase({ url: server.url });
    say(`api: storing ${alerts} alerts`);
    const began = performance.now();
    await fillAlerts(server.url, alerts, say);
    const fillSeconds = Math.round((performance.now() - began) / 1_000);
    const [{ mib }]: { mib: number }[] = await database.dataSource.query(
      'SELECT round(pg_database_size(current_database()) / 1048576.0)::float8 AS mib',
    );
    await database.close();

    const started = await startService(server.url);
    service = started.service;
    const random = new Random(7);
    say(`api: warming up for ${WARM_UP_SECONDS} s`);
    await load(started.address, rate, WARM_UP_SECONDS, () => random.unit());
    say(`api: ${rate} requests/s for ${seconds} s`);
    const loadBefore = loadAverage();
    const pid = service.pid ?? 0;
    const cpuBefore = cpuSeconds(pid);
    const figures = await load(started.address, rate, seconds, () => random.unit());
    const apiCpuShare = Math.round(((cpuSeconds(pid) - cpuBefore) / seconds) * 100) / 100;
    const statisticsMs = await slowestStatistics(started.address);
    return {
      alerts,
      fillSeconds,
      databaseMiB: mib,
      ...figures,
      statisticsMs,
      apiCpuShare,
      apiPeakRssMiB: peakRssMiB(pid),
      load: loadBefore,
    };
  } finally {
    service?.stdin?.end();
    if (service !== null) await Promise.race([once(service, 'exit'), new Promise((done) => setTimeout(done, 5_000))]);
    service?.kill('SIGKILL');
    await server.stop();
  }
}

async function startService(url: string): Promise<{ service: ChildProcess; address: string }> {
  const script = fileURLToPath(new URL('./api-service.js', import.meta.url));
  const service = spawn(process.execPath, [script, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  if (service.stdout === null) throw new Error('the service has no output');
  for await (const address of createInterface({ input: service.stdout })) return { service, address };
  throw new Error('the API did not start');
}

async function slowestStatistics(address: string): Promise<number> {
  let slowest = 0;
  for (let run = 0; run < 5; run++) {
    const began = performance.now();
    const { statusCode, body } = await request(
      `${address}/v1/alerts/statistics?from=${NEWEST_MS - 31 * 86_400_000}&to=${NEWEST_MS}`,
      { headers: { authorization: 'Bearer bench' } },
    );
    await body.text();
    if (statusCode !== 200) throw new Error(`statistics answered ${statusCode}`);
    slowest = Math.max(slowest, performance.now() - began);
  }
  return Math.round(slowest * 10) / 10;
}
