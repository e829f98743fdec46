/**
 * Owns who runs which unit, and who keeps a standby of it: pure functions that the group's leader runs. Members keep what
 * they own where that is balanced; a unit is never given away while another member still holds it: it goes to nobody for
 * one round, its holder gives it up and joins again, and the next round gives it on (the idea of KIP-429). A unit that
 * is free goes to a member that holds a standby of it before anybody else within the shares: such a takeover is warm.
 * Neighbours: `standbys.ts` places the standbys, `claims.ts` says who may take part, `membership.ts` hands the result out.
 */

/** What a member said when it joined. Units are named by strings here: `<topic>/<partition>`. */
export interface MemberClaim {
  readonly memberId: string;
  readonly owned: readonly string[];
  /** Units of which it keeps a standby. */
  readonly standby: readonly string[];
  /** Generation in which it was given what it owns: a newer claim beats an older one. */
  readonly generation: number;
}

/**
 * Units by member for this round, in the order of `units`. Each goes to one member at most; to none only while a member
 * that must give it up still owns it. Once nobody owns too much, all are given and shares differ by one at most.
 */
export function balance(claims: readonly MemberClaim[], units: readonly string[]): Map<string, string[]> {
  const owners = ownersOf(claims, units);
  const owned = new Map(claims.map(({ memberId }) => [memberId, [] as string[]]));
  for (const unit of units) owned.get(owners.get(unit) ?? '')?.push(unit);
  const warm = new Map(claims.map(({ memberId, standby }) => [memberId, new Set(standby)]));
  const free = units.filter((unit) => !owners.has(unit));
  const warmth = new Map(
    claims.map(({ memberId, standby }) => [memberId, free.filter((one) => standby.includes(one))]),
  );
  // Whoever owns most keeps the larger shares, then who has most of what is free warm; the id settles ties, so every
  // leader comes to the same result.
  const ranked = [...owned.keys()].sort(
    (a, b) => sizeOf(owned, b) - sizeOf(owned, a) || sizeOf(warmth, b) - sizeOf(warmth, a) || (a < b ? -1 : 1),
  );
  const shares = new Map(
    ranked.map((memberId, rank) => [
      memberId,
      Math.floor(units.length / ranked.length) + (rank < units.length % ranked.length ? 1 : 0),
    ]),
  );
  const isWanting = (memberId: string) => sizeOf(owned, memberId) < (shares.get(memberId) ?? 0);
  const wanting = ranked.filter(isWanting);
  const given = new Map<string, string[]>();
  for (const memberId of ranked) {
    const share = shares.get(memberId) ?? 0;
    given.set(
      memberId,
      kept(owned.get(memberId) ?? [], share, (unit) => wanting.some((one) => warm.get(one)?.has(unit))),
    );
  }
  const room = new Map(ranked.map((memberId) => [memberId, (shares.get(memberId) ?? 0) - sizeOf(given, memberId)]));
  giveOut(free, ranked, room, warm, given);
  const order = new Map(units.map((unit, index) => [unit, index]));
  for (const units of given.values()) units.sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
  return given;
}

/** Owner by unit; free ones are left out. */
export function ownersOf(claims: readonly MemberClaim[], units: readonly string[]): Map<string, string> {
  const known = new Set(units);
  const owners = new Map<string, string>();
  const newestFirst = [...claims].sort((a, b) => b.generation - a.generation || (a.memberId < b.memberId ? -1 : 1));
  for (const { memberId, owned } of newestFirst) {
    for (const unit of owned) if (known.has(unit) && !owners.has(unit)) owners.set(unit, memberId);
  }
  return owners;
}

/** The `share` units that a member goes on with: those go first that a member with room has warm. */
function kept(owned: readonly string[], share: number, isWarmElsewhere: (unit: string) => boolean): string[] {
  if (owned.length <= share) return [...owned];
  const [stays, goes] = [owned.filter((unit) => !isWarmElsewhere(unit)), owned.filter(isWarmElsewhere)];
  return [...stays, ...goes].slice(0, share);
}

/** Gives the free units to members with room: as many as can be to one that has them warm, the rest in order. */
function giveOut(
  free: readonly string[],
  ranked: readonly string[],
  room: Map<string, number>,
  warm: ReadonlyMap<string, ReadonlySet<string>>,
  given: ReadonlyMap<string, string[]>,
): void {
  const takers = matched(free, ranked, room, warm);
  let next = 0;
  for (const unit of free) {
    let taker = takers.get(unit);
    if (taker === undefined) {
      while (next < ranked.length && (room.get(ranked[next]) ?? 0) <= 0) next++;
      if (next === ranked.length) return;
      taker = ranked[next];
      room.set(taker, (room.get(taker) ?? 0) - 1);
    }
    given.get(taker)?.push(unit);
  }
}

/**
 * A largest matching of free units to members that have them warm, within each member's room, which is lessened by what
 * is matched. Augmenting paths: a unit whose holders are full moves one of theirs to another of its holders, if it can.
 */
function matched(
  free: readonly string[],
  ranked: readonly string[],
  room: Map<string, number>,
  warm: ReadonlyMap<string, ReadonlySet<string>>,
): Map<string, string> {
  const takers = new Map<string, string>();
  const place = (unit: string, seen: Set<string>): boolean => {
    for (const memberId of ranked) {
      if (seen.has(memberId) || !warm.get(memberId)?.has(unit)) continue;
      seen.add(memberId);
      const left = room.get(memberId) ?? 0;
      if (left > 0) room.set(memberId, left - 1);
      else {
        const movable = [...takers].find(([other, taker]) => taker === memberId && place(other, seen));
        if (movable === undefined) continue;
      }
      takers.set(unit, memberId);
      return true;
    }
    return false;
  };
  for (const unit of free) place(unit, new Set());
  return takers;
}

const sizeOf = (units: ReadonlyMap<string, readonly string[]>, memberId: string) => units.get(memberId)?.length ?? 0;
