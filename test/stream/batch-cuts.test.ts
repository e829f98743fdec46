/**
 * Owns the property on which replay rests: what comes out does not depend on where reads, batches and epochs were cut,
 * nor on how few keys were hot (I7). One seed is one combination of all of them, timers included.
 */
import { describe, expect, it } from 'vitest';
import { kitPipeline, makeInputs, reference, seeded, TOPICS } from './kit.js';
import { kitOptions, pause, TaskWorld } from './task-world.js';

const inputs = makeInputs(260, 40, seeded(4242));
const expected = reference(inputs, 500, { ticks: true });

function combination(seed: number) {
  const random = seeded(seed);
  const upTo = (most: number) => 1 + Math.floor(random() ** 2 * most);
  const batchRecords = upTo(64);
  return {
    readAtOnce: upTo(64),
    options: {
      batchRecords,
      // Two batches are on their way at once; beyond what they hold, as little room as there may be.
      hotKeys: 2 * Math.min(batchRecords, 40) + upTo(60),
      epoch: {
        ...kitOptions.epoch,
        maxRecords: upTo(100),
        maxBytes: 200 + upTo(20_000),
        promptMs: upTo(5),
        idleMs: upTo(12),
      },
      writeBehind: { ageMs: random() < 0.5 ? 0 : 5, slotsAtOnce: upTo(16) },
    },
  };
}

describe('what a task emits', () => {
  it('is worth the comparison: late rows, timers of both kinds, and timers set by timers', () => {
    const count = (what: string) => expected.out.filter((line) => line.includes(what)).length;
    expect(count('"late":true')).toBeGreaterThan(3);
    expect(count('"quiet"')).toBeGreaterThan(20);
    expect(count('"tick"')).toBeGreaterThan(90);
    expect(count('"quiets":1')).toBeGreaterThan(3);
  });

  it.each(Array.from({ length: 36 }, (_, seed) => seed))('is the same for any cuts (seed %i)', async (seed) => {
    const { readAtOnce, options } = combination(seed);
    const world = await TaskWorld.begin();
    const random = seeded(seed + 500);
    // In every second run the store takes its time now and then: loads of one batch overlap the steps of another.
    world.storeFault = (operation) =>
      seed % 2 === 1 && operation === 'getMany' && random() < 0.5 ? pause(1) : undefined;
    world.log.faults.limitReads(readAtOnce);
    await world.write(inputs);
    await world.runToEnd(options, kitPipeline({ ticks: true }));
    expect(world.outputs(TOPICS.out)).toEqual(expected.out);
    expect(world.outputs(TOPICS.dead)).toEqual(expected.dead);
  });

  it.each([101, 102, 103, 104, 105, 106])(
    'is the same when the source came in pieces and tasks came and went (seed %i)',
    async (seed) => {
      const random = seeded(seed);
      const world = await TaskWorld.begin();
      for (let from = 0; from < inputs.length; ) {
        const to = Math.min(inputs.length, from + 1 + Math.floor(random() * 120));
        await world.write(inputs.slice(from, to));
        const { readAtOnce, options } = combination(seed * 1000 + from);
        world.log.faults.limitReads(readAtOnce);
        await world.runToEnd(options, kitPipeline({ ticks: true }));
        from = to;
      }
      expect(world.outputs(TOPICS.out)).toEqual(expected.out);
      expect(world.outputs(TOPICS.dead)).toEqual(expected.dead);
    },
  );
});
