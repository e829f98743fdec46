/** Owns what seeding a generation needs. Neighbours: `seed.ts` seeds, `seed-stores.ts` builds the states. */
import type { Clock, EpochLog, LocalDisk, OpenStateStore, SnapshotStore } from '../ports.js';
import type { LayoutFields, StateLayout } from '../state/layout.js';
import type { StoredManifest } from './savepoint-manifest.js';
import type { Savepoints } from './savepoints.js';

/** A task of the new generation. */
export interface SeedTarget {
  readonly taskId: string;
  /** Source offset at which it goes on. */
  readonly sourceOffset: number;
}

export interface SeedParts {
  readonly savepoint: StoredManifest;
  readonly savepoints: Savepoints;
  /** Of the new generation. */
  readonly generation: number;
  readonly source: { readonly topic: string; readonly identity: string };
  /** One a source partition, in their order: their number decides which keys each gets. */
  readonly targets: readonly SeedTarget[];
  readonly layout: StateLayout<LayoutFields>;
  /** The task's empty state log, under the id of its later owner. Closed here. */
  openEpochLog(partition: number): Promise<EpochLog>;
  /** Of the new state log alone: every snapshot of a task that is not seeded yet is removed. */
  readonly snapshots: SnapshotStore;
  readonly openStore: OpenStateStore;
  readonly disk: LocalDisk;
  /** Where states are built, in a directory a task, all at once; removed when they are done. No running task's. */
  readonly directory: string;
  readonly clock: Clock;
  /** Asked each time a task's log was taken over, before its seed is committed: throws where this is not to be any more. */
  expectMeant?(): Promise<void>;
  onProgress(message: string): void;
  shouldStop(): boolean;
}
