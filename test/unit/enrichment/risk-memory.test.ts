import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWER, RiskCache } from '../../../src/fraud/enrichment/risk-cache.js';
import { riskTable } from '../../../src/fraud/enrichment/risk-table.js';
import type { StepBatch } from '../../../src/stream/pipeline/batch.js';
import type { PipelineDefinition } from '../../../src/stream/pipeline/pipeline.js';
import { closeSteps, openSteps } from '../../../src/stream/runtime/opened-steps.js';
import { hash32 } from '../../../src/stream/state/key-index.js';
import { contextOf, HandClock } from './fixtures.js';

const keyOf = (name: string) => {
  const bytes = Buffer.from(name);
  return { bytes, hash: hash32(bytes, 0, bytes.length) };
};

describe('the cache of merchant risks', () => {
  const find = (cache: RiskCache, name: string, nowMs = 0) => {
    const { bytes, hash } = keyOf(name);
    const slot = cache.find(bytes, 0, bytes.length, hash, nowMs);
    return slot < 0 ? null : cache.risk[slot];
  };
  const put = (cache: RiskCache, name: string, risk: number, expiresAtMs = 1_000) => {
    const { bytes, hash } = keyOf(name);
    cache.put(bytes, hash, ANSWER.known, risk, 1, expiresAtMs);
  };

  it('keeps an answer until it expires, and takes a newer one in its place', () => {
    const cache = new RiskCache(4);
    put(cache, 'a', 0.1);
    expect([find(cache, 'a', 999), find(cache, 'a', 1_000)]).toEqual([0.1, null]);
    put(cache, 'a', 0.2, 2_000);
    expect([find(cache, 'a', 1_000), cache.size]).toEqual([0.2, 1]);
  });

  it('lets go of a merchant not asked for since before one that was', () => {
    const cache = new RiskCache(3);
    for (const [name, risk] of [
      ['a', 0.1],
      ['b', 0.2],
      ['c', 0.3],
    ] as const)
      put(cache, name, risk);
    find(cache, 'a');
    find(cache, 'c');
    put(cache, 'd', 0.4);
    expect(['a', 'b', 'c', 'd'].map((name) => find(cache, name))).toEqual([0.1, null, 0.3, 0.4]);
  });

  it('keeps nothing, and does not look for room, where it is switched off', () => {
    const cache = new RiskCache(0);
    put(cache, 'a', 0.1);
    expect([find(cache, 'a'), cache.size]).toEqual([null, 0]);
  });

  it('goes on when far more merchants have passed through than it holds', () => {
    const cache = new RiskCache(8);
    for (let i = 0; i < 5_000; i++) put(cache, `m${i}`, (i % 100) / 100);
    expect([find(cache, 'm4999'), find(cache, 'm1'), cache.size]).toEqual([0.99, null, 8]);
  });

  it('never gives one merchant the risk of another, whatever is put in and let go', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(40), fc.boolean()), { maxLength: 300 }), (steps) => {
        const cache = new RiskCache(8);
        for (const [merchant, isPut] of steps) {
          if (isPut) put(cache, `m${merchant}`, merchant / 100);
          else expect([null, merchant / 100]).toContain(find(cache, `m${merchant}`));
          expect(cache.size).toBeLessThanOrEqual(8);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('the risk table', () => {
  function opened(maxEntries: number) {
    const { context, counters } = contextOf(new HandClock());
    const step = riskTable({ maxEntries });
    const state = step.open(context);
    const apply = (key: string | null, value: string | null) =>
      state.apply(key === null ? null : Buffer.from(key), value === null ? null : Buffer.from(value));
    const read = (name: string) => {
      const { bytes, hash } = keyOf(name);
      const table = step.tableOf(context.taskId);
      const row = table.find(bytes, 0, bytes.length, hash);
      return row < 0 ? null : [table.risk(row), table.asOfMs(row)];
    };
    return { step, context, state, counters, apply, read };
  }

  it('holds the newest row of a merchant, and none after a deletion', () => {
    const { apply, read, counters } = opened(10);
    apply('m1', '{"risk":0.4,"asOf":100}');
    apply('m1', '{"risk":0.6,"asOf":200}');
    expect(read('m1')).toEqual([0.6, 200]);
    apply('m1', null);
    apply('m2', null);
    expect([read('m1'), counters]).toEqual([null, {}]);
  });

  it.each([
    '',
    'x',
    'null',
    '[]',
    '{"risk":1.01,"asOf":1}',
    '{"risk":-0.1,"asOf":1}',
    '{"risk":"0.1","asOf":1}',
    '{"risk":0.1}',
  ])('keeps what it has when a value is bad, and counts: %s', (bad) => {
    const { apply, read, counters } = opened(10);
    apply('m1', '{"risk":0.4,"asOf":100}');
    apply('m1', bad);
    apply(null, '{"risk":0.4,"asOf":100}');
    apply('m'.repeat(65), '{"risk":0.4,"asOf":100}');
    expect([read('m1'), counters['riskTable.bad']]).toEqual([[0.4, 100], 3]);
  });

  it('grows to its bound; beyond it new merchants are left out and counted, known ones still updated', () => {
    const { apply, read, counters } = opened(3_000);
    for (let i = 0; i < 3_001; i++) apply(`m${i}`, `{"risk":${i / 10_000},"asOf":${i}}`);
    expect(counters).toEqual({ 'riskTable.full': 1 });
    for (let i = 0; i < 3_000; i++) expect(read(`m${i}`)).toEqual([i / 10_000, i]);
    apply('m7', '{"risk":1,"asOf":9}');
    apply('m8', null);
    apply('m3000', '{"risk":0.5,"asOf":9}');
    expect(['m7', 'm8', 'm3000'].map(read)).toEqual([[1, 9], null, [0.5, 9]]);
  });

  it('starts empty when its task opens again, and is empty before', () => {
    const { step, context, apply, read } = opened(10);
    apply('m1', '{"risk":0.4,"asOf":100}');
    step.open(context);
    expect(read('m1')).toBeNull();
    expect(step.tableOf('another').size).toBe(0);
  });

  it('lets go of the table of a task that closes, and keeps the one that the task opened meanwhile', () => {
    const { step, context, state, apply, read } = opened(10);
    apply('m1', '{"risk":0.4,"asOf":100}');
    state.close?.();
    expect(read('m1')).toBeNull();
    const second = step.open(context);
    const third = step.open(context);
    third.apply(Buffer.from('m1'), Buffer.from('{"risk":0.5,"asOf":100}'));
    second.close?.();
    expect(read('m1')).toEqual([0.5, 100]);
    third.close?.();
    expect(step.tableOf(context.taskId)).toBe(step.tableOf('never opened'));
  });

  it('is let go of with the steps of its task', async () => {
    const { step, context } = opened(10);
    const steps = await openSteps(
      { broadcasts: [step], enrich: [], keyed: [], batchSteps: [] } as unknown as PipelineDefinition<
        StepBatch,
        Record<string, never>
      >,
      context,
      {},
    );
    const none = step.tableOf('never opened');
    expect(step.tableOf(context.taskId)).not.toBe(none);
    await closeSteps(steps);
    expect(step.tableOf(context.taskId)).toBe(none);
  });
});
