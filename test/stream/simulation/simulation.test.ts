/**
 * Owns the tests of the simulator, and the schedules that every test run adds: some hundreds under a fresh seed, which
 * is printed. `SIMULATE_SEED` runs another one again. `npm run simulate` runs as many as one likes.
 */
import { randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { runSchedule } from '../../../src/stream/testing/simulation/schedule.js';
import { forbidRealTime, SimulatedTime } from '../../../src/stream/testing/simulation/simulated-time.js';

const SCHEDULES = 300;
/** On a busy machine fewer schedules have to do. */
const LONGEST_MS = 25_000;

const told = ({ failure, seed, schedule, lastEvents }: Awaited<ReturnType<typeof runSchedule>>) =>
  failure === null
    ? null
    : `${failure}\n${lastEvents.join('\n')}\nagain: npm run simulate -- --seed ${seed} --schedule ${schedule}`;

describe('a schedule', () => {
  it('is the same again under the same seed and number, event by event, and another under others', async () => {
    const first = await runSchedule(7, 3);
    const second = await runSchedule(7, 3);
    const others = [await runSchedule(7, 4), await runSchedule(8, 3)];
    expect(first.events).toBeGreaterThan(100);
    expect(second).toEqual(first);
    for (const other of others) expect(other.hash).not.toBe(first.hash);
  });

  // Found by the mutants that undo what was mended; others when what a schedule draws changes.
  it.each([
    ['a write to the store failed, and a later one did not', 222],
    ['recovery filled every slot, and timers were due', 129],
    ['a truncation fell into a recovery', 357],
    ['a savepoint met a checkpoint ahead of what could be read', 120, 20261125],
  ])('in which %s holds', async (_what, schedule, seed = 1) => {
    expect(told(await runSchedule(seed, schedule))).toBeNull();
  });

  it('holds under a fresh seed, some hundreds of times', async () => {
    const seed = Number(process.env.SIMULATE_SEED ?? randomInt(2 ** 31));
    const deadline = performance.now() + LONGEST_MS;
    const totals = {
      schedules: 0,
      crashes: 0,
      recoveries: 0,
      fenced: 0,
      epochs: 0,
      checkpoints: 0,
      savepoints: 0,
      rescales: 0,
    };
    while (totals.schedules < SCHEDULES && performance.now() < deadline) {
      const result = await runSchedule(seed, totals.schedules);
      expect(told(result)).toBeNull();
      totals.schedules += 1;
      for (const name of [
        'crashes',
        'recoveries',
        'fenced',
        'epochs',
        'checkpoints',
        'savepoints',
        'rescales',
      ] as const) {
        totals[name] += result[name];
      }
    }
    console.log(`simulated under seed ${seed}: ${JSON.stringify(totals)}`);
    // A simulator in which nothing goes wrong any more would be as green.
    const { savepoints, rescales, ...always } = totals;
    expect(Math.min(...Object.values(always))).toBeGreaterThan(0);
    // A fifth of the schedules each: a busy machine may not come to one.
    if (totals.schedules >= 60) expect(Math.min(savepoints, rescales)).toBeGreaterThan(0);
  });
});

describe('simulated time', () => {
  it('passes by its events alone, in their order, and lets promises settle between two', async () => {
    const time = new SimulatedTime();
    const seen: string[] = [];
    const note = async (what: string) => {
      seen.push(`${what} at ${time.nowMs}`);
      for (let i = 0; i < 50; i++) await Promise.resolve();
      seen.push(`${what} settled`);
    };
    time.schedule(20, () => void note('late'));
    time.schedule(10, () => void note('early'));
    time.schedule(10, () => void note('early too'));
    time.schedule(15, () => void note('never'))();
    await time.runUntil(() => seen.length === 6, 1_000, 'all of it');
    expect(seen.join(', ')).toBe(
      'early at 10, early settled, early too at 10, early too settled, late at 20, late settled',
    );
  });

  it('that leads nowhere is a failure: nothing left to happen, or too much of it', async () => {
    const time = new SimulatedTime();
    await expect(time.runUntil(() => false, 1_000, 'nothing')).rejects.toThrow('nothing happens any more');
    const again = () => void time.schedule(10, again);
    again();
    await expect(time.runUntil(() => false, 1_000, 'the end')).rejects.toThrow('1000 ms passed, waiting for the end');
  });

  it('is the only one: real clocks, timers and chance are refused meanwhile', () => {
    const allow = forbidRealTime();
    try {
      expect(() => Date.now()).toThrow('injected');
      expect(() => performance.now()).toThrow('injected');
      expect(() => setTimeout(() => {}, 1)).toThrow('injected');
      expect(() => Math.random()).toThrow('injected');
    } finally {
      allow();
    }
    expect(Date.now()).toBeGreaterThan(0);
  });
});
