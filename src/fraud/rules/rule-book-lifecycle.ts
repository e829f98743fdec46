/**
 * Owns what may become of a rule: pure functions from an entry of the book to the next one. Neighbours: `rule-book.ts`
 * asks them inside a change, `rule-book-store.ts` says what is kept.
 *
 *              activate v                 pause, trip
 *   ┌─► draft ───────────► active ─────────────────────► paused ─┐
 * create  │                 │  ▲                          ▲  │   │
 *         │        shadow v ▼  │ activate v   pause, trip │  │   │ activate v
 *         └──────────────► shadow ────────────────────────┘  │   └───────────► active
 *               shadow v        ◄────────────────────────────┘
 *                                          shadow v
 *
 * A version that runs stays as it is while newer ones are written beside it; any version may be brought live, an older
 * one to go back. What a rule already does changes nothing, so repeating a request is harmless. A draft alone can be
 * removed: what ran once stays, as decisions hang on it.
 */
import type { RuleTrip } from './rollout.js';
import type { RunningState } from './rule.js';
import { RuleNotRunningError } from './rule-book-errors.js';

export const RULE_STATES = ['draft', 'shadow', 'active', 'paused'] as const;
export type RuleState = (typeof RULE_STATES)[number];

/** In whose name something was done. */
export interface DoneBy {
  readonly id: string;
  readonly name: string;
}

/** Who wrote something, and the person behind them, whom four eyes go by. */
export interface Author extends DoneBy {
  readonly principal: string;
}

export interface Pause {
  readonly by: DoneBy;
  /** ms since 1970. */
  readonly at: number;
  readonly reason: string;
}

/** A rule as the book holds it; its versions lie beside it. */
export interface RuleEntry {
  readonly id: string;
  /** Rises with every change of the entry: the ETag. */
  readonly revision: number;
  readonly state: RuleState;
  /** The version that runs, or ran until the pause; null in state draft alone. */
  readonly liveVersion: number | null;
  readonly newestVersion: number;
  /** The rule set in which it was last brought live; null in state draft alone. */
  readonly liveSinceSet: number | null;
  /** In state paused alone. */
  readonly pause: Pause | null;
  /** ms since 1970. */
  readonly createdAt: number;
  readonly changedAt: number;
}

/** A rule that has just been written: version 1, a draft. `lastRevision`: of a rule of this id that was removed, or 0. */
export function newEntry(id: string, lastRevision: number, nowMs: number): RuleEntry {
  return {
    id,
    revision: lastRevision + 1,
    state: 'draft',
    liveVersion: null,
    newestVersion: 1,
    liveSinceSet: null,
    pause: null,
    createdAt: nowMs,
    changedAt: nowMs,
  };
}

/** Another version was written. What runs stays. */
export function withNewVersion(entry: RuleEntry, nowMs: number): RuleEntry {
  return { ...entry, revision: entry.revision + 1, newestVersion: entry.newestVersion + 1, changedAt: nowMs };
}

/** A version runs from rule set `inSet` on. Returns the same entry where it does so already. */
export function broughtLive(
  entry: RuleEntry,
  to: RunningState,
  version: number,
  inSet: number,
  nowMs: number,
): RuleEntry {
  if (entry.state === to && entry.liveVersion === version) return entry;
  return {
    ...entry,
    revision: entry.revision + 1,
    state: to,
    liveVersion: version,
    liveSinceSet: inSet,
    pause: null,
    changedAt: nowMs,
  };
}

/** The rule no longer runs. Returns the same entry where it is paused already. Errors: {@link RuleNotRunningError}. */
export function pausedBy(entry: RuleEntry, pause: Pause): RuleEntry {
  if (entry.state === 'paused') return entry;
  if (entry.state === 'draft') throw new RuleNotRunningError(entry.id);
  return { ...entry, revision: entry.revision + 1, state: 'paused', pause, changedAt: pause.at };
}

/**
 * Whether a breaker's trip is about what runs now. Trips are read again and again (the topic keeps the newest of each
 * task), so one from before the version was last brought live must not pause it anew.
 */
export function isPausedByTrip(entry: RuleEntry, trip: RuleTrip): boolean {
  return (
    isRunning(entry) &&
    entry.liveVersion === trip.ruleVersion &&
    entry.liveSinceSet !== null &&
    trip.ruleSetVersion >= entry.liveSinceSet
  );
}

/** Whether tasks evaluate it. */
export function isRunning({ state }: RuleEntry): boolean {
  return state === 'active' || state === 'shadow';
}
