/**
 * Owns who keeps a standby of which unit: a pure function that the group's leader runs after `balance.ts`. Never the
 * unit's owner, nor whoever takes it over in this round; spread evenly, and each owner's units over all the others, so
 * that the survivors of a crash share what is warm. Who has a standby keeps it where that is balanced.
 */

export interface StandbyClaims {
  /** Members in any order, with the units of which each keeps a standby now. */
  readonly held: ReadonlyMap<string, readonly string[]>;
  /** Members that must not have a standby of a unit, who will own it first: who is given it, and who still owns it. */
  readonly ownersOf: (unit: string) => readonly string[];
  /** Standbys a unit. */
  readonly copies: number;
}

/** Units by member for this round, in the order of `units`. */
export function placeStandbys(units: readonly string[], claims: StandbyClaims): Map<string, string[]> {
  const placing = new Placing(units, claims);
  placing.keep();
  placing.fill();
  placing.level();
  return placing.byMember();
}

/**
 * Counts of standbys a member, and a member and owner. Evenness is the sum of the squares of both: putting one more where
 * n are costs 2n + 1, so that a move pays where it goes from more to fewer by two at least, in both counts together.
 */
class Placing {
  private readonly members: readonly string[];
  private readonly holders = new Map<string, string[]>();
  private readonly load = new Map<string, number>();
  private readonly barred: ReadonlyMap<string, readonly string[]>;

  constructor(
    private readonly units: readonly string[],
    private readonly claims: StandbyClaims,
  ) {
    this.members = [...claims.held.keys()].sort();
    this.barred = new Map(units.map((unit) => [unit, claims.ownersOf(unit)]));
    for (const unit of units) this.holders.set(unit, []);
  }

  /** What members keep already, where they may. */
  keep(): void {
    for (const memberId of this.members) {
      for (const unit of this.claims.held.get(memberId) ?? []) {
        if (this.holdersOf(unit).length < this.claims.copies && this.mayHold(memberId, unit))
          this.put(unit, memberId, 1);
      }
    }
  }

  /** Gives what is missing to whom it makes least uneven. */
  fill(): void {
    for (const unit of this.units) {
      while (this.holdersOf(unit).length < this.claims.copies) {
        const able = this.members.filter((memberId) => this.mayHold(memberId, unit));
        if (able.length === 0) break;
        this.put(unit, this.cheapest(unit, able), 1);
      }
    }
  }

  /** Moves standbys as long as that makes them more even. Each move lessens a sum of squares, so it ends. */
  level(): void {
    for (let moved = true; moved; ) {
      moved = false;
      for (const unit of this.units) {
        for (const from of [...this.holdersOf(unit)]) {
          const able = this.members.filter((memberId) => this.mayHold(memberId, unit));
          if (able.length === 0) continue;
          const to = this.cheapest(unit, able);
          if (this.crowd(unit, from) - this.crowd(unit, to) <= 2) continue;
          this.put(unit, from, -1);
          this.put(unit, to, 1);
          moved = true;
        }
      }
    }
  }

  byMember(): Map<string, string[]> {
    return new Map(
      this.members.map((memberId) => [memberId, this.units.filter((unit) => this.holdersOf(unit).includes(memberId))]),
    );
  }

  private cheapest(unit: string, able: readonly string[]): string {
    return able.reduce((best, memberId) => (this.crowd(unit, memberId) < this.crowd(unit, best) ? memberId : best));
  }

  /** Standbys that a member keeps, and again those of the units of the same owner. */
  private crowd(unit: string, memberId: string): number {
    return (this.load.get(memberId) ?? 0) + (this.load.get(this.pair(unit, memberId)) ?? 0);
  }

  private put(unit: string, memberId: string, by: 1 | -1): void {
    const holders = this.holdersOf(unit);
    this.holders.set(unit, by === 1 ? [...holders, memberId] : holders.filter((one) => one !== memberId));
    for (const count of [memberId, this.pair(unit, memberId)]) this.load.set(count, (this.load.get(count) ?? 0) + by);
  }

  private pair(unit: string, memberId: string): string {
    return `${memberId}\0${this.barred.get(unit)?.[0] ?? ''}`;
  }

  private holdersOf(unit: string): readonly string[] {
    return this.holders.get(unit) ?? [];
  }

  private mayHold(memberId: string, unit: string): boolean {
    return (
      this.holders.has(unit) && !this.holdersOf(unit).includes(memberId) && !this.barred.get(unit)?.includes(memberId)
    );
  }
}
