/**
 * Owns the disks of simulated machines and the snapshot store between them: the in-memory ones of the test kit, reached
 * through a process that may die before, in between and after, that finds no space, damaged stores, stale lists.
 * Neighbours: `memory-store.ts` and `memory-snapshot-store.ts` hold the data.
 */
import { CorruptDataError } from '../../errors.js';
import type { LocalDisk, OpenStateStore, SnapshotStore, StateEntry, StateStore } from '../../ports.js';
import type { MemorySnapshotStore } from '../memory-snapshot-store.js';
import { type MemoryDisk, memoryStateStore } from '../memory-store.js';
import type { FaultPlan } from './faults.js';
import type { SimulatedProcess } from './simulated-process.js';

/** Batches that a power cut may take back: what was acknowledged lay in the machine's memory alone. */
const UNSYNCED_BATCHES = 12;

/** All machines' disks: one in-memory disk, on which each machine has a directory. */
export class SimulatedDisks {
  private readonly unsynced = new Map<string, (() => void)[]>();
  private readonly damaged = new Set<string>();
  private readonly openMemory: OpenStateStore;

  constructor(
    readonly disk: MemoryDisk,
    private readonly faults: FaultPlan,
  ) {
    this.openMemory = memoryStateStore({ disk });
  }

  /** The next store that a machine opens is found damaged. */
  damage(machine: string): void {
    this.damaged.add(machine);
  }

  /** Takes back the newest `batches` of each store of a machine, as a power cut does. */
  cutPower(machine: string, batches: number): void {
    for (const [directory, undo] of this.unsynced) {
      if (!directory.startsWith(`${machine}/`)) continue;
      for (let i = 0; i < batches; i++) undo.pop()?.();
    }
  }

  openStore(process: SimulatedProcess, machine: string): OpenStateStore {
    return (directory) =>
      process.work('store-open', async () => {
        if (this.damaged.delete(machine)) {
          this.faults.count('damaged-store');
          throw new CorruptDataError(`${directory}: a block does not match its checksum`);
        }
        return this.overProcess(process, directory, await this.openMemory(directory));
      });
  }

  local(process: SimulatedProcess): LocalDisk {
    const { local } = this.disk;
    const forgetting = (directory: string) => this.unsynced.delete(directory);
    return {
      make: (directory) => process.work('disk', () => local.make(directory), { needsSpace: true }),
      remove: (directory) =>
        process.work('disk', () => {
          forgetting(directory);
          return local.remove(directory);
        }),
      move: (from, to) =>
        process.work('disk', () => {
          forgetting(from);
          forgetting(to);
          return local.move(from, to);
        }),
    };
  }

  private overProcess(process: SimulatedProcess, directory: string, store: StateStore): StateStore {
    return {
      getMany: (keys) => process.work('store-read', () => store.getMany(keys)),
      writeBatch: (entries) => {
        // As on a real disk: what is written is what the buffers held at the call, and they are the caller's after it.
        const what = ` of ${entries.length} entries`;
        return process.work('store-write', () => this.write(directory, store, entries), { needsSpace: true, what });
      },
      async *scan(prefix) {
        await process.work('store-scan', () => {});
        yield* store.scan(prefix);
      },
      snapshot: (target) => process.work('snapshot-take', () => store.snapshot(target), { needsSpace: true }),
      close: () => process.work('store-close', () => store.close()),
    };
  }

  private async write(directory: string, store: StateStore, entries: readonly StateEntry[]): Promise<void> {
    const kept = this.disk.directory(directory).entries;
    const before = entries.map(({ key }) => {
      const text = Buffer.from(key).toString('latin1');
      return [text, kept?.get(text)] as const;
    });
    await store.writeBatch(entries);
    const undo = this.unsynced.get(directory) ?? [];
    this.unsynced.set(directory, undo);
    undo.push(() => {
      for (const [key, value] of before) {
        if (value === undefined) kept?.delete(key);
        else kept?.set(key, value);
      }
    });
    if (undo.length > UNSYNCED_BATCHES) undo.shift();
  }
}

/** The snapshot store that all machines share, with what goes wrong in it. */
export class SimulatedSnapshots {
  private readonly spoiled = new Set<string>();
  private hides: 'nothing' | 'newest-once' | 'newest-always' = 'nothing';

  constructor(
    readonly store: MemorySnapshotStore,
    private readonly faults: FaultPlan,
  ) {}

  /** A file of the newest snapshot goes bad. Never two at once: losing every copy of the state is no fault to survive. */
  async spoilNewest(task: string): Promise<boolean> {
    const ids = await this.store.list(task);
    const newest = ids.at(-1);
    if (newest === undefined || ids.length < 2 || this.hides !== 'nothing') return false;
    if (ids.some((id) => this.spoiled.has(`${task} ${id}`))) return false;
    this.spoiled.add(`${task} ${newest}`);
    return true;
  }

  /** The newest snapshot is not shown yet, in the next list or from now on. */
  hideNewest(how: 'once' | 'always'): void {
    if (how === 'always') this.spoiled.clear();
    if (this.spoiled.size === 0) this.hides = `newest-${how}`;
  }

  /** Tasks of different places are different ones, whatever their names. */
  over(process: SimulatedProcess, place: string): SnapshotStore {
    const { store } = this;
    return {
      put: (task, id, directory) =>
        process.work('snapshot-upload', () => store.put(place + task, id, directory), { needsSpace: false }),
      restore: (task, id, directory) =>
        process.work('snapshot-restore', () => {
          if (!this.spoiled.has(`${place}${task} ${id}`)) return store.restore(place + task, id, directory);
          this.faults.count('spoiled-snapshot-refused');
          throw new CorruptDataError(`File entries.bin of snapshot ${id} of ${task} does not match its checksum`);
        }),
      list: (task) => process.work('snapshot-list', () => this.list(place + task)),
      delete: (task, id) => process.work('snapshot-delete', () => store.delete(place + task, id)),
    };
  }

  private async list(task: string): Promise<readonly string[]> {
    const ids = await this.store.list(task);
    if (this.hides === 'nothing' || ids.length < 2) return ids;
    if (this.hides === 'newest-once') this.hides = 'nothing';
    this.faults.count('stale-snapshot-list');
    return ids.slice(0, -1);
  }
}
