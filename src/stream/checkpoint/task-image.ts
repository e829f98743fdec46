/**
 * Owns task images: a task's committed state as of the end of its state log, built beside its owner and without
 * disturbing it, since the log is the truth (I1) and anybody may read it. Savepoints are made of images.
 * Neighbours: `epoch/recovery.ts` brings a store to the log's end, `savepoint.ts` reads it.
 */

import { join } from 'node:path';
import type { Seal } from '../epoch/delta.js';
import { catchUp } from '../epoch/recovery.js';
import type { Clock, EpochLog, LocalDisk, OpenStateStore, SnapshotStore, StateStore } from '../ports.js';
import { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields, StateLayout } from '../state/layout.js';
import type { ResumePoint } from '../state/stored-form.js';
import { WriteBehind } from '../state/write-behind.js';
import { TaskStore } from './task-store.js';

export interface TaskImageParts {
  readonly taskId: string;
  /** Read only; stays the caller's. Never fenced here: the task's owner goes on. */
  readonly epochLog: EpochLog;
  readonly snapshots: SnapshotStore;
  readonly openStore: OpenStateStore;
  readonly disk: LocalDisk;
  /** Where the image is built, in a directory of the task's name: none that a running task has, and emptied before. */
  readonly directory: string;
  readonly layout: StateLayout<LayoutFields>;
  /** Keys held in columns at a time. */
  readonly hotKeys: number;
  readonly clock: Clock;
  onProgress(message: string): void;
  shouldStop(): boolean;
}

export interface TaskImage {
  readonly taskId: string;
  /** The newest epoch in the image, and what is known after it. Epoch -1: the task never committed anything. */
  readonly resume: ResumePoint;
  /** Where the log ends sealed: the generation that goes on. */
  readonly seal: Seal | null;
  /** Holds everything up to `resume`. */
  readonly store: StateStore;
  /** Closes the store and removes its directory. */
  close(): Promise<void>;
}

/** What changed within this time is written once. */
const WRITE_BEHIND = { ageMs: 1_000, slotsAtOnce: 4096 };

/** Errors: StoppedError, and those of {@link catchUp}. */
export async function openTaskImage(parts: TaskImageParts): Promise<TaskImage> {
  const { taskId, epochLog, snapshots, openStore, disk, directory, layout, hotKeys, clock } = parts;
  await disk.remove(join(directory, taskId));
  const storage = await TaskStore.open({
    root: directory,
    taskId,
    openStore,
    snapshots,
    disk,
    trusted: true,
    onDamaged: parts.onProgress,
  });
  const close = () => storage.remove();
  try {
    const openState = (start: ResumePoint) => {
      const state = new KeyedState(layout, hotKeys, storage.store, () => {});
      return { state, writeBehind: new WriteBehind(state, storage.store, WRITE_BEHIND, start), onTimer: () => {} };
    };
    const { onProgress, shouldStop } = parts;
    const { replay } = await catchUp({ taskId, epochLog, storage, clock, openState, onProgress, shouldStop });
    await replay.writeAll();
    return { taskId, resume: replay.at, seal: replay.seal, store: storage.store, close };
  } catch (error) {
    await close();
    throw error;
  }
}
