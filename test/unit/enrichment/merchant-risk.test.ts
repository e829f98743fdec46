import { afterEach, describe, expect, it } from 'vitest';
import { type MerchantRiskOptions, merchantRisk } from '../../../src/fraud/enrichment/merchant-risk.js';
import {
  type MerchantRisk,
  type MerchantRiskLookup,
  MerchantUnknownError,
} from '../../../src/fraud/enrichment/merchant-risk-lookup.js';
import { riskTable } from '../../../src/fraud/enrichment/risk-table.js';
import { RISK_SOURCE } from '../../../src/fraud/payments/payment-batch.js';
import { batchOf, contextOf, HandClock, risksOf, settle } from './fixtures.js';

/** Calls wait until the test answers them. */
class HandLookup implements MerchantRiskLookup {
  readonly calls: {
    merchantId: string;
    signal: AbortSignal;
    answer: (risk: number) => void;
    fail: (error: Error) => void;
  }[] = [];
  /** Whether a call ends when its signal aborts, as the port asks. */
  obeysSignal = true;

  lookup(merchantId: string, signal: AbortSignal): Promise<MerchantRisk> {
    return new Promise((resolve, reject) => {
      if (this.obeysSignal) signal.addEventListener('abort', () => reject(new Error('aborted')));
      this.calls.push({ merchantId, signal, answer: (risk) => resolve({ risk, asOfMs: 42 }), fail: reject });
    });
  }

  get merchants(): string[] {
    return this.calls.map(({ merchantId }) => merchantId);
  }

  answerAll(): void {
    for (const { merchantId, answer } of this.calls) answer(Number(merchantId.slice(1)) / 100);
  }
}

function open(options: MerchantRiskOptions = {}) {
  const clock = new HandClock();
  const { context, counters } = contextOf(clock);
  const lookup = new HandLookup();
  const table = riskTable();
  const state = table.open(context);
  state.apply(Buffer.from('m50'), Buffer.from('{"risk":0.77,"asOf":7}'));
  const step = merchantRisk(lookup, table, options);
  return { clock, context, counters, lookup, table, step, opened: step.open(context) };
}

const looked = (risk: number) => ({ risk, source: RISK_SOURCE.lookup, asOf: 42, degraded: 0 });
const cached = (risk: number) => ({ ...looked(risk), source: RISK_SOURCE.cache });
const fromTable = { risk: 0.77, source: RISK_SOURCE.riskTable, asOf: 7, degraded: 1 };
const none = { risk: 0, source: RISK_SOURCE.none, asOf: 0, degraded: 1 };

const warnings: string[] = [];
process.on('warning', ({ message }) => warnings.push(message));
afterEach(() => expect(warnings).toEqual([]));

describe('enrichment by merchant risk', () => {
  it('asks once for each merchant of a batch and fills all its rows', async () => {
    const { opened, lookup, counters, clock } = open();
    const batch = batchOf(['m1', 'm2', 'm1', 'm1']);
    const prepared = opened.prepare(batch);
    expect(lookup.merchants).toEqual(['m1', 'm2']);
    lookup.answerAll();
    await prepared;
    expect(risksOf(batch)).toEqual([looked(0.01), looked(0.02), looked(0.01), looked(0.01)]);
    expect(counters).toEqual({ 'enrich.lookups': 2 });
    expect(clock.pendingTimers).toBe(0);
  });

  it('waits for nothing when every merchant is cached, until the answer expires', async () => {
    const { opened, lookup, counters, clock } = open({ expiryMs: 1_000 });
    const first = opened.prepare(batchOf(['m1', 'm2']));
    lookup.answerAll();
    await first;
    const batch = batchOf(['m2', 'm1']);
    clock.advance(899);
    expect(opened.prepare(batch)).toBeNull();
    expect(risksOf(batch)).toEqual([cached(0.02), cached(0.01)]);
    expect(counters).toEqual({ 'enrich.lookups': 2, 'enrich.cacheHits': 2 });
    clock.advance(101);
    expect(opened.prepare(batch)).not.toBeNull();
  });

  it('shares a lookup between batches in preparation at once, each getting the rows of its own', async () => {
    const { opened, lookup } = open();
    const [first, second] = [batchOf(['m1', 'm2']), batchOf(['m3', 'm2', 'm3'])];
    const prepared = [opened.prepare(first), opened.prepare(second)];
    expect(lookup.merchants).toEqual(['m1', 'm2', 'm3']);
    lookup.answerAll();
    await Promise.all(prepared);
    expect(risksOf(first)).toEqual([looked(0.01), looked(0.02)]);
    expect(risksOf(second)).toEqual([looked(0.03), looked(0.02), looked(0.03)]);
  });

  it('gives the right risks though the cache lets go of merchants before the batch is complete', async () => {
    const { opened, lookup } = open({ cacheEntries: 1 });
    const merchants = ['m1', 'm2', 'm3', 'm4', 'm1'];
    const batch = batchOf(merchants);
    const prepared = opened.prepare(batch);
    for (const call of [...lookup.calls].reverse()) {
      call.answer(Number(call.merchantId.slice(1)) / 100);
      await settle();
    }
    await prepared;
    expect(risksOf(batch)).toEqual(merchants.map((name) => looked(Number(name.slice(1)) / 100)));
  });

  it('falls back to the risk table, then to nothing, where a lookup fails, and does not ask again at once', async () => {
    const { opened, lookup, counters, clock } = open({ failedExpiryMs: 1_000 });
    const batch = batchOf(['m50', 'm51', 'm1']);
    const prepared = opened.prepare(batch);
    lookup.calls[0].fail(new Error('503'));
    lookup.calls[1].answer(7);
    lookup.calls[2].answer(0.01);
    await prepared;
    expect(risksOf(batch)).toEqual([fromTable, none, looked(0.01)]);
    expect(counters).toEqual({ 'enrich.lookups': 3, 'enrich.failures': 2, 'enrich.degraded': 2 });
    const again = batchOf(['m50']);
    expect(opened.prepare(again)).toBeNull();
    expect(risksOf(again)).toEqual([fromTable]);
    expect(counters['enrich.degraded']).toBe(3);
    clock.advance(1_000);
    expect(opened.prepare(again)).not.toBeNull();
  });

  it('takes "unknown merchant" for an answer: no failure, not degraded, nothing for the breaker', async () => {
    const { opened, lookup, counters } = open({ breaker: { minOutcomes: 1, window: 4 } });
    const batch = batchOf(['m50', 'm51']);
    const prepared = opened.prepare(batch);
    for (const { merchantId, fail } of lookup.calls) fail(new MerchantUnknownError(merchantId));
    await prepared;
    expect(risksOf(batch)).toEqual([
      { ...fromTable, degraded: 0 },
      { ...none, degraded: 0 },
    ]);
    expect(counters).toEqual({ 'enrich.lookups': 2 });
    expect(opened.prepare(batchOf(['m51', 'm50']))).toBeNull();
  });

  it.each([true, false])(
    'settles by the deadline when the service hangs (lookup obeys its signal: %s)',
    async (obeys) => {
      const { opened, lookup, counters, clock } = open({ timeoutMs: 2_000, inFlight: 2 });
      lookup.obeysSignal = obeys;
      const batch = batchOf(['m1', 'm50', 'm3', 'm4']);
      let settled = false;
      const prepared = opened.prepare(batch)?.then(() => {
        settled = true;
      });
      clock.advance(1_999);
      await settle();
      expect([settled, lookup.calls.length]).toEqual([false, 2]);
      lookup.calls[0].answer(0.5);
      await settle();
      clock.advance(1);
      await prepared;
      expect(lookup.calls[1].signal.aborted).toBe(true);
      expect(risksOf(batch)).toEqual([looked(0.5), fromTable, none, none]);
      expect(counters).toEqual({ 'enrich.lookups': 3, 'enrich.timeouts': 3, 'enrich.degraded': 3 });
      // A late answer changes nothing, and room is there for the next.
      lookup.calls[1].answer(0.9);
      await settle();
      expect(risksOf(batch)[1]).toEqual(fromTable);
      opened.prepare(batchOf(['m7', 'm8', 'm9']));
      expect(lookup.merchants.slice(3)).toEqual(['m7', 'm8']);
    },
  );

  it('never has more calls in flight than allowed, over batches and tasks of the thread', async () => {
    const { step, opened, lookup, clock, context } = open({ inFlight: 3 });
    const other = step.open({ ...context, taskId: 'fraud-1' });
    const batches = [batchOf(['m1', 'm2', 'm3', 'm4', 'm5']), batchOf(['m6', 'm2', 'm7'])];
    const prepared = [opened.prepare(batches[0]), other.prepare(batches[1])];
    let answered = 0;
    let most = 0;
    while (answered < lookup.calls.length) {
      most = Math.max(most, lookup.calls.length - answered);
      const { merchantId, answer } = lookup.calls[answered++];
      answer(Number(merchantId.slice(1)) / 100);
      await settle();
    }
    await Promise.all(prepared);
    expect([most, answered, clock.pendingTimers]).toEqual([3, 7, 0]);
    expect(risksOf(batches[1])).toEqual([looked(0.06), looked(0.02), looked(0.07)]);
  });

  it('lets only so many wait for their turn; others fall back at once', () => {
    const { opened, lookup } = open({ inFlight: 1, waiting: 2 });
    const batch = batchOf(['m1', 'm2', 'm3', 'm50']);
    expect(opened.prepare(batch)).not.toBeNull();
    expect(lookup.merchants).toEqual(['m1']);
    expect(risksOf(batch)[3]).toEqual(fromTable);
  });

  it('stops asking a failing service, sends probes that no batch waits for, and comes back', async () => {
    const breaker = { window: 10, minOutcomes: 4, failureShare: 0.5, openMs: 5_000, probes: 1 };
    const { opened, lookup, counters, clock } = open({ inFlight: 4, failedExpiryMs: 0, breaker });
    const names = ['m1', 'm2', 'm3', 'm4', 'm5', 'm50', 'm6', 'm7', 'm8'];
    const prepared = opened.prepare(batchOf(names));
    // Two that waited get their turn before the fourth failure opens the breaker.
    for (let answered = 0; answered < lookup.calls.length; await settle())
      lookup.calls[answered++].fail(new Error('down'));
    await prepared;
    expect(counters).toMatchObject({ 'enrich.breakerOpen': 1, 'enrich.degraded': 9 });
    const asked = lookup.calls.length;
    expect(asked).toBeLessThan(names.length);

    const batch = batchOf(names);
    expect(opened.prepare(batch)).toBeNull();
    expect(risksOf(batch)).toEqual(names.map((name) => (name === 'm50' ? fromTable : none)));
    expect(lookup.calls.length).toBe(asked);

    clock.advance(5_000);
    expect(opened.prepare(batchOf(['m1', 'm1', 'm2']))).toBeNull();
    expect(lookup.merchants.slice(asked)).toEqual(['m1']);
    lookup.calls[asked].answer(0.01);
    await settle();
    const after = batchOf(['m1', 'm2']);
    const waits = opened.prepare(after);
    lookup.answerAll();
    await waits;
    expect(risksOf(after)).toEqual([cached(0.01), looked(0.02)]);
  });

  it('cuts a service that hangs off within three batches of two merchants, though it answered well until then', async () => {
    const { opened, lookup, counters, clock } = open();
    const warm = opened.prepare(batchOf(Array.from({ length: 200 }, (_, i) => `w${i}`)));
    for (const { answer } of lookup.calls) answer(0.01);
    await warm;
    let waited = 0;
    for (let round = 0; round < 20; round++) {
      const prepared = opened.prepare(batchOf([`m${100 + 2 * round}`, `m${101 + 2 * round}`]));
      if (prepared === null) break;
      waited += 1;
      clock.advance(2_000);
      await prepared;
    }
    expect(waited).toBe(3);
    // The sixth time-out is of a call let through before the breaker opened.
    expect(counters).toMatchObject({ 'enrich.timeouts': 6, 'enrich.breakerOpen': 1, 'enrich.degraded': 8 });
    expect(lookup.calls.length).toBe(206);
  });

  it('does not write an older preparation into a batch that was filled and prepared anew', async () => {
    const { opened, lookup } = open();
    const warm = opened.prepare(batchOf(['m9']));
    lookup.answerAll();
    await warm;
    const batch = batchOf(['m1', 'm2']);
    const older = opened.prepare(batch);
    batchOf(['m9', 'm9'], batch);
    expect(opened.prepare(batch)).toBeNull();
    lookup.answerAll();
    await older;
    expect(risksOf(batch)).toEqual([cached(0.09), cached(0.09)]);
  });

  it('does not fail when the lookup throws instead of rejecting', async () => {
    const { context, table } = open();
    const step = merchantRisk(
      {
        lookup: () => {
          throw new Error('bug');
        },
      },
      table,
    );
    const batch = batchOf(['m50']);
    await step.open(context).prepare(batch);
    expect(risksOf(batch)).toEqual([fromTable]);
  });

  it('asks for 500 merchants under one signal without a warning', async () => {
    const { opened, lookup } = open();
    const prepared = opened.prepare(batchOf(Array.from({ length: 600 }, (_, i) => `m${i}`)));
    expect(lookup.calls.length).toBe(500);
    for (let round = 0; round < 3; round++) {
      lookup.calls.forEach(({ answer }) => {
        answer(0.5);
      });
      await settle();
    }
    await prepared;
    expect(lookup.calls.length).toBe(600);
  });
});
