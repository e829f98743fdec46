/**
 * Owns the brake on guessing passwords: a few failures of one user from one address, some more from one address
 * altogether, then a wait. Tries count before the password is compared, so that many at once gain nothing. Pure but for
 * the time handed in. Neighbour: `sign-in.ts`.
 *
 * T1 Memory is bounded: {@link ENTRIES} of each kind; the oldest leave first.
 */
const WINDOW_MS = 15 * 60_000;
const PER_USER_AND_ADDRESS = 5;
const PER_ADDRESS = 50;
const ENTRIES = 10_000;

interface Tries {
  count: number;
  /** Monotonic ms at which the count starts anew. */
  readonly until: number;
}

export interface SignInTry {
  /** Whole seconds to wait; null where the try may go on. */
  readonly retryAfterS: number | null;
  /** Whether it is worth a line in the audit trail: the first of a window, and the one at which the wait begins. */
  readonly notable: boolean;
}

export class SignInThrottle {
  private readonly pairs = new Map<string, Tries>();
  private readonly addresses = new Map<string, Tries>();

  begin(username: string, address: string, nowMs: number): SignInTry {
    const pair = entry(this.pairs, pairKey(username, address), nowMs);
    const all = entry(this.addresses, address, nowMs);
    pair.count++;
    all.count++;
    const spent = pair.count > PER_USER_AND_ADDRESS ? pair : all.count > PER_ADDRESS ? all : null;
    return {
      retryAfterS: spent === null ? null : Math.max(1, Math.ceil((spent.until - nowMs) / 1_000)),
      notable: pair.count === 1 || pair.count === PER_USER_AND_ADDRESS + 1 || all.count === PER_ADDRESS + 1,
    };
  }

  /** The password was right: what was tried for this user from here is forgotten. */
  succeeded(username: string, address: string): void {
    const key = pairKey(username, address);
    const all = this.addresses.get(address);
    if (all !== undefined) all.count = Math.max(0, all.count - (this.pairs.get(key)?.count ?? 0));
    this.pairs.delete(key);
  }
}

function entry(tries: Map<string, Tries>, key: string, nowMs: number): Tries {
  const known = tries.get(key);
  if (known !== undefined && nowMs < known.until) return known;
  tries.delete(key);
  if (tries.size >= ENTRIES) tries.delete(tries.keys().next().value ?? ''); // T1
  const made = { count: 0, until: nowMs + WINDOW_MS };
  tries.set(key, made);
  return made;
}

const pairKey = (username: string, address: string): string => `${username}\n${address}`;
