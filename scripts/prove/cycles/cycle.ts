/**
 * Owns one cycle: a nemesis strikes, heals, and all partitions must commit again what was written after that. It measures
 * how long that took. Neighbours: `proof.ts` plays cycles one after the other, `../nemeses` strike, `stage.ts` is where.
 *
 * C1 A partition is back once a source record is committed that was written after the healing: none of those who were
 *    struck down can have had it in hand.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../../../src/fraud/world/random.js';
import { partitionsByClient } from '../group.js';
import { type Healed, type Nemesis, STRIKE_LIMIT_MS } from '../nemeses/nemesis.js';
import type { StateFollower } from '../state-follower.js';
import type { OwnEnd } from './service-slot.js';
import type { Stage } from './stage.js';

export interface CycleResult {
  readonly number: number;
  readonly nemesis: string;
  readonly what: string;
  /** Which moment the two times below count from. */
  readonly from: Healed['from'];
  /**
   * To the first commit in a partition that the struck down service owned (in any, where none was struck down), and to
   * that in the last of all; ms.
   */
  readonly firstMs: number;
  readonly allMs: number;
  /** Struck at once after the cycle before, without waiting until all services own partitions again. */
  readonly atOnce: boolean;
  /** From a killed service's death until the others had all partitions going, while it stayed away; ms. */
  readonly takeoverMs: number | null;
  readonly ownEnds: readonly OwnEnd[];
}

export const PATIENCE_MS = 90_000;
const RANGES_MS = 60_000;
const AT_ONCE = 0.25;
/** For every service to own partitions, before the strike falls all the same. */
const SHARED_MS = 20_000;
const SHARES_POLL_MS = 200;

/** The nemesis of cycle `number`: as many of each in the long run, in an order that the seed decides. */
export function nemesisOf(nemeses: readonly Nemesis[], seed: number, number: number): Nemesis {
  const round = Math.floor((number - 1) / nemeses.length);
  const random = new Random(seed + 7_919 * round);
  const order = [...nemeses];
  for (let last = order.length - 1; last > 0; last--) {
    const other = random.whole(0, last);
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order[(number - 1) % order.length];
}

/** Plays cycle `number`. Errors: a strike that fails, or partitions that do not commit again within {@link PATIENCE_MS}. */
export async function playCycle(
  stage: Stage,
  follower: StateFollower,
  nemesis: Nemesis,
  seed: number,
  number: number,
): Promise<CycleResult> {
  // Its own numbers, so that a cycle does not depend on how many the ones before it took.
  const random = new Random(seed * 1_000 + number);
  // Some strikes fall while services still recover from the last; most shall find every service at work.
  const atOnce = random.chance(AT_ONCE);
  const shares = await sharesOf(stage, atOnce);
  const endsBefore = stage.slots.map(({ ownEnds }) => ownEnds.length);
  const calledAtMs = performance.now();
  const struck = await within(
    nemesis.strike(stage.arena, random),
    STRIKE_LIMIT_MS * 1.5,
    `the strike of ${nemesis.name}`,
  );
  const takeoverMs = struck.goesOn ? await takenOver(stage, follower, struck.what, calledAtMs) : null;
  const fallen = stage.slots.filter(({ diedAtMs }) => diedAtMs > calledAtMs);
  const healed = await within(struck.heal(), STRIKE_LIMIT_MS * 1.5, `healing ${nemesis.name}`);
  const backAtMs = await allBack(stage, follower, `${struck.what}, healed`);
  const orphans = new Set(fallen.flatMap(({ name }) => shares.get(name) ?? []));
  const concerned = orphans.size === 0 ? backAtMs : backAtMs.filter((_, partition) => orphans.has(partition));
  return {
    number,
    nemesis: nemesis.name,
    what: struck.what,
    from: healed.from,
    firstMs: Math.max(0, Math.min(...concerned) - healed.sinceMs),
    allMs: Math.max(...backAtMs) - healed.sinceMs,
    takeoverMs,
    atOnce,
    ownEnds: stage.slots.flatMap(({ ownEnds }, index) => ownEnds.slice(endsBefore[index])),
  };
}

/** Partitions by service, once each owns some; what is known so far after {@link SHARED_MS}, or `atOnce`. */
async function sharesOf(stage: Stage, atOnce: boolean): Promise<ReadonlyMap<string, readonly number[]>> {
  const { surroundings, place, source, detectors } = stage;
  const deadline = performance.now() + (atOnce ? 0 : SHARED_MS);
  for (;;) {
    const shares = await partitionsByClient(surroundings.brokers, place.configuration.kafka.group, source).catch(
      // The group's coordinator is on its way: asked again.
      () => new Map<string, readonly number[]>(),
    );
    const isShared = detectors.every(({ name }) => (shares.get(name)?.length ?? 0) > 0);
    if (isShared || performance.now() > deadline) return shares;
    await sleep(SHARES_POLL_MS);
  }
}

/**
 * Waits until the rest of the world has all partitions going, the nemesis still at work. From a killed service's death to
 * that, ms; null where none was killed.
 */
async function takenOver(
  stage: Stage,
  follower: StateFollower,
  what: string,
  calledAtMs: number,
): Promise<number | null> {
  const backAtMs = Math.max(...(await allBack(stage, follower, `${what}, not healed`)));
  const lastDeathMs = Math.max(...stage.slots.map(({ diedAtMs }) => diedAtMs));
  return lastDeathMs > calledAtMs ? backAtMs - lastDeathMs : null;
}

/** Waits until each partition commits what is written from now on; moments by partition, monotonic ms. // C1 */
async function allBack(stage: Stage, follower: StateFollower, after: string): Promise<readonly number[]> {
  const ends = await sourceEnds(stage);
  return follower.passed(ends, PATIENCE_MS, `all partitions to commit again after: ${after}`);
}

/** The source's ends, through whatever trouble its brokers have. */
export async function sourceEnds({
  surroundings,
  source,
}: Pick<Stage, 'surroundings' | 'source'>): Promise<readonly number[]> {
  const deadline = performance.now() + RANGES_MS;
  for (;;) {
    try {
      return (await surroundings.admin.ranges(source)).map(({ end }) => end);
    } catch (error) {
      // Brokers come and go here: asked again until the deadline.
      if (performance.now() > deadline) throw error;
      await sleep(50);
    }
  }
}

/** Errors: `work` took longer. */
export async function within<T>(work: Promise<T>, limitMs: number, what: string): Promise<T> {
  const late = new AbortController();
  const limit = sleep(limitMs, undefined, { signal: late.signal }).then(() => {
    throw new Error(`${what} took more than ${Math.round(limitMs / 1_000)} s`);
  });
  // Cancelled below.
  limit.catch(() => {});
  try {
    return await Promise.race([work, limit]);
  } finally {
    late.abort();
  }
}
