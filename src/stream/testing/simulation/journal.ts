/**
 * Owns what the oracle knows of commits: the head of every epoch whose commit was decided, read from the state log by
 * this file's own few lines, the records that went with it, seeds and seals. It is told at the moment of the decision and refuses on
 * the spot what must never be committed or truncated.
 */
import { crc32 } from 'node:zlib';
import type { MemoryRecord } from '../memory-partition.js';
import type { LogTransaction, SimulatedPartition } from './simulated-partition.js';
import { NAME, TOPICS } from './simulated-pipeline.js';

/** An invariant is broken: the schedule has failed. */
export class Violation extends Error {
  constructor(
    readonly invariant: string,
    message: string,
  ) {
    super(`${invariant}: ${message}`);
    this.name = 'Violation';
  }
}

export interface JournalledEpoch {
  readonly epoch: number;
  readonly from: number;
  readonly to: number;
  readonly maxEventTimeMs: number | null;
  /** Position in the broadcast table. */
  readonly table: number;
  readonly outputs: readonly MemoryRecord[];
}

interface Pointer {
  readonly snapshotId: string;
  readonly resume: { readonly epoch: number; readonly stateLogOffset: number };
}

/** How a task of a later generation began, as its seed says. */
export interface JournalledSeed extends Pointer {
  readonly taskId: string;
  readonly generation: number;
  readonly resume: Pointer['resume'] & {
    readonly sourceOffset: number;
    readonly maxEventTimeMs: number | null;
    readonly cursors: { readonly table?: number };
  };
}

export interface JournalledSeal {
  readonly generation: number;
  readonly stateLog: string;
  readonly source: string;
  readonly partitions: number;
}

/** What was committed to one partition of a state log. */
export interface TaskJournal {
  readonly epochs: JournalledEpoch[];
  readonly pointers: Pointer[];
  seed: JournalledSeed | null;
  /** The generation that goes on, while its log ends with a seal. */
  seal: JournalledSeal | null;
}

export interface JournalOptions {
  readonly retained: number;
  /** Snapshots kept of the task with that state log. */
  snapshots(stateLog: SimulatedPartition): readonly string[];
  /** Each throws what must not be. */
  onEpoch(stateLog: SimulatedPartition, head: JournalledEpoch): void;
  onSeed(stateLog: SimulatedPartition, seed: JournalledSeed): void;
  onSeal(stateLog: SimulatedPartition, seal: JournalledSeal | null): void;
}

const HEAD_BYTES = 24;
const KIND = { delta: 1, pointer: 2, seed: 3, seal: 4 } as const;

export class Journal {
  private readonly tasks = new Map<SimulatedPartition, TaskJournal>();
  committedEpochs = 0;
  completedCheckpoints = 0;

  constructor(private readonly options: JournalOptions) {}

  of(stateLog: SimulatedPartition): TaskJournal {
    let task = this.tasks.get(stateLog);
    if (task === undefined) {
      task = { epochs: [], pointers: [], seed: null, seal: null };
      this.tasks.set(stateLog, task);
    }
    return task;
  }

  /** -1: none. A seed is the one before the first. */
  lastEpoch(stateLog: SimulatedPartition): number {
    const { epochs, seed } = this.of(stateLog);
    return epochs.at(-1)?.epoch ?? seed?.resume.epoch ?? -1;
  }

  /** Source offset up to which a task has committed. */
  committedTo(stateLog: SimulatedPartition): number {
    const { epochs, seed } = this.of(stateLog);
    return epochs.at(-1)?.to ?? seed?.resume.sourceOffset ?? 0;
  }

  /** Returns the epoch that was committed; null for what is none. */
  onCommit(transaction: LogTransaction): JournalledEpoch | null {
    const stateLog = [...transaction.parts.keys()].find(({ topic }) => topic.startsWith(TOPICS.stateLog));
    if (stateLog === undefined) throw new Violation('I1', `${transaction.owner} commits without its state log`);
    // Nobody reads a deleted topic again.
    if (stateLog.isGone) return null;
    const outputs: MemoryRecord[] = [];
    const records: MemoryRecord[] = [];
    for (const [partition, first] of transaction.parts) {
      for (let offset = first; offset < partition.end; offset++) {
        const record = partition.record(offset);
        if (record === null || !partition.belongsTo(offset, transaction)) continue;
        (partition === stateLog ? records : outputs).push(record);
      }
    }
    const bodies = wholeRecords(records);
    const [first] = bodies;
    if (first?.kind === KIND.seed || first?.kind === KIND.seal) {
      if (bodies.length > 1 || outputs.length > 0) throw new Violation('I2', `${transaction.owner} seals with more`);
      const body: unknown = JSON.parse(first.body.toString('utf8'));
      if (first.kind === KIND.seed) this.seed(stateLog, body as JournalledSeed);
      else this.seal(stateLog, body as JournalledSeal | null);
      return null;
    }
    return this.epoch(stateLog, bodies, outputs);
  }

  private epoch(stateLog: SimulatedPartition, bodies: readonly Whole[], outputs: MemoryRecord[]): JournalledEpoch {
    const taskId = taskOf(stateLog);
    const deltas = bodies.filter(({ kind }) => kind === KIND.delta);
    if (deltas.length !== 1) throw new Violation('I2', `${taskId} commits ${deltas.length} deltas in one epoch`);
    const head = readHead(taskId, deltas[0], outputs);
    const task = this.of(stateLog);
    if (task.seal !== null) {
      throw new Violation('seal', `${taskId} commits epoch ${head.epoch} to ${stateLog.topic}, which is sealed`);
    }
    this.check(taskId, head, task);
    this.options.onEpoch(stateLog, head);
    task.epochs.push(head);
    this.committedEpochs += 1;
    for (const { kind, body } of bodies) {
      if (kind !== KIND.pointer) continue;
      task.pointers.push(JSON.parse(body.toString('utf8')) as Pointer);
      this.completedCheckpoints += 1;
    }
    return head;
  }

  private seed(stateLog: SimulatedPartition, seed: JournalledSeed): void {
    const task = this.of(stateLog);
    const isFirst = task.epochs.length === 0 && task.seed === null && task.seal === null;
    if (!isFirst) throw new Violation('seed', `${taskOf(stateLog)} is seeded again (${stateLog.topic})`);
    if (seed.taskId !== taskOf(stateLog))
      throw new Violation('seed', `${taskOf(stateLog)} is seeded as ${seed.taskId}`);
    this.options.onSeed(stateLog, seed);
    task.seed = seed;
    task.pointers.push(seed);
  }

  private seal(stateLog: SimulatedPartition, seal: JournalledSeal | null): void {
    const task = this.of(stateLog);
    if (task.seal !== null && seal !== null) {
      throw new Violation('seal', `${taskOf(stateLog)} is sealed again (${stateLog.topic})`);
    }
    this.options.onSeal(stateLog, seal);
    task.seal = seal;
  }

  /** The log may forget what at least `retained` complete checkpoints do not need. */
  onTruncate(partition: SimulatedPartition, offset: number): void {
    if (offset <= partition.start || partition.isGone) return;
    const kept = new Set(this.options.snapshots(partition));
    const usable = this.of(partition).pointers.filter(
      ({ snapshotId, resume }) => kept.has(snapshotId) && resume.stateLogOffset >= offset,
    );
    const distinct = new Set(usable.map(({ snapshotId }) => snapshotId)).size;
    if (distinct < this.options.retained) {
      throw new Violation(
        'truncation',
        `${partition.topic}/${partition.partition} is truncated to ${offset}, which leaves ${distinct} complete checkpoints usable instead of ${this.options.retained}`,
      );
    }
  }

  private check(taskId: string, head: JournalledEpoch, { epochs, seed }: TaskJournal): void {
    const fail = (what: string) => {
      throw new Violation('I2', `${taskId} commits epoch ${head.epoch} (${head.from} to ${head.to}), ${what}`);
    };
    const before = epochs.at(-1) ?? seedAsEpoch(seed);
    if (head.epoch !== (before?.epoch ?? -1) + 1) fail(`but the last one was ${before?.epoch ?? 'none'}`);
    if (head.from !== (before?.to ?? 0)) fail(`but the last one ended at ${before?.to ?? 0}`);
    if (head.to < head.from) fail('which goes back');
    if ((head.maxEventTimeMs ?? 0) < (before?.maxEventTimeMs ?? 0)) {
      throw new Violation(
        'I7',
        `${taskId}: event time goes back from ${before?.maxEventTimeMs} to ${head.maxEventTimeMs} in epoch ${head.epoch}`,
      );
    }
    if (head.table < (before?.table ?? 0)) {
      throw new Violation('broadcast', `${taskId}: epoch ${head.epoch} has an older table than the one before`);
    }
    for (const { topic, value } of head.outputs) {
      if (topic === TOPICS.dead) continue;
      const body = JSON.parse(String(value)) as { offset?: number };
      const isForeign = body.offset !== undefined && (body.offset < head.from || body.offset >= head.to);
      if (isForeign) fail(`with an output of the record at ${body.offset}`);
    }
  }
}

const taskOf = ({ partition }: SimulatedPartition): string => `${NAME}-${partition}`;

/** What an epoch before the first would have said. */
function seedAsEpoch(seed: JournalledSeed | null): Omit<JournalledEpoch, 'from' | 'outputs'> | undefined {
  if (seed === null) return undefined;
  const { epoch, sourceOffset, maxEventTimeMs, cursors } = seed.resume;
  return { epoch, to: sourceOffset, maxEventTimeMs, table: cursors.table ?? 0 };
}

interface Whole {
  readonly kind: number;
  readonly epoch: number;
  readonly body: Buffer;
}

/** Puts the chunks of an epoch's state-log records together. */
function wholeRecords(records: readonly MemoryRecord[]): Whole[] {
  const whole: Whole[] = [];
  let parts: Buffer[] = [];
  for (const { value, offset } of records) {
    const bytes = value ?? Buffer.alloc(0);
    const body = bytes.subarray(HEAD_BYTES);
    const checksum = crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12)));
    if (checksum !== bytes.readUInt32LE(12)) throw new Violation('delta', `the checksum at ${offset} is wrong`);
    if (bytes.readUInt16LE(6) !== parts.length) throw new Violation('delta', `a chunk is out of order at ${offset}`);
    parts.push(body);
    if (parts.length < bytes.readUInt16LE(8)) continue;
    whole.push({ kind: bytes[5], epoch: bytes.readDoubleLE(16), body: Buffer.concat(parts) });
    parts = [];
  }
  if (parts.length > 0) throw new Violation('delta', 'an epoch commits a part of a record');
  return whole;
}

function readHead(taskId: string, { epoch, body: whole }: Whole, outputs: readonly MemoryRecord[]): JournalledEpoch {
  const idLength = whole.readUInt16LE(0);
  const id = whole.toString('utf8', 2, 2 + idLength);
  if (id !== taskId) throw new Violation('delta', `${taskId} commits a delta of ${id}`);
  const body = whole.subarray(2 + idLength);
  const maxEventTimeMs = body.readDoubleLE(16);
  let table = 0;
  let at = 30;
  for (let left = body.readUInt16LE(28); left > 0; left--) {
    const length = body.readUInt16LE(at);
    if (body.toString('utf8', at + 2, at + 2 + length) === 'table') table = body.readDoubleLE(at + 2 + length);
    at += 2 + length + 8;
  }
  const time = Number.isNaN(maxEventTimeMs) ? null : maxEventTimeMs;
  return { epoch, from: body.readDoubleLE(0), to: body.readDoubleLE(8), maxEventTimeMs: time, table, outputs };
}
