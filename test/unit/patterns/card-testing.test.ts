import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FINDING } from '../../../src/fraud/payments/payment-batch.js';
import { CardRun, MINUTE_MS, NOON, type TestPayment } from '../features/run-cards.js';

const small = (minute: number): TestPayment => ({ at: NOON + minute * MINUTE_MS, amountMinor: 100 });
const medium = (minute: number): TestPayment => ({ at: NOON + minute * MINUTE_MS, amountMinor: 5_000 });
const large = (minute: number): TestPayment => ({ at: NOON + minute * MINUTE_MS, amountMinor: 20_000 });

function findingsOf(run: CardRun, payments: readonly TestPayment[], lagMs?: number): boolean[] {
  const batch = run.pay(payments, lagMs);
  return payments.map((_, row) => (batch.findings[row] & FINDING.cardTesting) !== 0);
}

describe('card testing', () => {
  it('is three small payments and a large one, whatever lies between', () => {
    const run = new CardRun();
    expect(findingsOf(run, [small(0), small(1), medium(2), small(3), large(4)])).toEqual([
      false,
      false,
      false,
      false,
      true,
    ]);
    expect(run.batch.cardTestingSmallCount[4]).toBe(3);
    const [finding] = run.batch.matches.get(4) ?? [];
    expect(finding).toEqual({
      pattern: 'card-testing',
      smallCount: 3,
      startedAt: NOON,
      completed: true,
      matched: [0, 1, 3].map((m, i) => ({
        occurredAt: NOON + m * MINUTE_MS,
        amountMinor: 100,
        sourceOffset: [0, 1, 3][i],
      })),
    });
  });

  it('is not found with two small ones, nor with a large one before them', () => {
    expect(findingsOf(new CardRun(), [small(0), small(1), large(2)])).not.toContain(true);
    expect(findingsOf(new CardRun(), [large(0), small(1), small(2), small(3)])).not.toContain(true);
  });

  it('has ten minutes and not a millisecond more', () => {
    expect(findingsOf(new CardRun(), [small(0), small(1), small(2), large(10)])[3]).toBe(true);
    expect(findingsOf(new CardRun(), [small(0), small(1), small(2), large(10 + 1 / 60_000)])[3]).toBe(false);
  });

  it('is found across the end of a run that began too early', () => {
    const payments = [small(0), small(8), small(9), small(10.5), large(12)];
    for (const lagMs of [0, 5_000, Infinity]) expect(findingsOf(new CardRun(), payments, lagMs)[4]).toBe(true);
  });

  it('uses small payments once', () => {
    const found = findingsOf(new CardRun(), [small(0), small(1), small(2), large(3), large(4), small(5), large(6)]);
    expect(found).toEqual([false, false, false, true, false, false, false]);
  });

  it('is not found where the small payments lie after the large one and only arrived before it', () => {
    expect(findingsOf(new CardRun(), [small(1), small(5), small(6), large(2)])[3]).toBe(false);
  });

  it('counts a small payment that arrives late', () => {
    expect(findingsOf(new CardRun(), [small(1), small(2), small(0), large(3)])[3]).toBe(true);
  });

  it('keeps one card’s payments out of another’s sequence', () => {
    const other = { ...small(1), slot: 1 };
    expect(findingsOf(new CardRun(), [small(0), other, small(2), large(3)])).not.toContain(true);
  });
});

describe('a card test that expires', () => {
  const five = [0, 1, 2, 3, 4].map(small);

  it('is told of once when five small payments had no large one within the time', () => {
    const run = new CardRun();
    run.pay(five);
    run.fireTimers(NOON + 10 * MINUTE_MS - 1);
    expect(run.expired).toHaveLength(0);
    run.fireTimers(NOON + 60 * MINUTE_MS);
    expect(run.expired).toHaveLength(1);
    expect(run.expired[0]).toMatchObject({ slot: 0, key: 'card-0', dueMs: NOON + 10 * MINUTE_MS });
    expect(run.expired[0]?.finding).toMatchObject({ smallCount: 5, completed: false, startedAt: NOON });
    expect(run.columns.testingExpires.due[0]).toBe(0);
  });

  it('says nothing of four', () => {
    const run = new CardRun();
    run.pay(five.slice(1));
    run.fireTimers(Infinity);
    expect(run.expired).toHaveLength(0);
    expect(run.columns.testingSmallCount[0]).toBe(0);
  });

  it('says nothing after a large payment completed it', () => {
    const run = new CardRun();
    run.pay([...five, large(5)]);
    run.fireTimers(Infinity);
    expect(run.expired).toHaveLength(0);
  });

  it('can’t be put off by small payments that go on', () => {
    const run = new CardRun();
    run.pay(
      Array.from({ length: 30 }, (_, i) => small(i)),
      5_000,
    );
    expect(run.expired.map((e) => e.dueMs)).toEqual([10, 21].map((m) => NOON + m * MINUTE_MS));
  });

  it('can still be completed by a large payment soon after it was told of', () => {
    const run = new CardRun();
    run.pay(five, 0);
    run.fireTimers(NOON + 10 * MINUTE_MS);
    expect(run.expired).toHaveLength(1);
    expect(findingsOf(run, [large(11)])).toEqual([true]);
  });

  it('tells of no payment twice', () => {
    const run = new CardRun();
    run.pay([...five, small(9.9)], 0);
    run.fireTimers(NOON + 10 * MINUTE_MS);
    run.pay([small(10.5), small(11), small(12), small(13)], 0);
    run.fireTimers(Infinity);
    expect(run.expired).toHaveLength(1);
  });
});

describe('card testing, for any payments in order', () => {
  const payment = fc.record({
    gapMs: fc.integer({ min: 0, max: 4 * MINUTE_MS }),
    amountMinor: fc.constantFrom(100, 100, 100, 100, 5_000, 20_000),
  });

  it('agrees with a search through all payments, whenever timers fire', () => {
    fc.assert(
      fc.property(
        fc.array(payment, { minLength: 20, maxLength: 60 }),
        fc.constantFrom(0, 5_000, 10 * MINUTE_MS, Infinity),
        (all, lagMs) => {
          let at = NOON;
          const payments = all.map(({ gapMs, amountMinor }) => {
            at += gapMs;
            return { at, amountMinor };
          });
          let open: number[] = [];
          const expected = payments.map((p, i) => {
            open = open.filter((t) => t >= p.at - 10 * MINUTE_MS);
            // The ring remembers the last 32 payments alone.
            const remembered = payments.slice(Math.max(0, i - 32), i);
            if (p.amountMinor <= 500) open.push(p.at);
            if (p.amountMinor < 20_000 || open.length < 3) return false;
            if (remembered.filter((r) => r.amountMinor <= 500 && r.at >= p.at - 10 * MINUTE_MS).length < 3)
              return false;
            open = [];
            return true;
          });
          expect(findingsOf(new CardRun(), payments, lagMs)).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('leaves no timer behind once all have fired, and never more findings than small payments allow', () => {
    const anyOrder = fc.record({
      at: fc.integer({ min: NOON, max: NOON + 60 * MINUTE_MS }),
      amountMinor: fc.constantFrom(100, 100, 20_000),
    });
    fc.assert(
      fc.property(fc.array(anyOrder, { maxLength: 60 }), (payments) => {
        const run = new CardRun();
        const found = findingsOf(run, payments, 5_000).filter(Boolean).length;
        run.fireTimers(Infinity);
        expect(run.columns.testingExpires.due[0]).toBe(0);
        expect(found * 3).toBeLessThanOrEqual(payments.filter((p) => p.amountMinor === 100).length);
      }),
    );
  });
});
