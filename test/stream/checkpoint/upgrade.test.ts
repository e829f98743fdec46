/** Owns the test of an upgrade: a build with another state layout goes on from a savepoint as if it had been there all along. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { carriedOffset } from '../../../src/stream/checkpoint/seed.js';
import { f64, ring, stateLayout, timer, u16, u32 } from '../../../src/stream/state/layout.js';
import { type Input, kitPipeline } from '../kit.js';
import { Generations } from './generations.js';

type Kit = ReturnType<typeof kitPipeline>;

const before = stateLayout(
  'kit',
  { version: 1 },
  { count: u16, sum: f64, quiet: timer, recent: ring(4, { value: f64, at: f64 }) },
);

/** The count is wider, the average is new, the ring forgets its times, and the sum moved behind it. */
const after = stateLayout(
  'kit',
  {
    version: 2,
    migrations: [
      {
        from: 1,
        what: 'the average is kept',
        migrate: (value) => value.setNumber('average', value.number('sum') / value.number('count')),
      },
    ],
  },
  { count: u32, average: f64, recent: ring(4, { value: f64 }), quiet: timer, sum: f64 },
);

const withSteps = (layout: object, apply: object): Kit =>
  ({
    ...kitPipeline(),
    layout,
    keyed: [{ kind: 'keyed', id: 'count', open: (_context: unknown, columns: object) => ({ columns, ...apply }) }],
  }) as unknown as Kit;

interface Opened {
  readonly columns: Record<string, never>;
}

function remember(this: Opened, batch: never, row: number, slot: number): void {
  const { columns } = this as unknown as { columns: Kit['layout']['fields'] & Record<string, never> };
  const { count, sum, quiet, recent, average } = columns as unknown as {
    count: Uint32Array;
    sum: Float64Array;
    average?: Float64Array;
    quiet: { set(slot: number, dueMs: number): void };
    recent: { append(slot: number): number; entry: { value: Float64Array; at?: Float64Array } };
  };
  const { value, eventTimeMs, seen } = batch as unknown as Record<'value' | 'eventTimeMs' | 'seen', Float64Array>;
  count[slot] += 1;
  sum[slot] += value[row];
  if (average) average[slot] = sum[slot] / count[slot];
  const at = recent.append(slot);
  recent.entry.value[at] = value[row];
  if (recent.entry.at) recent.entry.at[at] = eventTimeMs[row];
  quiet.set(slot, eventTimeMs[row] + 1_000);
  seen[row] = count[slot];
}

const old = withSteps(before, { apply: remember });
const present = withSteps(after, { apply: remember });

const payments = fc
  .array(fc.tuple(fc.nat(20), fc.nat(9), fc.nat(300)), { minLength: 1, maxLength: 200 })
  .map((all): Input[] => {
    let at = 1_000_000;
    return all.map(([card, value, later]) => {
      at += later;
      return { key: `card-${card}`, value, at };
    });
  });

describe('an upgrade through a savepoint', () => {
  it('comes to the state of a run that had the new layout from the start', async () => {
    await fc.assert(
      fc.asyncProperty(payments, fc.double({ min: 0, max: 1, noNaN: true }), async (all, share) => {
        const cut = Math.floor(all.length * share);
        const world = new Generations();
        const first = await world.make(1, 3, old);
        await world.write(first, all.slice(0, cut));
        await world.runToEnd(first);
        await world.save(first, 'before');
        const next = await world.make(2, 3, present, first.source);
        const { manifest } = await world.savepoints.read('before');
        const targets = [0, 1, 2].map((partition) => ({
          taskId: `kit-${partition}`,
          sourceOffset: carriedOffset(manifest, partition, 3) ?? 0,
        }));
        await world.seed(next, 'before', { targets, source: manifest.source });
        await world.write(next, all.slice(cut));
        await world.runToEnd(next);

        const straight = new Generations();
        const only = await straight.make(1, 3, present);
        await straight.write(only, all);
        await straight.runToEnd(only);
        expect(await world.values(next)).toEqual(await straight.values(only));
        const quiet = (of: Generations) =>
          of
            .outputs()
            .filter((output) => output.quiet !== undefined)
            .map((output) => JSON.stringify(output))
            .sort();
        expect(quiet(world)).toEqual(quiet(straight));
      }),
      { numRuns: 10 },
    );
  });

  it('is refused without a savepoint, by the log as by the store, and says which commands bring the state over', async () => {
    const world = new Generations();
    const first = await world.make(1, 1, old);
    await world.write(first, [{ key: 'card-1', value: 1, at: 1_000_000 }]);
    await world.runToEnd(first);
    const upgraded = { ...first, pipeline: { ...present, source: first.pipeline.source } };
    for (const disk of ['kept', 'lost']) {
      if (disk === 'lost') world.disk.remove('state-g1/kit-0');
      const failure = await world
        .task(upgraded, 0)
        .run()
        .then(null, (error: unknown) => error);
      expect(failure).toMatchObject({ code: 'state-version' });
      expect(String(failure)).toMatch(/version 1.*version 2.*fraud savepoint create.*--from-savepoint.*--fresh/s);
    }
  });
});
