/** Owns the tests of event time: the watermark, and the queue of timers that wait for it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimerQueue } from '../../../src/stream/time/timer-queue.js';
import { Watermark } from '../../../src/stream/time/watermark.js';

describe('a watermark', () => {
  it('lies the bound behind the newest event, and never goes back', () => {
    const watermark = new Watermark(500);
    expect(watermark.currentMs).toBe(Number.NEGATIVE_INFINITY);
    watermark.observe(10_000, 10_000);
    expect(watermark.currentMs).toBe(9_500);
    watermark.observe(8_000, 10_000);
    expect(watermark.currentMs).toBe(9_500);
    watermark.advanceTo(9_000);
    expect(watermark.currentMs).toBe(9_500);
    watermark.advanceTo(12_000);
    expect(watermark.currentMs).toBe(11_500);
  });

  it('is moved by a record from the future no further than a minute past its log time', () => {
    const watermark = new Watermark(0);
    watermark.observe(1_060_000, 1_000_000);
    expect(watermark.currentMs).toBe(1_060_000);
    watermark.observe(9_999_999_999, 1_000_001);
    expect(watermark.currentMs).toBe(1_060_001);
  });

  it('ends at the same time in whatever order the records came', () => {
    const records = fc.array(fc.tuple(fc.nat(1_000_000), fc.nat(1_000_000)), { minLength: 1 });
    fc.assert(
      fc.property(records, fc.infiniteStream(fc.nat()), (given, order) => {
        const endOf = (list: readonly (readonly [number, number])[]) => {
          const watermark = new Watermark(7);
          for (const [event, log] of list) watermark.observe(event, log);
          return watermark.currentMs;
        };
        const shuffled = given
          .map((record) => [order.next().value as number, record] as const)
          .sort(([a], [b]) => a - b)
          .map(([, record]) => record);
        expect(endOf(shuffled)).toBe(endOf(given));
      }),
    );
  });
});

describe('a timer queue', () => {
  it('gives up exactly what is due, earliest first, as a sorted list would', () => {
    const steps = fc.array(fc.oneof(fc.record({ push: fc.nat(50) }), fc.record({ pop: fc.nat(50) })), {
      maxLength: 200,
      size: 'max',
    });
    fc.assert(
      fc.property(steps, (given) => {
        const queue = new TimerQueue(1000);
        let model: number[] = [];
        for (const [i, step] of given.entries()) {
          if ('push' in step) {
            queue.push(Buffer.from(`${step.push}/${i}`), step.push);
            model = [...model, step.push].sort((a, b) => a - b);
          } else {
            const due = queue.popDue(step.pop);
            const expected = model.length > 0 && model[0] <= step.pop ? (model.shift() as number) : null;
            expect(due === null ? null : due.dueMs).toBe(expected);
            if (due !== null) expect(due.key.toString().startsWith(`${due.dueMs}/`)).toBe(true);
          }
          expect(queue.size).toBe(model.length);
          expect(queue.nextDueMs).toBe(model[0] ?? Number.POSITIVE_INFINITY);
        }
      }),
    );
  });

  it('keeps a copy of the key', () => {
    const queue = new TimerQueue(2);
    const key = Buffer.from('card');
    queue.push(key, 5);
    key.fill(0);
    expect(queue.popDue(5)?.key.toString()).toBe('card');
  });

  it('refuses one timer too many instead of forgetting it', () => {
    const queue = new TimerQueue(2);
    queue.push(Buffer.from('a'), 1);
    queue.push(Buffer.from('b'), 1);
    expect(() => queue.push(Buffer.from('c'), 1)).toThrow(expect.objectContaining({ code: 'timer-limit' }));
    queue.clear();
    expect([queue.size, queue.popDue(9)]).toEqual([0, null]);
  });
});
