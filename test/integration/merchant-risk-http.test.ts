import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { httpMerchantRisk } from '../../src/adapters/merchant-risk-http/http-merchant-risk.js';
import {
  type MerchantRiskServiceOptions,
  startMerchantRiskService,
} from '../../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { merchantRisk } from '../../src/fraud/enrichment/merchant-risk.js';
import { riskTable } from '../../src/fraud/enrichment/risk-table.js';
import { worldMerchantRisk } from '../../src/fraud/world/merchant-risk.js';
import type { Clock } from '../../src/stream/ports.js';
import { batchOf, contextOf, risksOf } from '../unit/enrichment/fixtures.js';

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function started(options: MerchantRiskServiceOptions = {}) {
  const service = await startMerchantRiskService({ latencyMs: 1, now: () => 99, ...options });
  closing.push(() => service.close());
  const lookup = httpMerchantRisk({ baseUrl: service.url });
  closing.push(() => lookup.close());
  return { service, lookup };
}

/** A server that answers every request alike. */
async function answering(status: number, body: string | Buffer, headers: Record<string, string> = {}) {
  const server: Server = createServer((_, response) => response.writeHead(status, headers).end(body));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const lookup = httpMerchantRisk({ baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
  closing.push(() => lookup.close());
  return lookup;
}

const never = new AbortController().signal;
const wallClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  schedule: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};

describe('the merchant-risk service and its client', () => {
  it('gives every merchant the risk of the world, also under ids that a path cannot hold', async () => {
    const { lookup } = await started();
    for (const merchantId of ['merchant-7', 'a/b c?d#é%', '..']) {
      expect(await lookup.lookup(merchantId, never)).toEqual({ risk: worldMerchantRisk(merchantId), asOfMs: 99 });
    }
  });

  it('says which merchants it does not know', async () => {
    const { lookup } = await started({ riskOf: (merchantId) => (merchantId === 'm1' ? 0.25 : null) });
    expect((await lookup.lookup('m1', never)).risk).toBe(0.25);
    await expect(lookup.lookup('m2', never)).rejects.toMatchObject({ code: 'merchant-unknown' });
  });

  it('changes its behaviour when told over HTTP, and refuses nonsense', async () => {
    const { service, lookup } = await started();
    const put = (body: string) => fetch(`${service.url}/v1/behaviour`, { method: 'PUT', body });
    const told = await put('{"failureRate":1,"latencyMs":2}');
    expect(await told.json()).toEqual({ latencyMs: 2, jitterMs: 0, failureRate: 1, hang: false });
    await expect(lookup.lookup('m1', never)).rejects.toThrow('answered 503');
    for (const bad of ['{"failureRate":2}', '{"latency":1}', '{', `{"latencyMs":${' '.repeat(5_000)}1}`]) {
      expect((await put(bad)).status).toBe(400);
    }
    await put('{"failureRate":0}');
    expect((await lookup.lookup('m1', never)).risk).toBe(worldMerchantRisk('m1'));
    expect((await fetch(`${service.url}/health/live`)).status).toBe(200);
    expect((await fetch(`${service.url}/v1/merchants/%zz/risk`)).status).toBe(404);
  });

  it('fails the share of lookups asked for, the same ones for the same seed', async () => {
    const pattern = async () => {
      const { lookup } = await started({ failureRate: 0.5, seed: 7 });
      const outcomes: boolean[] = [];
      for (let i = 0; i < 40; i++)
        outcomes.push(
          await lookup.lookup(`m${i}`, never).then(
            () => true,
            () => false,
          ),
        );
      return outcomes;
    };
    const outcomes = await pattern();
    expect(outcomes.filter(Boolean).length).toBeGreaterThan(8);
    expect(outcomes.filter(Boolean).length).toBeLessThan(32);
    expect(await pattern()).toEqual(outcomes);
  });

  it('ends a lookup as soon as its signal aborts', async () => {
    const { lookup } = await started({ hang: true });
    const abort = new AbortController();
    const started_ = performance.now();
    setTimeout(() => abort.abort(), 50);
    await expect(lookup.lookup('m1', abort.signal)).rejects.toMatchObject({ code: 'merchant-risk-http' });
    expect(performance.now() - started_).toBeLessThan(1_000);
  });

  it.each([
    ['not JSON', 200, 'oops'],
    ['bad at risk', 200, '{"merchantId":"m1","risk":1.5,"asOf":1}'],
    ['bad at asOf', 200, '{"merchantId":"m1","risk":0.5}'],
    ['another merchant', 200, '{"merchantId":"m2","risk":0.5,"asOf":1}'],
    ['did not answer', 200, `{"merchantId":"m1","risk":0.5,"asOf":1,"x":"${'y'.repeat(100_000)}"}`],
    ['answered 500', 500, 'x'.repeat(100_000)],
    ['answered 302', 302, ''],
  ])('refuses an answer that is no risk: %s', async (message, status, body) => {
    const lookup = await answering(status, body);
    await expect(lookup.lookup('m1', never)).rejects.toThrow(message);
  });

  it('tells of a service that is not there, and of a base URL that is none', async () => {
    const { service, lookup } = await started();
    await service.close();
    closing.splice(0, 1);
    await expect(lookup.lookup('m1', never)).rejects.toThrow('did not answer');
    expect(() => httpMerchantRisk({ baseUrl: 'localhost:80' })).toThrow('must look like');
    await expect(startMerchantRiskService({ host: '192.0.2.1', port: 1 })).rejects.toMatchObject({
      code: 'merchant-risk-port',
    });
  });

  it('enriches a batch of 2,000 merchants with at most 500 calls at once', async () => {
    const { service } = await started({ latencyMs: 5 });
    const lookup = httpMerchantRisk({ baseUrl: service.url, connections: 600 });
    closing.push(() => lookup.close());
    const { context, counters } = contextOf(wallClock);
    const merchants = Array.from({ length: 2_000 }, (_, i) => `m${i}`);
    const batch = batchOf(merchants);
    await merchantRisk(lookup, riskTable(), { timeoutMs: 20_000 }).open(context).prepare(batch);
    expect(risksOf(batch).map(({ risk }) => risk)).toEqual(merchants.map(worldMerchantRisk));
    expect(counters).toEqual({ 'enrich.lookups': 2_000 });
    expect(service.figures.mostAtOnce).toBeLessThanOrEqual(500);
  });

  it('holds a batch no longer than the budget when the service hangs, and recovers when it answers again', async () => {
    const { service, lookup } = await started({ hang: true });
    const { context, counters } = contextOf(wallClock);
    const options = { timeoutMs: 300, failedExpiryMs: 1, breaker: { openMs: 100, probes: 1 } };
    const opened = merchantRisk(lookup, riskTable(), options).open(context);
    const merchants = Array.from({ length: 700 }, (_, i) => `m${i}`);
    const begun = performance.now();
    await opened.prepare(batchOf(merchants));
    expect(performance.now() - begun).toBeLessThan(1_500);
    expect(counters).toMatchObject({ 'enrich.timeouts': 700, 'enrich.degraded': 700, 'enrich.breakerOpen': 1 });
    service.behave({ hang: false });
    const batch = batchOf(['m1']);
    const deadline = performance.now() + 10_000;
    do {
      await new Promise((resolve) => setTimeout(resolve, 20));
      await opened.prepare(batch);
    } while (batch.degraded[0] === 1 && performance.now() < deadline);
    expect(risksOf(batch)[0]).toMatchObject({ risk: worldMerchantRisk('m1'), degraded: 0 });
  });
});
