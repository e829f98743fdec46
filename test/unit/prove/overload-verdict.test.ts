/** When memory counts as flat. */
import { describe, expect, it } from 'vitest';
import { byMinute, flatnessOf, type Sample } from '../../../scripts/prove/overload/verdict.js';

/** One a second for `minutes`, the memory as `mibAt` says, 100 payments a second. */
function samples(minutes: number, mibAt: (minute: number) => number): readonly Sample[] {
  return Array.from({ length: minutes * 60 }, (_, index) => ({
    atMs: (index + 1) * 1_000,
    rssMiB: new Map([['service-0', mibAt((index + 1) / 60)]]),
    committed: index * 100,
    lag: 7,
    alerts: index,
  }));
}

const isFlat = (minutes: number, mibAt: (minute: number) => number) =>
  flatnessOf('service-0', samples(minutes, mibAt)).isFlat;

describe('memory under overload', () => {
  it('is flat where it swings about a level', () => {
    expect(isFlat(10, (minute) => 300 + 20 * Math.sin(minute * 9))).toBe(true);
  });

  it('is flat where it grew while warming up alone', () => {
    expect(isFlat(4, (minute) => (minute < 0.9 ? 150 + 200 * minute : 330))).toBe(true);
  });

  it('is not flat where it rises slowly for good', () => {
    expect(isFlat(10, (minute) => 800 + 8 * minute)).toBe(false);
  });

  it('is not flat where the last half lies more than a tenth above the first', () => {
    expect(isFlat(10, (minute) => (minute < 7 ? 100 : 115))).toBe(false);
  });

  it('cannot be judged by a few samples', () => {
    expect(() => isFlat(1, () => 300)).toThrow(/too few/);
  });
});

describe('the table by minute', () => {
  it('tells means, the most, and what was done within each minute', () => {
    const [first, second] = byMinute(samples(2, (minute) => (minute <= 0.5 ? 100 : 300)));
    expect(first.rssMiB.get('service-0')?.most).toBe(300);
    expect(second.perSecond).toBeCloseTo(100);
    expect(second.lag).toBe(7);
    expect(second.alerts).toBe(60);
  });
});
