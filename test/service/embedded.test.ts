/** The service on the embedded backend, as a newcomer gets it: first start, stop, second start, starting over, roles. */
import { writeFileSync } from 'node:fs';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { caughtUp, shownAlertIds } from './outcome.js';
import { BUSY_DEMO, leftAt, type Service, START_LIMIT_MS, STOP_LIMIT_MS, sum, Workshop } from './service.js';
import { countCommitted, countRecords, readAlertIds } from './topic-contents.js';

const workshop = new Workshop();

async function stopsWell(service: Service, signal: NodeJS.Signals, directory: string): Promise<void> {
  const { code, tookMs } = await service.stop(signal);
  expect(code, service.said()).toBe(0);
  expect(tookMs).toBeLessThan(STOP_LIMIT_MS);
  expect(service.stdout).toContain(`stopping: ${signal}`);
  expect(service.lastLine).toMatch(/^stopped in \d\.\d s, nothing pending$/);
  expect(service.stderr).toBe('');
  expect(await leftAt(directory, 1_000)).toEqual([]);
}

/** Waits until payments, alerts in Postgres and dead letters have come through. */
const flows = (service: Service) =>
  service.until('payments, alerts and dead letters flow', async () => {
    const { tasks, projector } = await service.pipeline();
    const { items } = await service.json<{ items: readonly unknown[] }>('/v1/alerts');
    const isFlowing = tasks.every(({ records, deadLetters }) => records > 100 && deadLetters > 0);
    return tasks.length === 2 && isFlowing && items.length > 0 && projector?.state === 'running';
  });

describe('the service on the embedded backend', () => {
  const directory = workshop.directory();
  const flags = [`--data-dir=${directory}`, '--port=0', ...BUSY_DEMO];
  afterAll(() => workshop.clear());

  it('is up within 30 s of its first start, tells its addresses, answers, and stops on SIGTERM', async () => {
    const service = workshop.start(flags);
    const api = await service.up();
    expect(performance.now() - service.startedAtMs).toBeLessThan(START_LIMIT_MS);
    for (const step of [/^embedded log: ready/, /^embedded Postgres: ready/, /^API: http/, /^detector: 2 tasks/]) {
      await service.line(step, 1);
    }
    await service.line(/^a simulated card world pays 400 payments\/s/, 1);

    expect(await service.json('/health/live')).toEqual({ status: 'live' });
    await service.until('/health/ready', async () => (await service.get('/health/ready')).status === 200);
    const description = await service.json<{ openapi: string; paths: object }>('/openapi.json');
    expect(description.openapi).toMatch(/^3\./);
    expect(Object.keys(description.paths)).toContain('/v1/alerts');
    const docs = await service.get('/docs');
    expect(docs.status).toBe(200);
    expect(docs.headers.get('content-type')).toContain('text/html');
    expect(service.stdout).toContain(`docs ${api}/docs`);

    await flows(service);
    const metrics = await (await service.get('/metrics')).text();
    expect(metrics).toMatch(/^\w+\{?[^\n]*\}? [1-9]/m);
    const page = await service.json<{ items: { alertId: string; rules: { reason: string }[] }[] }>('/v1/alerts');
    const [{ alertId, rules }] = page.items;
    expect(rules[0].reason).toMatch(/\w+ \w+/);
    expect(await service.json(`/v1/alerts/${alertId}`)).toMatchObject({ alertId });

    await service.until('three status lines', () => statusTimes(service).length >= 3, 10_000);
    const [, second, third] = statusTimes(service);
    expect(third - second).toBeGreaterThan(500);
    expect(third - second).toBeLessThan(2_500);
    await service.line(/ status payments\/s=[1-9]\d+ payments=\d+ alerts=[1-9]\d* dead-letters=[1-9]/);
    await service.line(/ alert decision=\w+ .*reason="/);
    await stopsWell(service, 'SIGTERM', directory);
  });

  it('goes on at its second start where it was, and stops on SIGINT', async () => {
    const committedBefore = await countCommitted(directory);
    const alertsBefore = await readAlertIds(directory);
    expect(committedBefore).toBeGreaterThan(200);
    expect(alertsBefore.length).toBeGreaterThan(0);
    const service = workshop.start(flags);
    await flows(service);
    const { tasks } = await service.pipeline();
    // What was done with before is not read again: what came since accounts for all that was read.
    const since = sum(tasks.map(({ endOffset }) => endOffset)) - committedBefore;
    expect(sum(tasks.map(({ records }) => records))).toBeLessThanOrEqual(since);
    await stopsWell(service, 'SIGINT', directory);

    const inTopic = await readAlertIds(directory);
    expect(new Set(inTopic).size).toBe(inTopic.length);
    expect(inTopic).toEqual(expect.arrayContaining(alertsBefore));
    const shown = workshop.start([...flags, '--no-demo']);
    await caughtUp(shown);
    const inPostgres = await shownAlertIds(shown);
    await stopsWell(shown, 'SIGTERM', directory);
    expect(inPostgres).toEqual(await readAlertIds(directory));
  });

  it('starts over with --fresh', async () => {
    const before = await readAlertIds(directory);
    const service = workshop.start([...flags, '--fresh', '--no-demo']);
    await service.up();
    const { tasks } = await service.pipeline();
    expect(tasks.map(({ endOffset }) => endOffset)).toEqual(tasks.map(() => 0));
    expect(await shownAlertIds(service)).toEqual([]);
    await stopsWell(service, 'SIGTERM', directory);
    expect(before.length).toBeGreaterThan(0);
    expect(await readAlertIds(directory)).toEqual([]);
  });
});

describe('the service by its settings', () => {
  afterEach(() => workshop.clear());

  it('takes PORT and FRAUD_DATA_DIR from the environment, and the rest from a file', async () => {
    const directory = workshop.directory();
    writeFileSync(`${directory}/settings.yaml`, 'demo:\n  ratePerSecond: 321\nterminal:\n  lineIntervalMs: 700\n');
    const port = await workshop.freePort();
    const service = workshop.start(['--config', `${directory}/settings.yaml`], {
      env: { PORT: String(port), FRAUD_DATA_DIR: `${directory}/data` },
    });
    expect(await service.up()).toBe(`http://127.0.0.1:${port}`);
    await service.line(/^a simulated card world pays 321 payments\/s/);
    await stopsWell(service, 'SIGTERM', directory);
    expect(await countRecords(`${directory}/data`, 'payments.raw')).toBeGreaterThanOrEqual(0);
  });

  it('as a detector alone needs no Postgres, and serves its health and figures but no alerts', async () => {
    const directory = workshop.directory();
    const service = workshop.start(['--roles=detector', `--data-dir=${directory}`, '--port=0', ...BUSY_DEMO]);
    await service.until('it is ready', async () => (await service.get('/health/ready')).status === 200);
    await service.until('alerts', async () => sum((await service.pipeline()).tasks.map(({ alerts }) => alerts)) > 0);
    expect((await service.get('/metrics')).status).toBe(200);
    expect((await service.get('/v1/alerts')).status).toBe(404);
    expect(service.stdout).not.toContain('Postgres');
    expect((await leftAt(directory, 0)).filter((process) => process.includes('postgres'))).toEqual([]);
    await stopsWell(service, 'SIGTERM', directory);
  });
});

/** Times of the status lines, ms. */
function statusTimes(service: Service): number[] {
  return service.lines.flatMap((line) => {
    const time = line.match(/^(\S+Z) status /)?.[1];
    return time === undefined ? [] : [Date.parse(time)];
  });
}
