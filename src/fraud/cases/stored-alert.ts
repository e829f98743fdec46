/**
 * Owns alerts as analysts find them: stored, with the work done on them, listed by filters in an order.
 * Neighbours: `src/adapters/postgres` stores and finds them behind {@link AlertReader}, `src/api` shows them,
 * `alert-work.ts` says what work does to them, `projector.ts` brings them in from the log.
 */
import type { Alert, Decision, Severity } from '../alerts/alert.js';
import type { Disposition, ReasonCode } from '../labels/disposition.js';

/**
 *   open ⇄ in-progress (somebody is assigned) → closed (disposed of) → reopened: open, or in-progress if assigned
 *     └──────────────────────────────────────────↗
 */
export const ALERT_STATES = ['open', 'in-progress', 'closed'] as const;
export type AlertState = (typeof ALERT_STATES)[number];

/** Where the work on an alert stands. */
export interface WorkState {
  readonly state: AlertState;
  /** 1 when it was stored; each piece of work adds one. What ETag and If-Match compare. */
  readonly revision: number;
  /** The id of the actor who works on it. */
  readonly assignee: string | null;
  /** Null until it is disposed of, and again once it is reopened. */
  readonly disposition: Disposition | null;
  readonly reasonCode: ReasonCode | null;
}

/** An alert without its evidence: what lists show. */
export interface AlertHead extends Omit<Alert, 'evidence'>, WorkState {
  /** When it was stored, ms since 1970. */
  readonly storedAt: number;
}

export const WORK_ACTIONS = ['assigned', 'noted', 'disposed', 'reopened'] as const;

/** One piece of work, as the alert's history keeps it. */
export interface WorkEntry {
  /** The revision that it made. */
  readonly revision: number;
  /** ms since 1970. */
  readonly at: number;
  readonly by: { readonly id: string; readonly name: string };
  readonly action: (typeof WORK_ACTIONS)[number];
  /** Who is assigned after it. */
  readonly assignee: string | null;
  /** Of an entry `disposed`. */
  readonly disposition: Disposition | null;
  readonly reasonCode: ReasonCode | null;
  readonly note: string | null;
}

export interface StoredAlert extends AlertHead {
  readonly evidence: Alert['evidence'];
  /** Newest first, at most {@link HISTORY_LIMIT}. */
  readonly history: readonly WorkEntry[];
  /** The card's newest other alerts, at most {@link CARD_ALERTS_LIMIT}. */
  readonly cardAlerts: readonly AlertHead[];
}

export const HISTORY_LIMIT = 200;
export const CARD_ALERTS_LIMIT = 20;

/** What to list; a field left out does not narrow. */
export interface AlertFilter {
  readonly state?: AlertState;
  readonly decision?: Exclude<Decision, 'approve'>;
  readonly severity?: Severity;
  readonly cardId?: string;
  readonly merchantId?: string;
  /** The deciding rule's id. */
  readonly ruleId?: string;
  /** 0 to 1, both inclusive; either leaves out alerts without a score. */
  readonly minScore?: number;
  readonly maxScore?: number;
  /** Minor units, both inclusive; either leaves out alerts without an amount. */
  readonly minAmountMinor?: number;
  readonly maxAmountMinor?: number;
  /** ISO 4217. */
  readonly currency?: string;
  /** Times of `detectedAt`, ms since 1970: from inclusive, to exclusive. */
  readonly from?: number;
  readonly to?: number;
  /** An actor's id; null: nobody. */
  readonly assignee?: string | null;
  /** Null: none. */
  readonly disposition?: Disposition | null;
}

export const ALERT_SORTS = ['detectedAt', 'score', 'amountMinor'] as const;

/** Ties go by the alert's id in the same direction. What has no score or amount counts as less than everything. */
export interface AlertOrder {
  readonly by: (typeof ALERT_SORTS)[number];
  readonly descending: boolean;
}

/** What an alert without score or amount is sorted as: all others are 0 or more. */
export const LESS_THAN_ALL = -1;

/** The last alert of a page: the next page holds what lies behind it in the order. */
export interface AlertPosition {
  /** What the order goes by, of that alert; {@link LESS_THAN_ALL} where it has none. */
  readonly value: number;
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
  /** `limit` is 1 to 2,000. */
  list(filter: AlertFilter, order: AlertOrder, limit: number, after: AlertPosition | null): Promise<AlertPage>;
  /** Null where no alert has this id. */
  get(alertId: string): Promise<StoredAlert | null>;
  counts(filter: AlertFilter): Promise<AlertCounts>;
  /** Whether the filter finds more than `count`. */
  isMoreThan(filter: AlertFilter, count: number): Promise<boolean>;
}
