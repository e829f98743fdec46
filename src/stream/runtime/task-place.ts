/**
 * Owns what a task and its standbys work on: the task's own store on this disk and its epoch log, opened together and
 * closed together. Neighbours: `task.ts` takes the log over, `standby-task.ts` only reads it.
 */
import { TaskStore } from '../checkpoint/task-store.js';
import { ownerIdOf } from '../pipeline/pipeline.js';
import type { EpochLog, LocalDisk, LogBackend, OpenStateStore, SnapshotStore } from '../ports.js';

export interface TaskPlace {
  readonly taskId: string;
  readonly pipelineName: string;
  readonly partition: number;
  readonly backend: LogBackend;
  readonly openStore: OpenStateStore;
  readonly snapshots: SnapshotStore;
  readonly disk: LocalDisk;
  readonly options: { readonly stateDirectory: string; readonly stateLogTopic: string; readonly generation?: number };
  /** False: the local store is removed and built anew from checkpoint and state log. */
  readonly trustsStore: boolean;
  say(level: 'info' | 'warn', message: string): void;
}

/** Opens both for the time of `use`, and closes them however that ends: the log first, so that nothing more comes of it. */
export async function atTaskPlace<T>(
  place: TaskPlace,
  use: (storage: TaskStore, epochLog: EpochLog) => Promise<T>,
): Promise<T> {
  const { taskId, pipelineName, partition, backend, openStore, snapshots, disk, options, say } = place;
  const storage = await TaskStore.open({
    root: options.stateDirectory,
    taskId,
    openStore,
    snapshots,
    disk,
    trusted: place.trustsStore,
    onDamaged: (message) => say('warn', message),
  });
  let epochLog: EpochLog | null = null;
  try {
    epochLog = await backend.openEpochLog({
      taskId,
      ownerId: ownerIdOf(pipelineName, options.generation ?? 1, partition),
      stateLog: { topic: options.stateLogTopic, partition },
    });
    return await use(storage, epochLog);
  } finally {
    try {
      await epochLog?.close();
    } finally {
      await storage.close();
    }
  }
}
