/**
 * Owns what the API is given: ports it asks, never adapters it builds. The composition root fills them in.
 * Neighbours: `api.ts` hands them to the controllers under {@link API_PARTS}.
 */
import type { Authenticator } from '../fraud/access/authenticator.js';
import type { AlertFeed } from '../fraud/cases/alert-feed.js';
import type { AlertStatisticsReader } from '../fraud/cases/alert-statistics.js';
import type { AlertWork } from '../fraud/cases/alert-work.js';
import type { ProjectorStatusSource } from '../fraud/cases/projection.js';
import type { AlertReader } from '../fraud/cases/stored-alert.js';
import type { RiskRows } from '../fraud/enrichment/risk-rows.js';
import type { RelayStatusSource } from '../fraud/outbox/relay.js';
import type { RolloutView } from '../fraud/rules/rollout-view.js';
import type { RuleBook } from '../fraud/rules/rule-book.js';
import type { RuleTrial } from '../fraud/rules/rule-trial.js';
import type { Clock } from '../stream/ports.js';
import type { PipelineStatus } from '../stream/runtime/status.js';
import type { AccessParts, RateLimit } from './access/access-parts.js';
import type { EventTopics } from './docs/asyncapi.js';

/** Tells how the pipeline of this process runs. Null before it has started. Must be quick: it is asked at every scrape. */
export interface PipelineStatusSource {
  status(): PipelineStatus | null;
}

/** What `/v1/alerts` finds alerts and works on them with. */
export interface AlertParts {
  readonly reader: AlertReader;
  readonly work: AlertWork;
  readonly feed: AlertFeed;
  readonly statistics: AlertStatisticsReader;
}

/** What `/v1/rules`, `/v1/rule-sets` and `/v1/pattern-parameters` are served with. */
export interface RuleParts {
  readonly book: RuleBook;
  readonly trial: RuleTrial;
  readonly rollout: RolloutView;
}

export interface ApiParts {
  /** The product's version, for the OpenAPI document. */
  readonly version: string;
  /** As this deployment names them, for the AsyncAPI document. */
  readonly topics: EventTopics;
  /** Asked on every request to a route that is not open to all. */
  readonly authenticator: Authenticator;
  /** Null where this process serves no analysts: `/v1/alerts` does not exist then. */
  readonly alerts: AlertParts | null;
  /** `check` rejects where the database does not answer. Null where this process needs no database. */
  readonly database: { check(): Promise<void> } | null;
  /** Null where this process does not detect. */
  readonly pipeline: PipelineStatusSource | null;
  /** Null where this process does not project. */
  readonly projector: ProjectorStatusSource | null;
  /** Null where this process keeps no rule book: its routes do not exist then. */
  readonly rules: RuleParts | null;
  /** Null where this process keeps no risk table: `/v1/risk-table` does not exist then. */
  readonly riskRows: RiskRows | null;
  /** Null where this process relays no changes to the log. */
  readonly relay: RelayStatusSource | null;
  /** Null where this process keeps neither users, keys nor an audit trail. */
  readonly access: AccessParts | null;
  /** Null: nobody is limited. */
  readonly rateLimit: RateLimit | null;
  /** Addresses and ranges whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[];
  readonly clock: Clock;
  /**
   * Told of failures that no caller is told of in full, to be logged. `leftOut`: so many of the same kind came since the
   * last one that was told.
   */
  onUnexpected(
    error: unknown,
    request: { readonly method: string; readonly path: string; readonly id: string; readonly leftOut?: number },
  ): void;
}

/** Injection token of {@link ApiParts}. */
export const API_PARTS = Symbol('ApiParts');

/** Injection token of {@link AlertParts}. */
export const ALERT_PARTS = Symbol('AlertParts');

/** Injection token of the {@link RiskRows}. */
export const RISK_ROWS = Symbol('RiskRows');

/** Injection tokens of {@link RuleParts}. */
export const RULE_BOOK = Symbol('RuleBook');
export const RULE_TRIAL = Symbol('RuleTrial');
export const ROLLOUT_VIEW = Symbol('RolloutView');
