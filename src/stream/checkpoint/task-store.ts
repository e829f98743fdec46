/**
 * Owns a task's state on local disk: the directory that holds its store, opening it, wiping it, bringing a snapshot
 * into its place. Neighbours: recovery asks for the right store, checkpoints take snapshots of it.
 */
import { join } from 'node:path';
import { CorruptDataError } from '../errors.js';
import type { LocalDisk, OpenStateStore, SnapshotStore, StateStore } from '../ports.js';
import { decodeResumePoint, RESUME_KEY, type ResumePoint } from '../state/stored-form.js';

export class TaskStore {
  private opened: StateStore | null = null;

  private constructor(
    readonly taskId: string,
    private readonly directory: string,
    private readonly openStore: OpenStateStore,
    readonly snapshots: SnapshotStore,
    readonly disk: LocalDisk,
  ) {}

  /**
   * Opens (or makes) the store under `<root>/<taskId>`; leftovers of an unfinished snapshot are removed. A store that is
   * damaged is moved aside, said loudly, and an empty one opened: checkpoints and the state log hold all of it.
   */
  static async open(parts: {
    readonly root: string;
    readonly taskId: string;
    readonly openStore: OpenStateStore;
    readonly snapshots: SnapshotStore;
    readonly disk: LocalDisk;
    /** False: whoever wrote the store last may have left anything in it. */
    readonly trusted: boolean;
    onDamaged(message: string): void;
  }): Promise<TaskStore> {
    const { taskId, openStore, snapshots, disk } = parts;
    const storage = new TaskStore(taskId, join(parts.root, taskId), openStore, snapshots, disk);
    await disk.remove(storage.scratchDirectory);
    if (!parts.trusted) {
      await disk.remove(storage.directory);
      parts.onDamaged(`${taskId}: a thread died over the local state; it is built again from checkpoint and state log`);
    }
    try {
      await storage.reopen();
      await storage.resumePoint();
    } catch (error) {
      if (!(error instanceof CorruptDataError)) throw error;
      await storage.setAside();
      parts.onDamaged(
        `${taskId}: the local state is damaged (${error.message}); it was moved to ${storage.asideDirectory} and is built again from checkpoint and state log`,
      );
    }
    return storage;
  }

  get store(): StateStore {
    if (this.opened === null) throw new Error(`the store of ${this.taskId} is not open`);
    return this.opened;
  }

  private get asideDirectory(): string {
    return `${this.directory}.damaged`;
  }

  /** Where snapshots are taken before they are handed to the snapshot store. */
  get scratchDirectory(): string {
    return `${this.directory}.snapshot`;
  }

  async resumePoint(): Promise<ResumePoint | null> {
    const [bytes] = await this.store.getMany([RESUME_KEY]);
    return decodeResumePoint(bytes);
  }

  /** Replaces the local state by a snapshot. Errors of the snapshot store pass through, with an empty store open. */
  async restore(snapshotId: string): Promise<void> {
    await this.close();
    await this.disk.remove(this.directory);
    const staging = `${this.directory}.restore`;
    await this.disk.remove(staging);
    try {
      await this.disk.make(staging);
      await this.snapshots.restore(this.taskId, snapshotId, staging);
      await this.disk.move(staging, this.directory);
    } finally {
      await this.reopen();
    }
  }

  /** Starts over with an empty store. */
  async wipe(): Promise<void> {
    await this.remove();
    await this.reopen();
  }

  /** Closes the store and removes its directory. */
  async remove(): Promise<void> {
    await this.close();
    await this.disk.remove(this.directory);
  }

  /** Keeps the damaged store for whoever wants to look at it (the last one only), and opens an empty one. */
  private async setAside(): Promise<void> {
    await this.close();
    await this.disk.remove(this.asideDirectory);
    await this.disk.move(this.directory, this.asideDirectory);
    await this.reopen();
  }

  async close(): Promise<void> {
    const store = this.opened;
    this.opened = null;
    await store?.close();
  }

  private async reopen(): Promise<void> {
    await this.disk.make(this.directory);
    this.opened = await this.openStore(this.directory);
  }
}
