/**
 * Owns which claim rules in a group, and what its leader therefore gives each member: pure functions. A claim is the
 * sentence that says what a process runs (pipeline, generation, state log, source); whoever shares work must say the same.
 * Neighbours: `balance.ts` and `standbys.ts` share out among those that agree; `membership.ts` asks and obeys.
 */

import type { SourcePartition } from '../../../stream/ports.js';
import { compareUnits, unitName } from '../../../stream/source-partition.js';
import type { GivenToMember, Subscription } from '../wire/group.js';
import { balance, type MemberClaim, ownersOf } from './balance.js';
import { placeStandbys } from './standbys.js';

export interface Member {
  readonly memberId: string;
  readonly said: Subscription;
}

/**
 * The claim that rules: of the member that owns units, by the newest generation, then the most units; where nobody owns
 * any, the claim that most members make. Null where nobody claims anything. Members that claim nothing agree with all.
 */
export function rulingClaim(members: readonly Member[]): string | null {
  const claiming = members.filter(({ said }) => said.claim !== null);
  const owners = claiming.filter(({ said }) => said.owned.length > 0);
  if (owners.length > 0) {
    const [first] = [...owners].sort(
      (a, b) =>
        b.said.generation - a.said.generation ||
        b.said.owned.length - a.said.owned.length ||
        (a.memberId < b.memberId ? -1 : 1),
    );
    return first.said.claim;
  }
  const votes = new Map<string, number>();
  for (const { said } of claiming) if (said.claim !== null) votes.set(said.claim, (votes.get(said.claim) ?? 0) + 1);
  const [winner] = [...votes].sort(([a, votesA], [b, votesB]) => votesB - votesA || (a < b ? -1 : 1));
  return winner?.[0] ?? null;
}

/** What the leader gives each member: units and standbys to those that agree, a refusal to the others. */
export function shareOut(
  members: readonly Member[],
  units: readonly SourcePartition[],
  standbys: number,
): ReadonlyMap<string, GivenToMember> {
  const claim = rulingClaim(members);
  const agrees = ({ said }: Member) => said.claim === null || said.claim === claim;
  const byName = new Map([...units].sort(compareUnits).map((unit) => [unitName(unit), unit]));
  const names = [...byName.keys()];
  const claims: readonly MemberClaim[] = members.filter(agrees).map(({ memberId, said }) => ({
    memberId,
    owned: said.owned.map(unitName),
    standby: said.standby.map(unitName),
    generation: said.generation,
  }));
  const active = claims.length === 0 ? new Map<string, string[]>() : balance(claims, names);
  const takers = new Map([...active].flatMap(([memberId, given]) => given.map((name) => [name, memberId])));
  const owners = ownersOf(claims, names);
  const standby = placeStandbys(names, {
    held: new Map(claims.map((one) => [one.memberId, one.standby])),
    ownersOf: (name) => [takers.get(name), owners.get(name)].filter((one) => one !== undefined),
    copies: standbys,
  });
  const unitsNamed = (given: readonly string[] = []) =>
    given.map((name) => byName.get(name)).filter((unit) => unit !== undefined);
  return new Map(
    members.map((member) => [
      member.memberId,
      {
        active: unitsNamed(active.get(member.memberId)),
        standby: unitsNamed(standby.get(member.memberId)),
        claim,
        refused: !agrees(member),
      },
    ]),
  );
}
