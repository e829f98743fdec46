/**
 * Owns task images: a task's committed state as of the end of its state log, built beside its owner and without
 * disturbing it, since the log is the truth (I1) and anybody may read it. Savepoints are made of images.
 * Neighbours: `epoch/recovery.ts` brings a store to the log's end, `savepoint.ts` reads it.
 */

import { join } from 'node:path';
import type { Seal } from '../epoch/delta.js';
import { catchUp, LAST_COMMIT_VISIBLE_MS } from '../epoch/recovery.js';
import type { Replay } from '../epoch/replay.js';
import { StreamError } from '../errors.js';
import type { Clock, EpochLog, LocalDisk, OpenStateStore, SnapshotStore, StateStore } from '../ports.js';
import { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields, StateLayout } from '../state/layout.js';
import { type ResumePoint, STATE_PREFIX } from '../state/stored-form.js';
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

const LOOK_AGAIN_MS = 50;

/** Errors: StoppedError, state-log-behind-store, and those of {@link catchUp}. */
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
    const { replay, end } = await catchUp({ taskId, epochLog, storage, clock, openState, onProgress, shouldStop });
    await replay.writeAll();
    await readUpTo(await newestEpoch(storage.store), replay, end, parts);
    return { taskId, resume: replay.at, seal: replay.seal, store: storage.store, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The newest epoch of which the store holds a value. One pass over all of it; -1: it holds none. */
async function newestEpoch(store: StateStore): Promise<number> {
  let newest = -1;
  for await (const { value } of store.scan(STATE_PREFIX)) {
    newest = Math.max(newest, Buffer.from(value.buffer, value.byteOffset, value.byteLength).readDoubleLE(0));
  }
  return newest;
}

/**
 * A checkpoint can hold values of an epoch that its owner knows to be committed and that readers of committed records do
 * not see yet. A recovery waits for that by fencing; an image reads on until the log has come as far as its values, or
 * it would be of two epochs at once.
 */
async function readUpTo(epoch: number, replay: Replay, from: number, parts: TaskImageParts): Promise<void> {
  const { taskId, epochLog, clock, shouldStop } = parts;
  const giveUpAtMs = clock.monotonic() + LAST_COMMIT_VISIBLE_MS;
  for (let end = from; replay.at.epoch < epoch; ) {
    if (clock.monotonic() > giveUpAtMs) {
      throw new StreamError(
        'state-log-behind-store',
        `${taskId}: its checkpoint holds values of epoch ${epoch}, and the state log shows no epoch after ${replay.at.epoch}: ` +
          'it lost records, or its partition has no leader for long. Look at the state-log topic, then try again',
      );
    }
    await new Promise<void>((resolve) => clock.schedule(LOOK_AGAIN_MS, resolve));
    end = await replay.readOn(epochLog, end, shouldStop);
    await replay.writeAll();
  }
}
