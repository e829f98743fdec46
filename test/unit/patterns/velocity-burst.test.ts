import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FINDING } from '../../../src/fraud/payments/payment-batch.js';
import { CardRun, MINUTE_MS, NOON } from '../features/run-cards.js';

const burst = (count: number, gapMs: number) => Array.from({ length: count }, (_, i) => ({ at: NOON + i * gapMs }));
const isBurst = (run: CardRun, row: number) => (run.batch.findings[row] & FINDING.velocityBurst) !== 0;

describe('velocity burst', () => {
  it('is the eighth payment within ten minutes and every one after it', () => {
    const run = new CardRun();
    run.pay(burst(10, MINUTE_MS));
    expect([6, 7, 8, 9].map((row) => isBurst(run, row))).toEqual([false, true, true, true]);
    expect(run.batch.velocityCount[7]).toBe(8);
    const finding = run.batch.matches.get(7)?.[0];
    expect(finding).toMatchObject({ pattern: 'velocity-burst', count: 8, windowMs: 600_000 });
    expect(finding?.pattern === 'velocity-burst' && finding.matched.map((m) => m.sourceOffset)).toEqual([
      0, 1, 2, 3, 4, 5, 6,
    ]);
  });

  it('is not eight payments a little slower', () => {
    const run = new CardRun();
    run.pay(burst(8, (10 * MINUTE_MS) / 7));
    expect(isBurst(run, 7)).toBe(false);
  });

  it('follows its parameters', () => {
    const run = new CardRun({ velocityBurst: { minPayments: 2, withinMs: 1_000 } });
    run.pay(burst(2, 999));
    expect(isBurst(run, 1)).toBe(true);
  });

  it('clears findings and matches of the batch before', () => {
    const run = new CardRun();
    run.pay(burst(9, 1));
    run.pay([{ at: NOON + 60 * MINUTE_MS, slot: 1 }]);
    expect(run.batch.findings[0]).toBe(0);
    expect(run.batch.matches.size).toBe(0);
  });

  it('agrees with a plain count over the last 32 payments, in any order', () => {
    const times = fc.array(fc.integer({ min: NOON, max: NOON + 30 * MINUTE_MS }), { maxLength: 80 });
    fc.assert(
      fc.property(times, (all) => {
        const run = new CardRun();
        run.pay(all.map((at) => ({ at })));
        all.forEach((at, row) => {
          const last = all.slice(Math.max(0, row - 32), row);
          const count = 1 + last.filter((t) => t <= at && t > at - 10 * MINUTE_MS).length;
          expect(run.batch.velocityCount[row]).toBe(count);
        });
      }),
    );
  });
});
