/** When memory counts as flat, and an overload as one. */
import { describe, expect, it } from 'vitest';
import { byMinute, flatnessOf, type Minute, objections, type Sample } from '../../../scripts/prove/overload/verdict.js';

/** One a second for `minutes`, the memory as `mibAt` says, 100 payments a second. */
function samples(minutes: number, mibAt: (minute: number) => number): readonly Sample[] {
  return Array.from({ length: minutes * 60 }, (_, index) => ({
    atMs: (index + 1) * 1_000 + 3,
    memory: new Map([['service-0', { rssMiB: mibAt((index + 1) / 60), heapMiB: 50, externalMiB: null }]]),
    committed: index * 100,
    lag: 7 + index,
    alerts: index,
    stored: null,
  }));
}

const isFlat = (minutes: number, mibAt: (minute: number) => number) =>
  flatnessOf('service-0', samples(minutes, mibAt), 1_000).isFlat;

describe('memory under overload', () => {
  it('is flat where it swings about a level', () => {
    expect(isFlat(10, (minute) => 300 + 20 * Math.sin(minute * 9))).toBe(true);
  });

  it('is flat where it grew while warming up alone', () => {
    expect(isFlat(4, (minute) => (minute < 2 ? 150 + 90 * minute : 330))).toBe(true);
  });

  it('is not flat where it rises slowly for good', () => {
    expect(isFlat(10, (minute) => 800 + 2.2 * minute)).toBe(false);
  });

  it('is not flat where it once passed the budget, while warming up as well', () => {
    expect(isFlat(10, (minute) => (minute < 1 ? 1_001 : 300))).toBe(false);
  });

  it('cannot be judged by a few samples', () => {
    expect(() => isFlat(2, () => 300)).toThrow(/too few/);
  });
});

describe('the table by minute', () => {
  it('tells means, the most, and what was done within each minute', () => {
    const [first, second, third] = byMinute(samples(2.5, (minute) => (minute <= 0.5 ? 100 : 300)));
    expect(first.memory.get('service-0')).toEqual({ mean: 200, most: 300, heap: 50 });
    expect(second.perSecond).toBeCloseTo(100);
    expect(second.lag).toBe(126);
    expect(second.alerts).toBe(60);
    expect([first.isWhole, second.isWhole, third.isWhole]).toEqual([true, true, false]);
  });
});

describe('an overload', () => {
  const minute = (number: number, changes: Partial<Minute> = {}): Minute => ({
    number,
    isWhole: true,
    memory: new Map(),
    perSecond: 10,
    lag: 100 * number,
    alerts: 5,
    unstored: null,
    ...changes,
  });
  const four = (changes: Partial<Minute>) => [minute(1), minute(2), minute(3), minute(4, changes)];

  it('is one where ever more is left while work goes on', () => {
    expect(objections(four({}), false, 0)).toEqual([]);
  });

  it('is none where the work caught up for a minute, or stood still', () => {
    expect(objections(four({ lag: 300 }), false, 0)).toEqual(['minute 4: what is left did not grow']);
    expect(objections(four({ perSecond: 0 }), false, 0)).toEqual(['minute 4: nothing was committed']);
  });

  it('of the database leaves alerts behind, and detection alone', () => {
    const database = (lag: number) => [1, 2, 3, 4].map((number) => minute(number, { lag, unstored: number }));
    expect(objections(database(50), true, 50)).toEqual([]);
    expect(objections(database(51), true, 50)[0]).toContain('detection was held up too');
    expect(objections(four({ unstored: 0 }), true, 1_000)[0]).toContain('did not grow');
  });

  it('is not judged while warming up, nor by a part of a minute', () => {
    const caughtUp = { lag: 0 };
    expect(
      objections([minute(1), minute(2, caughtUp), minute(3), minute(4, { ...caughtUp, isWhole: false })], false, 0),
    ).toEqual([]);
  });
});
