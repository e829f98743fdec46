/**
 * Owns following new alerts as they are stored. Neighbours: `src/adapters/postgres/alert-feed.ts` hears of them behind
 * {@link AlertFeed}, `src/api/analyst/alert-streams.ts` sends them on.
 *
 * Every stored alert has a sequence. Sequences rise in the order of commits: once one is seen, no lower one can appear
 * any more. So "after n" misses nothing and repeats nothing, over restarts too.
 */
import type { AlertFilter, AlertHead } from './stored-alert.js';

export interface FedAlert {
  readonly sequence: number;
  readonly alert: AlertHead;
}

/** What of the new alerts a follower wants. */
export type FeedFilter = Pick<AlertFilter, 'decision' | 'severity' | 'ruleId' | 'minScore'>;

/** Whether an alert is wanted; the database narrows by the same fields. */
export function isWanted({ decision, severity, ruleId, minScore }: FeedFilter, alert: AlertHead): boolean {
  return (
    (decision === undefined || alert.decision === decision) &&
    (severity === undefined || alert.severity === severity) &&
    (ruleId === undefined || alert.rules[0]?.id === ruleId) &&
    (minScore === undefined || (alert.score !== null && alert.score >= minScore))
  );
}

/** Errors: code `database-unavailable`, worth another try. */
export interface AlertFeed {
  /** The highest sequence stored; 0 where nothing is. */
  latest(): Promise<number>;
  /** Alerts with a sequence over `after` and up to `upTo`, in order, at most `limit`. */
  after(after: number, upTo: number, filter: FeedFilter, limit: number): Promise<readonly FedAlert[]>;
  /**
   * Calls `onNews` when alerts may have come, until it is closed; connects anew by itself when the database goes away.
   * A call may come late or be missed: ask {@link latest} now and then, too.
   */
  listen(onNews: () => void): { close(): Promise<void> };
}
