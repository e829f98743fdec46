/**
 * Owns every append to the embedded log: one queue a backend, written group by group, each append atomic by itself.
 * Neighbours: `writer.ts` and `epoch-log.ts` submit, `store.ts` holds the data, `wake-up.ts` tells readers.
 *
 * A write must not block this thread (a disk may take 20 ms to acknowledge) nor hold LMDB's only write lock while the
 * thread computes. So nothing is computed under the lock: offsets are taken from heads read before, and the append is
 * written on lmdb-js's own thread under the condition that those heads, and the task's generation, are still what they
 * were. An append that lost this race is planned again with the lock held, where it cannot lose; meanwhile other threads
 * wait for this one, so it is not the usual way.
 * Invariants: (1) all blocks and heads of an append are in one LMDB transaction, or none; (2) an append with a fence is
 * applied only while its generation is the task's newest; (3) appends of one backend to one partition keep their order;
 * (4) an append resolves after LMDB has synced it to disk.
 */
import { CommitDoubtfulError, FencedError, StreamError } from '../../stream/errors.js';
import type { PackedBlock } from './block.js';
import { blockKey, type Head, headKey, putBlock, putHead, readHead } from './partition-store.js';
import { fullError, type LogStore, messageOf, refresh } from './store.js';

/** Blocks bound for one partition. */
export interface Placement {
  readonly topic: string;
  readonly topicId: number;
  readonly partition: number;
  readonly blocks: readonly PackedBlock[];
}

/** What an append depends on: the task's generation, unless it is written outside epochs. */
export interface Fence {
  readonly taskId: string;
  readonly generation: number;
}

/** Where the records of a placement came to lie. */
export interface PlacedAt {
  readonly first: number;
  readonly next: number;
}

interface Append {
  readonly placements: readonly Placement[];
  readonly fence: Fence | null;
  readonly sizeBytes: number;
  lostRace: boolean;
  resolve(placed: readonly PlacedAt[]): void;
  reject(error: unknown): void;
}

/** An append with offsets given, ready to be written. */
interface Plan {
  readonly append: Append;
  readonly placed: readonly PlacedAt[];
  readonly heads: readonly { readonly key: Buffer; readonly before: Head; readonly after: Head }[];
}

/** Bytes in one LMDB transaction at most, unless a single append is larger. */
const GROUP_BYTES = 16 * 1024 * 1024;

export class CommitQueue {
  private queue: Append[] = [];
  private running: Promise<void> | null = null;
  private closed = false;
  /** Set when upkeep failed: the log may grow without bound from then on, so nothing more is taken. */
  private failure: StreamError | null = null;

  /** `afterWrite` gets the heads written, when they are durable; it may do upkeep, during which no group is written. */
  constructor(
    private readonly store: LogStore,
    private readonly checkRoom: (sizeBytes: number) => void,
    private readonly afterWrite: (placements: readonly Placement[]) => Promise<void>,
  ) {}

  /** Appends all placements atomically. Resolves, in their order, with where they lie, when they are durable. */
  submit(placements: readonly Placement[], fence: Fence | null): Promise<readonly PlacedAt[]> {
    if (this.closed) return Promise.reject(new StreamError('log-closed', 'The embedded log was closed'));
    if (this.failure) return Promise.reject(this.failure);
    return new Promise((resolve, reject) => {
      let sizeBytes = 0;
      for (const { blocks } of placements) for (const { bytes } of blocks) sizeBytes += bytes.length;
      this.queue.push({ placements, fence, sizeBytes, lostRace: false, resolve, reject });
      this.running ??= this.drain();
    });
  }

  /** Takes no more appends and waits for those it has. */
  async close(): Promise<void> {
    this.closed = true;
    await this.running;
  }

  private async drain(): Promise<void> {
    // Lets what is submitted in the same turn join the first group.
    await Promise.resolve();
    while (this.queue.length > 0) {
      const group = this.takeGroup();
      const written = await (group[0].lostRace ? this.writeUnderLock(group[0]) : this.write(group));
      if (written.length > 0) await this.upkeep(written);
    }
    this.running = null;
  }

  private async upkeep(written: readonly Append[]): Promise<void> {
    try {
      await this.afterWrite(written.flatMap(({ placements }) => placements));
    } catch (error) {
      const failure = this.writeError(error);
      this.failure = failure;
      for (const append of this.queue.splice(0)) append.reject(failure);
    }
  }

  private takeGroup(): Append[] {
    let sizeBytes = 0;
    let count = 0;
    for (const append of this.queue) {
      if (count > 0 && (append.lostRace || sizeBytes + append.sizeBytes > GROUP_BYTES)) break;
      sizeBytes += append.sizeBytes;
      count++;
      if (append.lostRace) break;
    }
    return this.queue.splice(0, count);
  }

  /** Writes a group under conditions; puts back what lost a race; returns what was written. */
  private async write(group: readonly Append[]): Promise<readonly Append[]> {
    refresh(this.store);
    const heads = new Map<string, Head>();
    const writes: { plan: Plan; applied: Promise<boolean> }[] = [];
    for (const append of group) {
      try {
        this.checkRoom(append.sizeBytes);
        const plan = this.plan(append, heads);
        writes.push({ plan, applied: this.writeIfUnchanged(plan) });
      } catch (error) {
        append.reject(error);
      }
    }
    const written: Append[] = [];
    const lost: Append[] = [];
    for (const { plan, applied } of writes) {
      try {
        if (await applied) {
          written.push(plan.append);
          plan.append.resolve(plan.placed);
        } else {
          plan.append.lostRace = true;
          lost.push(plan.append);
        }
      } catch (error) {
        plan.append.reject(await this.explain(error));
      }
    }
    this.queue.unshift(...lost);
    return written;
  }

  /** Plans and writes an append in one transaction of its own; lmdb-js calls back here once it has the lock. */
  private async writeUnderLock(append: Append): Promise<readonly Append[]> {
    try {
      // A child transaction, because only that is rolled back when something in it throws.
      const plan = await this.store.env.childTransaction(() => {
        const planned = this.plan(append, new Map());
        this.put(planned);
        return planned;
      });
      append.resolve(plan.placed);
      return [append];
    } catch (error) {
      append.reject(error instanceof StreamError ? error : await this.explain(error));
      return [];
    }
  }

  /** Gives offsets to an append, on top of the heads planned before it in the same group. */
  private plan(append: Append, heads: Map<string, Head>): Plan {
    if (append.fence) this.checkFence(append.fence);
    const changed = new Map<string, { key: Buffer; before: Head; after: Head }>();
    const placed: PlacedAt[] = [];
    for (const { topic, topicId, partition, blocks } of append.placements) {
      const name = `${topicId}/${partition}`;
      const key = headKey(topicId, partition);
      const known = changed.get(name);
      const before = known?.before ?? heads.get(name) ?? readHead(this.store, key);
      if (!before)
        throw new StreamError('topic-deleted', `Topic ${topic} was deleted; make it again before writing to it`);
      const from = known?.after ?? before;
      let { end, sizeBytes } = from;
      for (const { bytes, span } of blocks) {
        end += span;
        sizeBytes += bytes.length;
      }
      placed.push({ first: from.end, next: end });
      changed.set(name, { key, before, after: { ...from, end, sizeBytes, version: before.version + 1 } });
    }
    for (const [name, { after }] of changed) heads.set(name, after);
    return { append, placed, heads: [...changed.values()] };
  }

  private checkFence({ taskId, generation }: Fence): void {
    const newest = this.store.tasks.get(Buffer.from(taskId))?.readDoubleLE(0);
    if (newest === generation) return;
    throw new FencedError(
      `Task ${taskId} has a later owner (generation ${newest}, this one is ${generation}); it must stop and drop what it holds`,
    );
  }

  /** Queues the plan on lmdb-js's write thread under its conditions; false if one did not hold, and nothing was written. */
  private writeIfUnchanged(plan: Plan): Promise<boolean> {
    const { fence } = plan.append;
    const { heads, tasks } = this.store;
    // Conditions nest: the innermost is met only if all around it are. All are equal versions; lmdb-js's condition
    // "does not exist" must not be nested (a failed outer condition would be forgotten behind it).
    let innermost: Promise<boolean> = Promise.resolve(true);
    let wrapped = () => {
      this.put(plan);
    };
    const conditions = plan.heads.map(({ key, before }) => ({ database: heads, key, version: before.version }));
    if (fence) conditions.push({ database: tasks, key: Buffer.from(fence.taskId), version: fence.generation });
    for (const [index, { database, key, version }] of conditions.entries()) {
      const inner = wrapped;
      wrapped = () => {
        const met = database.ifVersion(key, version, inner);
        if (index === 0) innermost = met;
        // A failed transaction rejects each of them; the innermost alone is looked at.
        else met.catch(() => {});
      };
    }
    wrapped();
    return innermost;
  }

  private put(plan: Plan): void {
    for (const [index, { topicId, partition, blocks }] of plan.append.placements.entries()) {
      let base = plan.placed[index].first;
      for (const { bytes, span } of blocks) {
        putBlock(this.store, blockKey(topicId, partition, base), bytes);
        base += span;
      }
    }
    for (const { key, after } of plan.heads) putHead(this.store, key, after);
  }

  /** lmdb-js says "Commit failed" and keeps the reason in a promise beside it. */
  private async explain(error: unknown): Promise<StreamError> {
    let reason = error;
    if (error instanceof Error && 'commitError' in error) {
      reason = await Promise.resolve(error.commitError).catch((cause: unknown) => cause);
    }
    return this.writeError(reason);
  }

  private writeError(reason: unknown): StreamError {
    return (
      fullError(this.store, reason) ??
      new CommitDoubtfulError(
        `Writing to the embedded log in ${this.store.directory} failed (${messageOf(reason)}); fence and read what is there`,
        { cause: reason },
      )
    );
  }
}
