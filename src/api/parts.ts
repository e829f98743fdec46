/**
 * Owns what the API is given: ports it asks, never adapters it builds. The composition root fills them in.
 * Neighbours: `api.ts` hands them to the controllers under {@link API_PARTS}.
 */
import type { Authenticator } from '../fraud/access/authenticator.js';
import type { ProjectorStatusSource } from '../fraud/cases/projection.js';
import type { AlertReader } from '../fraud/cases/stored-alert.js';
import type { Clock } from '../stream/ports.js';
import type { PipelineStatus } from '../stream/runtime/status.js';

/** Tells how the pipeline of this process runs. Null before it has started. Must be quick: it is asked at every scrape. */
export interface PipelineStatusSource {
  status(): PipelineStatus | null;
}

export interface ApiParts {
  /** The product's version, for the OpenAPI document. */
  readonly version: string;
  /** Asked on every request to a route that is not open to all. */
  readonly authenticator: Authenticator;
  /** Null where this process serves no analysts: `/v1/alerts` does not exist then. */
  readonly alerts: AlertReader | null;
  /** `check` rejects where the database does not answer. Null where this process needs no database. */
  readonly database: { check(): Promise<void> } | null;
  /** Null where this process does not detect. */
  readonly pipeline: PipelineStatusSource | null;
  /** Null where this process does not project. */
  readonly projector: ProjectorStatusSource | null;
  readonly clock: Clock;
  /** Told of failures that no caller is told of in full, to be logged. */
  onUnexpected(error: unknown, request: { readonly method: string; readonly path: string; readonly id: string }): void;
}

/** Injection token of {@link ApiParts}. */
export const API_PARTS = Symbol('ApiParts');

/** Injection token of the {@link AlertReader}. */
export const ALERT_READER = Symbol('AlertReader');
