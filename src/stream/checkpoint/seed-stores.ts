/**
 * Owns the states with which a generation's tasks begin: a pass over a savepoint fills the stores of all of them,
 * each with the keys that are its own, values in the present layout, timers indexed. Neighbours: `seed.ts` makes
 * checkpoints of them, `state/migration.ts` brings values over, `state/stored-form.ts` says how a store looks.
 *
 * P1 With as many partitions as before a key stays with its task, wherever it hashes. Else its hash decides.
 * P2 A key that several tasks held (its payments were misplaced) is kept once: as the task had it that it belonged to.
 */
import { join } from 'node:path';
import { SEED_EPOCH } from '../epoch/delta.js';
import { StoppedError } from '../epoch/replay.js';
import { whileDoing } from '../errors.js';
import { partitionOfKey } from '../partitioning.js';
import type { LocalDisk, SnapshotStore, StateEntry, StateStore } from '../ports.js';
import { ByteWriter } from '../state/byte-writer.js';
import { StoredValueReader } from '../state/migration.js';
import {
  encodePendingTimers,
  encodeResumePoint,
  encodeStoredValue,
  RESUME_KEY,
  type ResumePoint,
  stateKey,
  timerKey,
} from '../state/stored-form.js';
import type { SavepointEntry } from './savepoint-parts.js';
import type { SeedParts } from './seed-parts.js';

/** Keys written at a time. */
const KEYS_AT_ONCE = 1024;
const KEYS_BETWEEN_WORDS = 250_000;

/** One task's state, being built. */
export class SeedStore {
  keys = 0;
  private entries: StateEntry[] = [];
  private readonly waiting = new Set<string>();

  constructor(
    private readonly taskId: string,
    private readonly directory: string,
    private readonly disk: LocalDisk,
    private readonly snapshots: SnapshotStore,
    private readonly store: StateStore,
  ) {}

  async add(key: Buffer, value: Buffer, timers: Buffer | null): Promise<void> {
    this.keys++;
    this.waiting.add(key.toString('latin1'));
    this.entries.push({ key: stateKey(key), value });
    if (timers !== null) this.entries.push({ key: timerKey(key), value: timers });
    if (this.waiting.size >= KEYS_AT_ONCE) await this.write();
  }

  /** Whether the key is there already. */
  async has(key: Buffer): Promise<boolean> {
    if (this.waiting.has(key.toString('latin1'))) return true;
    const [value] = await this.store.getMany([stateKey(key)]);
    return value !== null;
  }

  /** Makes checkpoint `id` of what was added, with `resume`. */
  async putSnapshot(id: string, resume: ResumePoint): Promise<void> {
    this.entries.push({ key: RESUME_KEY, value: encodeResumePoint(resume) });
    await this.write();
    const scratch = `${this.directory}.snapshot`;
    await this.disk.remove(scratch);
    await this.disk.make(scratch);
    try {
      await this.store.snapshot(scratch);
      await this.snapshots.put(this.taskId, id, scratch);
    } finally {
      await this.disk.remove(scratch);
    }
  }

  async remove(): Promise<void> {
    await this.store.close();
    await this.disk.remove(this.directory);
  }

  async write(): Promise<void> {
    const { entries } = this;
    if (entries.length === 0) return;
    this.entries = [];
    await this.store.writeBatch(entries);
    this.waiting.clear();
  }
}

/** Builds the states of `partitions`, by partition. Errors: StoppedError, 'state-migration', CorruptDataError. */
export async function buildSeedStores(
  parts: SeedParts,
  partitions: ReadonlySet<number>,
): Promise<ReadonlyMap<number, SeedStore>> {
  const reader = new StoredValueReader(parts.savepoint.manifest.layout, parts.layout);
  const stores = new Map<number, SeedStore>();
  try {
    for (const partition of partitions) stores.set(partition, await openSeedStore(parts, partition));
    await new Filling(parts, reader, stores).run();
    return stores;
  } catch (error) {
    for (const store of stores.values()) await store.remove();
    throw error;
  }
}

async function openSeedStore(parts: SeedParts, partition: number): Promise<SeedStore> {
  const { disk, snapshots } = parts;
  const { taskId } = parts.targets[partition];
  const directory = join(parts.directory, taskId);
  await disk.remove(directory);
  await disk.make(directory);
  return new SeedStore(taskId, directory, disk, snapshots, await parts.openStore(directory));
}

/** The pass over a savepoint; a second one where records were misplaced. */
class Filling {
  private readonly scratch = new ByteWriter(4096);
  private done = 0;
  private misplaced = 0;
  private doubled = 0;

  constructor(
    private readonly parts: SeedParts,
    private readonly reader: StoredValueReader,
    private readonly stores: ReadonlyMap<number, SeedStore>,
  ) {}

  async run(): Promise<void> {
    const { savepoint, savepoints, onProgress } = this.parts;
    const { tasks, name } = savepoint.manifest;
    const pass = async (takesMisplaced: boolean) => {
      for (const task of tasks) {
        for await (const entries of savepoints.entries(task)) {
          for (const entry of entries) await this.take(entry, task.partition, takesMisplaced);
        }
      }
    };
    await pass(false);
    if (this.misplaced > 0) await pass(true); // P2: those that belonged where they were came first
    for (const store of this.stores.values()) await store.write();
    if (this.doubled > 0) {
      onProgress(
        `${this.doubled} keys of savepoint ${name} were kept by more than one task, since their records were misplaced; of each the state of the task it belongs to was taken`,
      );
    }
  }

  // P1
  private get hashes(): boolean {
    return this.parts.targets.length !== this.parts.savepoint.manifest.source.partitions;
  }

  private async take({ key, value }: SavepointEntry, from: number, takesMisplaced: boolean): Promise<void> {
    const { parts, reader } = this;
    if (parts.shouldStop()) throw new StoppedError();
    const { source } = parts.savepoint.manifest;
    const isMisplaced = this.hashes && partitionOfKey(key, source.partitions) !== from;
    if (isMisplaced) this.misplaced++;
    if (isMisplaced !== takesMisplaced) return;
    const to = this.hashes ? partitionOfKey(key, parts.targets.length) : from;
    const store = this.stores.get(to);
    if (store === undefined) return; // seeded before
    if (isMisplaced && (await store.has(key))) {
      this.doubled++;
      return;
    }
    try {
      reader.read(value);
    } catch (error) {
      const { name, tasks } = parts.savepoint.manifest;
      throw whileDoing(error, 'state-migration', `a key of ${tasks[from].taskId} in savepoint ${name}`);
    }
    const isElsewhere = to !== from || parts.source.topic !== source.topic || parts.source.identity !== source.identity;
    if (isElsewhere) parts.layout.moved?.(reader.columns, 0);
    this.scratch.clear();
    encodeStoredValue(this.scratch, SEED_EPOCH, parts.layout.version, reader.codec, 0);
    await store.add(key, Buffer.from(this.scratch.written()), encodePendingTimers(reader.codec, 0));
    if (++this.done % KEYS_BETWEEN_WORDS === 0) parts.onProgress(`${this.done} keys brought over`);
  }
}
