/** Payments do not need Postgres: what the service does while its database is away, at the start and later. */
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startTestPostgres, type TestPostgres } from '../integration/projector-fixtures.js';
import { BUSY_DEMO, type Service, STOP_LIMIT_MS, sum, Workshop } from './service.js';

const workshop = new Workshop();
let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startTestPostgres(await workshop.freePort());
});
afterEach(() => workshop.clear());
afterAll(() => postgres.dispose());

const committed = async (service: Service) =>
  sum((await service.pipeline()).tasks.map(({ committedOffset }) => committedOffset));

/** Waits for payments that are committed from now on. */
async function goesOn(service: Service): Promise<void> {
  const before = await committed(service);
  await service.until('payments are committed', async () => (await committed(service)) > before + 200);
}

async function shownAlerts(service: Service): Promise<number> {
  const { items } = await service.json<{ items: readonly unknown[] }>('/v1/alerts?limit=100');
  return items.length;
}

describe('the service without its Postgres', () => {
  it('detects from the start, answers 503 where it needs it, and catches up when it comes, goes and comes back', async () => {
    await postgres.stop();
    const service = workshop.start([`--data-dir=${workshop.directory()}`, '--port=0', ...BUSY_DEMO], {
      env: { DATABASE_URL: postgres.url },
    });
    await service.line(/^Postgres: failed after .*Detection goes on without it, the API answers 503/);
    await goesOn(service);
    const ready = await service.get('/health/ready');
    expect(ready.status).toBe(503);
    expect(await ready.text()).toMatch(/database/);
    const alerts = await service.get('/v1/alerts');
    expect(alerts.status).toBe(503);
    expect(((await alerts.json()) as { code: string }).code).toBe('database-unavailable');
    expect((await service.get('/v1/rules')).status).toBe(503);
    expect((await service.get('/health/live')).status).toBe(200);
    expect(service.stderr + service.stdout).not.toMatch(/postgres:\/\/|password/i);

    await postgres.start();
    await service.until('it is ready', async () => (await service.get('/health/ready')).status === 200);
    await service.until('alerts are shown', async () => (await shownAlerts(service)) > 0, 40_000);
    // The empty book is given its first rules, late.
    const rules = async () => (await service.json<{ items: readonly unknown[] }>('/v1/rules')).items.length;
    await service.until('the rule book has rules', async () => (await rules()) > 0);

    await postgres.stop();
    await service.until('it says so', async () => (await service.get('/health/ready')).status === 503);
    await goesOn(service);
    await postgres.start();
    await service.until('it is ready again', async () => (await service.get('/health/ready')).status === 200);
    expect((await service.stop('SIGTERM')).code, service.said()).toBe(0);
  }, 90_000);

  it('stops as quickly as ever while it waits for it', async () => {
    await postgres.stop();
    const service = workshop.start([`--data-dir=${workshop.directory()}`, '--port=0', ...BUSY_DEMO], {
      env: { DATABASE_URL: postgres.url },
    });
    await service.line(/^Postgres: failed after/);
    await wait(300);
    const { code, tookMs } = await service.stop('SIGTERM');
    expect(code, service.said()).toBe(0);
    expect(tookMs).toBeLessThan(STOP_LIMIT_MS);
    await postgres.start();
  });
});
