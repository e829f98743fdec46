/**
 * Owns alerts as analysts find them: stored, with the state of the work on them, listed by filters, newest first.
 * Neighbours: `src/adapters/postgres` stores and finds them behind {@link AlertReader}, `src/api` shows them,
 * `projector.ts` brings them in from the log.
 */
import type { Alert, Decision, Severity } from '../alerts/alert.js';

export const ALERT_STATES = ['open', 'closed'] as const;
/** Open until an analyst has disposed of it. */
export type AlertState = (typeof ALERT_STATES)[number];

/** An alert without its evidence: what lists show. */
export interface AlertHead extends Omit<Alert, 'evidence'> {
  readonly state: AlertState;
  /** When it was stored, ms since 1970. */
  readonly storedAt: number;
}

export interface StoredAlert extends AlertHead {
  readonly evidence: Alert['evidence'];
}

/** What to list; a field left out does not narrow. Times are of `detectedAt`, ms since 1970: from inclusive, to exclusive. */
export interface AlertFilter {
  readonly state?: AlertState;
  readonly decision?: Exclude<Decision, 'approve'>;
  readonly severity?: Severity;
  readonly cardId?: string;
  readonly merchantId?: string;
  /** The deciding rule's id. */
  readonly ruleId?: string;
  /** 0 to 1; alerts without a score are left out. */
  readonly minScore?: number;
  readonly from?: number;
  readonly to?: number;
}

/** The last alert of a page: the next page holds what lies after it in the order (newest first, then by id). */
export interface AlertPosition {
  readonly detectedAt: number;
  readonly alertId: string;
}

export interface AlertPage {
  readonly items: readonly AlertHead[];
  /** Null on the last page. */
  readonly next: AlertPosition | null;
}

export interface AlertCounts {
  readonly total: number;
  readonly byDecision: Readonly<Record<Exclude<Decision, 'approve'>, number>>;
  readonly bySeverity: Readonly<Record<Severity, number>>;
}

/**
 * Finds stored alerts. Errors: code `database-unavailable` where the database can't be asked.
 */
export interface AlertReader {
  /** `limit` is 1 to 200. */
  list(filter: AlertFilter, limit: number, after: AlertPosition | null): Promise<AlertPage>;
  /** Null where no alert has this id. */
  get(alertId: string): Promise<StoredAlert | null>;
  counts(filter: AlertFilter): Promise<AlertCounts>;
}
