import { describe, expect, it } from 'vitest';
import { retryDelayMs, sitOut } from '../../../src/stream/runtime/retries.js';
import { Signal } from '../../../src/stream/runtime/signal.js';
import { HandClock } from '../../unit/hand-clock.js';

describe('trying again', () => {
  it('pauses twice as long with each failure, up to the longest, however many there were', () => {
    expect([0, 1, 2, 5, 6, 10_000].map((failures) => retryDelayMs(failures))).toEqual([
      100, 200, 400, 3_200, 5_000, 5_000,
    ]);
    expect(retryDelayMs(3, { firstMs: 10, longestMs: 60 })).toBe(60);
  });

  it('sits a pause out though it is woken, and no longer than it may go on', async () => {
    const clock = new HandClock();
    const signal = new Signal(clock);
    const turns = () => new Promise((resolve) => setImmediate(resolve));
    let isOver = false;
    signal.wake();
    const sitting = sitOut(60, signal, clock, () => false).then(() => {
      isOver = true;
    });
    await turns();
    clock.advance(59);
    signal.wake();
    await turns();
    expect(isOver).toBe(false);
    clock.advance(1);
    await sitting;

    let stopped = false;
    const stoppable = sitOut(60_000, signal, clock, () => stopped);
    await turns();
    stopped = true;
    signal.wake();
    await stoppable;
  });
});
