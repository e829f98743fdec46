/** Owns the tests of what a group's leader decides: who runs what, who keeps what warm, and who is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balance, type MemberClaim } from '../../src/adapters/kafka/group/balance.js';
import { type Member, rulingClaim, shareOut } from '../../src/adapters/kafka/group/claims.js';
import {
  decodeGiven,
  decodeSubscription,
  encodeGiven,
  encodeSubscription,
  type Subscription,
} from '../../src/adapters/kafka/wire/group.js';
import type { SourcePartition } from '../../src/stream/ports.js';
import { compareUnits, unitName } from '../../src/stream/source-partition.js';

const unit = (index: number): SourcePartition => ({ topic: index % 2 === 0 ? 'even' : 'odd', partition: index >> 1 });
const name = (index: number) => unitName(unit(index));
const names = (...indices: number[]) => indices.map(name);
const unitsTo = (count: number) => Array.from({ length: count }, (_, index) => unit(index));
const namesTo = (count: number) => unitsTo(count).map(unitName);

const claim = (memberId: string, owned: number[] = [], generation = 1, standby: number[] = []): MemberClaim => ({
  memberId,
  owned: names(...owned),
  standby: names(...standby),
  generation,
});
const given = (claims: readonly MemberClaim[], units: readonly string[]) => Object.fromEntries(balance(claims, units));

/** What members hold once they gave up what they must, as often as it takes. */
function settle(members: readonly Member[], units: number, standbys: number): { rounds: number; members: Member[] } {
  let current = [...members];
  for (let rounds = 1; ; rounds++) {
    const result = shareOut(current, unitsTo(units), standbys);
    const next = current.map(({ memberId, said }) => {
      const { active = [], standby = [] } = result.get(memberId) ?? {};
      return { memberId, said: { ...said, owned: active, standby, generation: said.generation + 1 } };
    });
    if (!current.some(({ said }, i) => givesUp(said, next[i].said))) return { rounds, members: next };
    if (rounds > 5) throw new Error(`not settled: ${JSON.stringify(next)}`);
    current = next;
  }
}

function givesUp(before: Subscription, after: Subscription): boolean {
  const stays = new Set(after.owned.map(unitName));
  return before.owned.some((one) => !stays.has(unitName(one)));
}

const member = (memberId: string, owned: number[] = [], standby: number[] = [], generation = 1): Member => ({
  memberId,
  said: { topics: ['even', 'odd'], claim: 'c', owned: owned.map(unit), standby: standby.map(unit), generation },
});
const saying = (said: string | null, one: Member): Member => ({ ...one, said: { ...one.said, claim: said } });

const indices = fc.uniqueArray(fc.integer({ min: 0, max: 25 }), { maxLength: 12 });
const anyGroup = fc.record({
  units: fc.integer({ min: 1, max: 20 }),
  standbys: fc.integer({ min: 0, max: 3 }),
  members: fc
    .uniqueArray(
      fc.record({
        memberId: fc.string({ minLength: 1, maxLength: 4 }),
        owned: indices,
        standby: indices,
        generation: fc.integer({ min: -1, max: 3 }),
      }),
      { minLength: 1, maxLength: 7, selector: ({ memberId }) => memberId },
    )
    .map((all) => all.map((one) => member(one.memberId, one.owned, one.standby, one.generation))),
});

const claimsOf = (members: readonly Member[]): MemberClaim[] =>
  members.map(({ memberId, said }) => ({
    memberId,
    owned: said.owned.map(unitName),
    standby: said.standby.map(unitName),
    generation: said.generation,
  }));

describe('balance', () => {
  it('gives the only member everything', () => {
    expect(given([claim('a', [], -1)], namesTo(4))).toEqual({ a: names(0, 1, 2, 3) });
  });

  it('moves to a newcomer only what it must, and only once its holder gave it up', () => {
    expect(given([claim('a', [0, 1, 2, 3]), claim('b')], namesTo(4))).toEqual({ a: names(0, 1), b: [] });
    expect(given([claim('a', [0, 1]), claim('b')], namesTo(4))).toEqual({ a: names(0, 1), b: names(2, 3) });
  });

  it("hands out a leaver's units at once and moves no other", () => {
    const left = [claim('a', [0, 1]), claim('c', [4, 5])];
    expect(given(left, namesTo(6))).toEqual({ a: names(0, 1, 2), c: names(3, 4, 5) });
  });

  it('believes the newer of two claims on one unit', () => {
    expect(given([claim('old', [0, 1], 3), claim('new', [0], 4)], namesTo(2))).toEqual({
      new: names(0),
      old: names(1),
    });
  });

  it('leaves a member over when there are more members than units', () => {
    const result = given([claim('a'), claim('b'), claim('c')], namesTo(2));
    expect(Object.values(result).map((units) => units.length)).toEqual([1, 1, 0]);
  });

  it('gives what is free to who has it warm', () => {
    const survivors = [claim('a', [0, 1], 1, [3, 5]), claim('b', [4, 2], 1, [])];
    expect(given(survivors, namesTo(6)).a).toEqual(names(0, 1, 3));
    const other = [claim('a', [0, 1], 1, []), claim('b', [4, 2], 1, [3])];
    expect(given(other, namesTo(6)).b).toEqual(names(2, 3, 4));
  });

  it('finds the way for as many as possible to be warm', () => {
    // Whoever takes 4 first must leave it to the other, who has nothing else warm.
    const survivors = [claim('a', [0, 1], 1, [4, 5]), claim('b', [2, 3], 1, [4])];
    expect(given(survivors, namesTo(6))).toEqual({ a: names(0, 1, 5), b: names(2, 3, 4) });
  });

  it('lets go first what the one it goes to has warm', () => {
    expect(given([claim('a', [0, 1, 2, 3]), claim('b', [], 1, [0, 2])], namesTo(4)).a).toEqual(names(1, 3));
  });

  it('never gives a unit twice, nor one away that another present member holds', () => {
    fc.assert(
      fc.property(anyGroup, ({ units, members }) => {
        const claims = claimsOf(members);
        const result = balance(claims, namesTo(units));
        const all = [...result.values()].flat();
        expect(new Set(all).size).toBe(all.length);
        expect(namesTo(units)).toEqual(expect.arrayContaining(all));
        for (const { memberId, owned, generation } of claims) {
          for (const one of owned) {
            const taker = [...result].find(([other, taken]) => other !== memberId && taken.includes(one));
            if (taker === undefined) continue;
            // Only to one whose own claim on it is as new or newer.
            const other = claims.find((candidate) => candidate.memberId === taker[0]);
            expect(other?.owned).toContain(one);
            expect(other?.generation).toBeGreaterThanOrEqual(generation);
          }
        }
      }),
    );
  });

  it('settles within two rounds, with everything given and shares that differ by one at most', () => {
    fc.assert(
      fc.property(anyGroup, ({ units, standbys, members }) => {
        const settled = settle(members, units, standbys);
        expect(settled.rounds).toBeLessThanOrEqual(3);
        const all = settled.members.flatMap(({ said }) => said.owned.map(unitName));
        expect(all.sort()).toEqual(namesTo(units).sort());
        expectEven(settled.members.map(({ said }) => said.owned.length));
      }),
    );
  });

  it('comes to the same result in whatever order members are listed, and changes nothing that is settled', () => {
    fc.assert(
      fc.property(anyGroup, ({ units, standbys, members }) => {
        const share = (of: readonly Member[]) => Object.fromEntries(shareOut(of, unitsTo(units), standbys));
        expect(share([...members].reverse())).toEqual(share(members));
        const settled = settle(members, units, standbys).members;
        const again = share(settled);
        for (const { memberId, said } of settled) {
          expect(again[memberId].active).toEqual(said.owned);
          expect(again[memberId].standby).toEqual(said.standby);
        }
      }),
    );
  });
});

describe('standbys', () => {
  const standbysOf = (members: readonly Member[], units: number, standbys: number) =>
    Object.fromEntries([...shareOut(members, unitsTo(units), standbys)].map(([id, { standby }]) => [id, standby]));

  it('are kept by another member than the owner, and by nobody where there is no other', () => {
    expect(standbysOf([member('a', [0, 2]), member('b', [1, 3])], 4, 1)).toEqual({
      a: [unit(1), unit(3)],
      b: [unit(0), unit(2)],
    });
    expect(standbysOf([member('a', [0, 1])], 2, 1)).toEqual({ a: [] });
  });

  it('spread what one member owns over all the others, who therefore share it warm when it dies', () => {
    const before = settle([member('a'), member('b'), member('c')], 12, 1).members;
    for (const dead of before) {
      const survivors = before.filter((one) => one !== dead);
      const result = shareOut(survivors, unitsTo(12), 1);
      for (const { memberId, said } of survivors) {
        const warm = new Set([...said.owned, ...said.standby].map(unitName));
        const active = result.get(memberId)?.active ?? [];
        expect(active).toHaveLength(6);
        expect(active.filter((one) => !warm.has(unitName(one)))).toEqual([]);
      }
    }
  });

  it('make six in seven takeovers warm, however units and members divide', () => {
    let [taken, cold] = [0, 0];
    for (let count = 3; count <= 6; count++) {
      for (let units = count; units <= 24; units++) {
        const ids = Array.from({ length: count }, (_, index) => `m${index}`);
        const before = settle(
          ids.map((id) => member(id)),
          units,
          1,
        ).members;
        for (const dead of before) {
          const survivors = before.filter((one) => one !== dead);
          const result = shareOut(survivors, unitsTo(units), 1);
          for (const { memberId, said } of survivors) {
            const [has, warm] = [said.owned, said.standby].map((list) => new Set(list.map(unitName)));
            const news = (result.get(memberId)?.active ?? []).map(unitName).filter((one) => !has.has(one));
            taken += news.length;
            cold += news.filter((one) => !warm.has(one)).length;
          }
        }
      }
    }
    expect(cold / taken).toBeLessThan(1 / 7);
  });

  it('never lie with who owns or takes the unit, nor twice with one, and are as many as there are others for', () => {
    fc.assert(
      fc.property(anyGroup, ({ units, standbys, members }) => {
        const result = shareOut(members, unitsTo(units), standbys);
        const copies = new Map(namesTo(units).map((one) => [one, 0]));
        for (const { memberId, said } of members) {
          const { active = [], standby = [] } = result.get(memberId) ?? {};
          const its = standby.map(unitName);
          expect(new Set(its).size).toBe(its.length);
          expect(its.filter((one) => active.map(unitName).includes(one))).toEqual([]);
          const holds = new Map(claimsOf(members).map((one) => [one.memberId, one]));
          const newest = (one: string) =>
            [...holds.values()].every(({ owned, generation }) => !owned.includes(one) || generation <= said.generation);
          const owned = said.owned.map(unitName).filter(newest);
          const alone = owned.filter(
            (one) => [...holds.values()].filter((other) => other.owned.includes(one)).length === 1,
          );
          expect(its.filter((one) => alone.includes(one))).toEqual([]);
          for (const one of its) copies.set(one, (copies.get(one) ?? 0) + 1);
        }
        for (const count of copies.values()) {
          expect(count).toBeLessThanOrEqual(Math.min(standbys, members.length - 1));
          // One that gives a unit up for another has neither of the two: both may be ruled out for one round.
          expect(count).toBeGreaterThanOrEqual(Math.min(standbys, members.length - 2));
        }
      }),
    );
  });

  it('once settled are complete and even, to two at most', () => {
    fc.assert(
      fc.property(anyGroup, ({ units, standbys, members }) => {
        const settled = settle(members, units, standbys).members;
        const counts = settled.map(({ said }) => said.standby.length);
        expect(counts.reduce((sum, count) => sum + count, 0)).toBe(units * Math.min(standbys, members.length - 1));
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2);
      }),
    );
  });
});

describe('a claim', () => {
  it('that differs from that of the owners is refused, and told which one rules', () => {
    const members = [saying('mine', member('a', [])), saying('theirs', member('z', [0, 1, 2, 3]))];
    const result = shareOut(members, unitsTo(4), 1);
    expect(result.get('a')).toEqual({ active: [], standby: [], claim: 'theirs', refused: true });
    expect(result.get('z')).toEqual({
      active: unitsTo(4).sort(compareUnits),
      standby: [],
      claim: 'theirs',
      refused: false,
    });
  });

  it('rules by the newest generation where two own units', () => {
    expect(rulingClaim([saying('old', member('a', [0, 1, 2], [], 4)), saying('new', member('b', [3], [], 5))])).toBe(
      'new',
    );
  });

  it('of the most members rules where nobody owns anything', () => {
    const members = [saying('x', member('a')), saying('y', member('b')), saying('y', member('c'))];
    expect(rulingClaim(members)).toBe('y');
    expect(shareOut(members, unitsTo(2), 0).get('a')?.refused).toBe(true);
  });

  it('is not asked of a member of an earlier build', () => {
    const members = [saying(null, member('a')), saying('y', member('b', [0, 1]))];
    expect([...shareOut(members, unitsTo(2), 0).values()].map(({ refused }) => refused)).toEqual([false, false]);
    expect(rulingClaim([saying(null, member('a', [0]))])).toBe(null);
  });
});

describe('subscriptions and assignments', () => {
  it('carry what a member holds, of which generation, and what it claims', () => {
    const said = {
      topics: ['even'],
      claim: 'pipeline p',
      owned: [unit(6), unit(0)],
      standby: [unit(3)],
      generation: 12,
    };
    expect(decodeSubscription(encodeSubscription(said))).toEqual(said);
    const nothing = { topics: [], claim: null, owned: [], standby: [], generation: -1 };
    expect(decodeSubscription(encodeSubscription(nothing))).toEqual(nothing);
    const assigned = { active: [unit(0), unit(2)], standby: [unit(1)], claim: 'pipeline p', refused: true };
    expect(decodeGiven(encodeGiven(assigned))).toEqual(assigned);
  });

  it('of a foreign, older form claim nothing', () => {
    const older = Buffer.from([0, 0, 0, 0, 0, 1, 0, 1, 0x74, 0xff, 0xff, 0xff, 0xff]);
    expect(decodeSubscription(older)).toEqual({ topics: ['t'], claim: null, owned: [], standby: [], generation: -1 });
    const nobodys = { active: [], standby: [], claim: null, refused: false };
    expect(decodeGiven(Buffer.alloc(0))).toEqual(nobodys);
    const binary = Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0x7b]);
    expect(decodeGiven(binary)).toEqual(nobodys);
  });
});

function expectEven(counts: readonly number[]): void {
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
}
