/**
 * Owns who gets which partition: a pure function that the group's leader runs. It keeps what members own where that is
 * balanced, and never gives a partition away that another member still holds: it goes to nobody for one round, its
 * holder gives it up and joins again, and the next round gives it on (the idea of KIP-429).
 * Neighbours: `membership.ts` tells the claims and hands the result out.
 */

/** What a member said when it joined. */
export interface MemberClaim {
  readonly memberId: string;
  readonly owned: readonly number[];
  /** Generation in which it was given what it owns: a newer claim beats an older one. */
  readonly generation: number;
}

/**
 * Partitions by member for this round. Each partition goes to one member at most; to none only while a member that
 * must give it up still owns it. Once nobody owns too much, all are given and shares differ by one at most.
 */
export function balance(claims: readonly MemberClaim[], partitions: number): Map<string, number[]> {
  const owners = ownersOf(claims, partitions);
  const owned = new Map(claims.map(({ memberId }) => [memberId, [] as number[]]));
  owners.forEach((memberId, partition) => {
    if (memberId !== null) owned.get(memberId)?.push(partition);
  });
  // Whoever owns most keeps the larger shares; the id settles ties, so every leader comes to the same result.
  const ranked = [...owned.keys()].sort((a, b) => sizeOf(owned, b) - sizeOf(owned, a) || (a < b ? -1 : 1));
  const given = new Map<string, number[]>();
  const open: string[] = [];
  ranked.forEach((memberId, rank) => {
    const share = Math.floor(partitions / ranked.length) + (rank < partitions % ranked.length ? 1 : 0);
    const kept = (owned.get(memberId) ?? []).slice(0, share);
    given.set(memberId, kept);
    for (let missing = kept.length; missing < share; missing++) open.push(memberId);
  });
  let next = 0;
  owners.forEach((memberId, partition) => {
    if (memberId !== null || next >= open.length) return;
    given.get(open[next++])?.push(partition);
  });
  for (const assigned of given.values()) assigned.sort((a, b) => a - b);
  return given;
}

/** Owner by partition, null where it is free. */
function ownersOf(claims: readonly MemberClaim[], partitions: number): (string | null)[] {
  const owners = new Array<string | null>(partitions).fill(null);
  const newestFirst = [...claims].sort((a, b) => b.generation - a.generation || (a.memberId < b.memberId ? -1 : 1));
  for (const { memberId, owned } of newestFirst) {
    for (const partition of owned) {
      if (partition >= 0 && partition < partitions) owners[partition] ??= memberId;
    }
  }
  return owners;
}

const sizeOf = (owned: ReadonlyMap<string, readonly number[]>, memberId: string) => owned.get(memberId)?.length ?? 0;
