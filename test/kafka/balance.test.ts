import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balance, type MemberClaim } from '../../src/adapters/kafka/group/balance.js';
import { decodeSubscription, encodeSubscription } from '../../src/adapters/kafka/wire/group.js';

const claim = (memberId: string, owned: number[] = [], generation = 1): MemberClaim => ({
  memberId,
  owned,
  generation,
});
const given = (claims: MemberClaim[], partitions: number) => Object.fromEntries(balance(claims, partitions));

/** What members hold once they gave up what they must, as often as it takes. */
function settle(claims: readonly MemberClaim[], partitions: number): { rounds: number; claims: MemberClaim[] } {
  let current = [...claims];
  for (let rounds = 1; ; rounds++) {
    const result = balance(current, partitions);
    const next = current.map(({ memberId, generation }) => claim(memberId, result.get(memberId), generation + 1));
    const givesUp = current.some(({ owned }, i) => owned.some((partition) => !next[i].owned.includes(partition)));
    if (!givesUp) return { rounds, claims: next };
    if (rounds > 5) throw new Error(`not settled: ${JSON.stringify(next)}`);
    current = next;
  }
}

const anyGroup = fc.record({
  partitions: fc.integer({ min: 1, max: 20 }),
  claims: fc.uniqueArray(
    fc.record({
      memberId: fc.string({ minLength: 1, maxLength: 4 }),
      owned: fc.uniqueArray(fc.integer({ min: 0, max: 25 }), { maxLength: 12 }),
      generation: fc.integer({ min: -1, max: 3 }),
    }),
    { minLength: 1, maxLength: 7, selector: ({ memberId }) => memberId },
  ),
});

describe('balance', () => {
  it('gives the only member everything', () => {
    expect(given([claim('a', [], -1)], 4)).toEqual({ a: [0, 1, 2, 3] });
  });

  it('moves to a newcomer only what it must, and only once its holder gave it up', () => {
    expect(given([claim('a', [0, 1, 2, 3]), claim('b')], 4)).toEqual({ a: [0, 1], b: [] });
    expect(given([claim('a', [0, 1]), claim('b')], 4)).toEqual({ a: [0, 1], b: [2, 3] });
  });

  it("hands out a leaver's partitions at once and moves no other", () => {
    expect(given([claim('a', [0, 1]), claim('c', [4, 5])], 6)).toEqual({ a: [0, 1, 2], c: [3, 4, 5] });
  });

  it('believes the newer of two claims on one partition', () => {
    expect(given([claim('old', [0, 1], 3), claim('new', [0], 4)], 2)).toEqual({ new: [0], old: [1] });
  });

  it('leaves a member over when there are more members than partitions', () => {
    const result = given([claim('a'), claim('b'), claim('c')], 2);
    expect(Object.values(result).map((partitions) => partitions.length)).toEqual([1, 1, 0]);
  });

  it('never gives a partition twice, nor one away that another present member holds', () => {
    fc.assert(
      fc.property(anyGroup, ({ partitions, claims }) => {
        const result = balance(claims, partitions);
        const all = [...result.values()].flat();
        expect(new Set(all).size).toBe(all.length);
        expect(all.every((partition) => partition >= 0 && partition < partitions)).toBe(true);
        for (const { memberId, owned, generation } of claims) {
          for (const partition of owned) {
            const taker = [...result].find(([other, taken]) => other !== memberId && taken.includes(partition));
            if (taker === undefined) continue;
            // Only to one whose own claim on it is as new or newer.
            const other = claims.find((one) => one.memberId === taker[0]);
            expect(other?.owned).toContain(partition);
            expect(other?.generation).toBeGreaterThanOrEqual(generation);
          }
        }
      }),
    );
  });

  it('settles within two rounds, with everything given and shares that differ by one at most', () => {
    fc.assert(
      fc.property(anyGroup, ({ partitions, claims }) => {
        const settled = settle(claims, partitions);
        expect(settled.rounds).toBeLessThanOrEqual(3);
        const all = settled.claims.flatMap(({ owned }) => owned);
        expect(all.sort((a, b) => a - b)).toEqual(Array.from({ length: partitions }, (_, i) => i));
        const sizes = settled.claims.map(({ owned }) => owned.length);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('comes to the same result in whatever order members are listed, and changes nothing that is settled', () => {
    fc.assert(
      fc.property(anyGroup, ({ partitions, claims }) => {
        const result = given(claims, partitions);
        expect(given([...claims].reverse(), partitions)).toEqual(result);
        const settled = settle(claims, partitions).claims;
        const again = given(settled, partitions);
        for (const { memberId, owned } of settled) expect(again[memberId]).toEqual(owned);
      }),
    );
  });
});

describe('subscriptions', () => {
  it('carry what a member holds, and of which generation', () => {
    const bytes = encodeSubscription({ topic: 'payments.raw', owned: [3, 0, 7], generation: 12 });
    expect(decodeSubscription(bytes, 'payments.raw')).toEqual({ owned: [3, 0, 7], generation: 12 });
    expect(decodeSubscription(bytes, 'another')).toEqual({ owned: [], generation: 12 });
    const nothing = encodeSubscription({ topic: 'payments.raw', owned: [], generation: -1 });
    expect(decodeSubscription(nothing, 'payments.raw')).toEqual({ owned: [], generation: -1 });
  });

  it('of a foreign, older form claim nothing', () => {
    const older = Buffer.from([0, 0, 0, 0, 0, 1, 0, 1, 0x74, 0xff, 0xff, 0xff, 0xff]);
    expect(decodeSubscription(older, 't')).toEqual({ owned: [], generation: -1 });
  });
});
