import { describe, expect, it } from 'vitest';
import type { RolloutRecord, TakeUp } from '../../src/fraud/rules/rollout.js';
import type { CommitFault } from '../../src/stream/testing/memory-log.js';
import { FAILING } from '../unit/rules/failing-rules.js';
import { aRule } from '../unit/rules/payment-rows.js';
import { FraudWorld } from './fraud-world.js';
import { seeded } from './kit.js';
import { until } from './task-world.js';

/** Three rules that fire always, all of the set's own version: half a set would show in every alert. */
const always = (version: number) => ({
  version,
  rules: ['a', 'b', 'c'].map((id) => aRule(id, version % 2 === 0 ? 'true' : 'payment.currency == "EUR"', { version })),
});

const takeUps = (world: FraudWorld) => world.rollouts.filter((record): record is TakeUp => record.kind === 'take-up');
const trips = (world: FraudWorld) => world.rollouts.filter(({ kind }) => kind === 'rule-trip');
const shown = (records: readonly RolloutRecord[]) =>
  records.map((record) =>
    record.kind === 'take-up'
      ? `${record.ruleSet.version} from ${record.fromOffset}${record.refused === null ? '' : ` refused ${record.refused.version}`}`
      : `${record.ruleId}@${record.ruleVersion} stopped from ${record.fromOffset}`,
  );

/** The set that the take-ups say was in force at an offset of the source. */
function inForceAt(offset: number, records: readonly TakeUp[]) {
  return records.findLast(({ fromOffset }) => fromOffset <= offset)?.ruleSet;
}

async function running(world: FraudWorld, work: (status: () => { committedOffset: number }) => Promise<void>) {
  const task = world.task();
  const run = task.run();
  await work(() => task.status());
  task.stop();
  await run;
  return task.status();
}

describe('a rule set', () => {
  it('takes effect in a running task from the offset that its take-up names, without any payment too', async () => {
    const world = await FraudWorld.begin(always(1));
    await running(world, async (status) => {
      await until(() => world.rollouts.length === 1);
      await world.pay([{}, {}, {}]);
      await until(() => status().committedOffset >= 3);
      await world.publish(always(2));
      await until(() => world.rollouts.length === 2);
      await world.pay([{}, {}]);
      await until(() => status().committedOffset >= 5);
    });
    expect(shown(world.rollouts)).toEqual(['1 from 0', '2 from 3']);
    expect(world.alerts.map(({ evidence }) => evidence.ruleSet.version)).toEqual([1, 1, 1, 2, 2]);
    expect(world.alerts.map(({ evidence }) => evidence.ruleSet.hash)).toEqual(
      world.alerts.map(({ evidence }) => inForceAt(evidence.source.offset, takeUps(world))?.hash),
    );
  });

  it('is taken up again by a task that starts anew, and by none of a topic that was emptied', async () => {
    const world = await FraudWorld.begin(always(1));
    await world.publish(always(7));
    await world.publish(always(8));
    await running(world, () => until(() => world.rollouts.length === 1));
    await running(world, () => until(() => world.rollouts.length === 2));
    await world.publish(null);
    await running(world, () => until(() => world.rollouts.length === 3));
    expect(shown(world.rollouts)).toEqual(['8 from 0', '8 from 0', '1 from 0']);
  });

  it.each([
    ['no JSON', '{"version": 9', null],
    ['a set that does not hold up', JSON.stringify({ version: 9, rules: [aRule('r', 'scor > 1')] }), 9],
    ['nothing of the kind', '7', null],
  ])('stays in force where the newest record is %s, which the take-up tells', async (_, poison, version) => {
    const world = await FraudWorld.begin(always(1));
    await world.publish(always(2));
    const status = await running(world, async (current) => {
      await until(() => world.rollouts.length === 1);
      await world.publish(poison);
      await until(() => world.rollouts.length === 2);
      await world.pay([{}]);
      await until(() => current().committedOffset >= 1);
      await world.publish(always(3));
      await until(() => world.rollouts.length === 3);
    });
    expect(world.alerts[0].evidence.ruleSet.version).toBe(2);
    expect(takeUps(world).map(({ ruleSet, refused }) => [ruleSet.version, refused?.version])).toEqual([
      [2, undefined],
      [2, version],
      [3, undefined],
    ]);
    expect(takeUps(world)[1].refused?.reason.length).toBeGreaterThan(10);
    expect(status.counters['rules.refused']).toBe(1);
    // A task that starts with the poison as the newest record but one.
    await world.publish(poison);
    await running(world, () => until(() => world.rollouts.length === 4));
    expect(shown(world.rollouts).at(-1)).toBe(`3 from 1 refused ${version}`);
  });

  it('is refused under a key that is not its own', async () => {
    const world = await FraudWorld.begin(always(1));
    await world.publish(always(2), 'rules');
    await running(world, () => until(() => world.rollouts.length === 1));
    expect(takeUps(world)[0]).toMatchObject({ ruleSet: { version: 1 }, refused: { version: null } });
  });

  it.each([1, 2, 3, 4])(
    'is whole and provable at every payment, whatever becomes of commits (seed %i)',
    async (seed) => {
      const random = seeded(seed);
      const world = await FraudWorld.begin(always(1));
      world.log.faults.limitReads(1 + Math.floor(random() * 8));
      const faults: CommitFault[] = ['before', 'after', 'late', 'fenced'];
      const payments = 240;
      let version = 1;
      let committed = 0;
      const disturb = async () => {
        for (let round = 0; round < 24; round++) {
          if (random() < 0.7) world.log.faults.failNextCommit(faults[Math.floor(random() * faults.length)]);
          await world.pay(
            Array.from({ length: payments / 24 }, () => ({ cardId: `card-${Math.floor(random() * 5)}` })),
          );
          if (random() < 0.6) await world.publish(always(++version));
          await until(() => committed >= (round * payments) / 24 - 5);
        }
        await world.publish(always(++version));
      };
      const disturbed = disturb();
      await world.run((status) => {
        committed = status.committedOffset;
        return committed >= payments;
      });
      await disturbed;
      await world.run(() => takeUps(world).at(-1)?.ruleSet.version === version);

      const { alerts } = world;
      expect(alerts.map(({ evidence }) => evidence.source.offset).sort((a, b) => a - b)).toEqual(
        Array.from({ length: payments }, (_, offset) => offset),
      );
      const records = takeUps(world);
      for (const { evidence, rules } of alerts) {
        expect([evidence.source.offset, evidence.ruleSet]).toEqual([
          evidence.source.offset,
          inForceAt(evidence.source.offset, records),
        ]);
        expect(rules.map((rule) => `${rule.id}@${rule.version}`).sort()).toEqual(
          ['a', 'b', 'c'].map((id) => `${id}@${evidence.ruleSet.version}`),
        );
      }
      expect(new Set(alerts.map(({ evidence }) => evidence.ruleSet.version)).size).toBeGreaterThan(5);
      // Later take-ups hold from later on: else the log would not prove anything.
      expect(records.map(({ fromOffset }) => fromOffset)).toEqual(
        records.map(({ fromOffset }) => fromOffset).toSorted((a, b) => a - b),
      );
    },
  );
});

describe('the patterns’ parameters', () => {
  const burst = (version: number, minPayments: number) => ({
    version,
    rules: [aRule('burst', 'patterns.velocityBurst')],
    patterns: { velocityBurst: { minPayments, withinMs: 3_600_000 } },
  });

  it('hold for payments from the take-up’s offset on', async () => {
    const world = await FraudWorld.begin(burst(1, 33));
    await running(world, async (status) => {
      await world.pay([{}, {}, {}, {}]);
      await until(() => status().committedOffset >= 4);
      await world.publish(burst(2, 6));
      await until(() => world.rollouts.length === 2);
      await world.pay([{}, {}]);
      await until(() => status().committedOffset >= 6);
    });
    expect(shown(world.rollouts)).toEqual(['1 from 0', '2 from 4']);
    // The sixth payment: the four before the change count all the same.
    expect(world.alerts.map(({ evidence }) => evidence.source.offset)).toEqual([5]);
  });
});

describe('a rule that fails again and again', () => {
  const set = (version: number, ruleVersion: number) => ({
    version,
    rules: [
      aRule('bad', FAILING.failsWithoutDevice, { version: ruleVersion, decision: 'decline' }),
      aRule('large', 'payment.amountMinor > 50000'),
    ],
  });

  it('is stopped and told of, while payments and other rules go on; a new version is tried anew', async () => {
    const world = await FraudWorld.begin(set(1, 1));
    const status = await running(world, async (current) => {
      await world.pay(Array.from({ length: 40 }, (_, i) => ({ amountMinor: i === 35 ? 60_000 : 1_000 })));
      await until(() => current().committedOffset >= 40);
      await world.pay([{ deviceId: 'a-b' }]);
      await until(() => current().committedOffset >= 41);
      // Another set with the same version of the rule: it stays stopped.
      await world.publish(set(2, 1));
      await until(() => takeUps(world).length === 2);
      await world.pay([{ deviceId: 'a-b' }]);
      await until(() => current().committedOffset >= 42);
      await world.publish(set(3, 2));
      await until(() => takeUps(world).length === 3);
      await world.pay([{ deviceId: 'a-b' }]);
      await until(() => current().committedOffset >= 43);
    });
    expect(world.alerts.map(({ evidence, rules }) => `${rules[0].id} at ${evidence.source.offset}`)).toEqual([
      'large at 35',
      'bad at 42',
    ]);
    expect(trips(world)).toEqual([
      {
        kind: 'rule-trip',
        taskId: expect.any(String),
        partition: 0,
        ruleId: 'bad',
        ruleVersion: 1,
        ruleSetVersion: 1,
        failures: 20,
        evaluations: 20,
        reason: 'No such key: index out of bounds, index 1 >= size 1',
        fromOffset: 20,
        at: expect.any(Number),
      },
    ]);
    expect(status.counters).toMatchObject({ 'rules.failed.bad': 20, 'rules.tripped': 1, 'rules.fired.large': 1 });
    expect(status.records).toBe(43);
  });

  it('is tried anew once it was paused and resumed, though the task never saw a set without it', async () => {
    const since = (version: number, liveSince: number) => ({
      version,
      rules: set(version, 1).rules.map((rule) => (rule.id === 'bad' ? { ...rule, liveSince } : rule)),
    });
    const world = await FraudWorld.begin(since(1, 1));
    await running(world, async (current) => {
      await world.pay(Array.from({ length: 20 }, () => ({ amountMinor: 1_000 })));
      await until(() => current().committedOffset >= 20);
      await world.publish(since(3, 3));
      await until(() => takeUps(world).length === 2);
      await world.pay([{ deviceId: 'a-b' }, ...Array.from({ length: 20 }, () => ({ amountMinor: 1_000 }))]);
      await until(() => current().committedOffset >= 41);
    });
    expect(world.alerts.map(({ evidence, rules }) => `${rules[0].id} at ${evidence.source.offset}`)).toEqual([
      'bad at 20',
    ]);
    expect(trips(world).map((trip) => [trip.fromOffset, trip.kind === 'rule-trip' && trip.ruleSetVersion])).toEqual([
      [20, 1],
      [41, 3],
    ]);
  });
});
