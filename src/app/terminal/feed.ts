/**
 * Owns what the terminal needs to know of a running process. The supervisor and the projector stand behind it; the
 * terminal only ever reads. Neighbours: `meter.ts` turns it into figures, `terminal.ts` draws them.
 */
import type { Alert } from '../../fraud/alerts/alert.js';
import type { PipelineStatus } from '../../stream/runtime/status.js';

export interface ProjectorStatus {
  /** Alerts committed to the topic and not yet in Postgres. */
  readonly lag: number;
  /** What keeps it from working, in a few words; null where all is well. */
  readonly trouble: string | null;
}

/** Cheap to call several times a second. */
export interface StatusFeed {
  status(): PipelineStatus;
  /** Newest first; some dozen are enough. */
  recentAlerts(): readonly Alert[];
  /** Null where this process runs no projector. */
  projector(): ProjectorStatus | null;
}
