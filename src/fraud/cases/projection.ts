/**
 * Owns the door between the projector and the database, and what the projector tells of itself.
 * Neighbours: `projector.ts` uses it, `src/adapters/postgres/alert-projection.ts` stands behind it.
 */
import type { Alert } from '../alerts/alert.js';

/** A record of the alerts topic that can't be stored as an alert. Kept with its bytes, so that nothing is lost. */
export interface UnreadableRecord {
  readonly offset: number;
  readonly value: Buffer | null;
  readonly reason: string;
}

/** What was read of one partition, in offset order. */
export interface ProjectedBatch {
  readonly topic: string;
  readonly partition: number;
  readonly alerts: readonly { readonly offset: number; readonly alert: Alert }[];
  readonly unreadable: readonly UnreadableRecord[];
  /** Where reading goes on after this batch. */
  readonly nextOffset: number;
}

export interface AppendResult {
  /** Alerts that were new. */
  readonly stored: number;
  /** Alerts stored before: read twice after a crash, or by two projectors. */
  readonly repeated: number;
  readonly unreadable: number;
}

/** Errors: code `database-unavailable`, worth another try; anything else is a defect or a refusal of the database. */
export interface AlertProjection {
  /** Next offset by partition, of what has been stored; partitions never read are not in it. */
  positions(topic: string): Promise<ReadonlyMap<number, number>>;
  /** Stores alerts and position in ONE database transaction; an alert stored before is left as it is. A position never goes back. */
  append(batch: ProjectedBatch): Promise<AppendResult>;
}

/**
 * A partition's projection:
 *
 *   starting → running ⇄ retrying (the log or the database can't be reached)
 *                 │         │
 *                 │         └→ failed   (going on would skip alerts: needs a person)
 *                 └→ stopped            (asked to)
 */
export type LaneState = 'starting' | 'running' | 'retrying' | 'failed' | 'stopped';

export interface LaneStatus {
  readonly partition: number;
  readonly state: LaneState;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Offset after the last record read and stored. -1 before anything is known. */
  readonly nextOffset: number;
  /** The topic's end as last seen; lag = endOffset - nextOffset. -1 before anything is known. */
  readonly endOffset: number;
  /** Tries since the last success. */
  readonly retries: number;
}

export interface ProjectorStatus {
  readonly topic: string;
  /** The worst of its partitions: failed, retrying, starting, running, stopped. */
  readonly state: LaneState;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly partitions: readonly LaneStatus[];
  /** Since the projector's start. */
  readonly stored: number;
  readonly repeated: number;
  readonly unreadable: number;
  /** Records between what is stored and the topic's end. */
  readonly lag: number;
}

/** Anything that tells of a projector. */
export interface ProjectorStatusSource {
  status(): ProjectorStatus;
}
