/**
 * Owns what the oracle knows of commits: the head of every epoch whose commit was decided, read from the state log by
 * this file's own few lines, and the records that went with it. It is told at the moment of the decision and refuses on
 * the spot what must never be committed or truncated.
 */
import { crc32 } from 'node:zlib';
import type { MemoryRecord } from '../memory-partition.js';
import type { LogTransaction, SimulatedPartition } from './simulated-partition.js';
import { TOPICS } from './simulated-pipeline.js';

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

export interface JournalOptions {
  readonly retained: number;
  /** Snapshots kept of a task, with what the pointers may rely on. */
  snapshots(taskId: string): readonly string[];
}

const HEAD_BYTES = 24;

export class Journal {
  private readonly epochs: JournalledEpoch[][];
  private readonly pointers: Pointer[][];
  committedEpochs = 0;
  completedCheckpoints = 0;

  constructor(
    partitions: number,
    private readonly options: JournalOptions,
  ) {
    this.epochs = Array.from({ length: partitions }, () => []);
    this.pointers = Array.from({ length: partitions }, () => []);
  }

  of(partition: number): readonly JournalledEpoch[] {
    return this.epochs[partition];
  }

  /** -1: none. */
  lastEpoch(partition: number): number {
    return this.epochs[partition].at(-1)?.epoch ?? -1;
  }

  /** Source offset up to which a partition is committed. */
  committedTo(partition: number): number {
    return this.epochs[partition].at(-1)?.to ?? 0;
  }

  onCommit(taskId: string, transaction: LogTransaction): JournalledEpoch {
    const outputs: MemoryRecord[] = [];
    const stateLog: MemoryRecord[] = [];
    for (const [partition, first] of transaction.parts) {
      for (let offset = first; offset < partition.end; offset++) {
        const record = partition.record(offset);
        if (record === null || !partition.belongsTo(offset, transaction)) continue;
        (partition.topic === TOPICS.stateLog ? stateLog : outputs).push(record);
      }
    }
    const bodies = wholeRecords(stateLog);
    const deltas = bodies.filter(({ kind }) => kind === 1);
    if (deltas.length !== 1) throw new Violation('I2', `${taskId} commits ${deltas.length} deltas in one epoch`);
    const head = readHead(taskId, deltas[0], outputs);
    const partition = Number(taskId.slice(taskId.lastIndexOf('-') + 1));
    this.check(taskId, head, this.epochs[partition].at(-1));
    this.epochs[partition].push(head);
    this.committedEpochs += 1;
    for (const { kind, body } of bodies) {
      if (kind !== 2) continue;
      this.pointers[partition].push(JSON.parse(body.toString('utf8')) as Pointer);
      this.completedCheckpoints += 1;
    }
    return head;
  }

  /** The log may forget what at least `retained` complete checkpoints do not need. */
  onTruncate(partition: SimulatedPartition, offset: number): void {
    if (offset <= partition.start) return;
    const kept = new Set(this.options.snapshots(`simulated-${partition.partition}`));
    const usable = this.pointers[partition.partition].filter(
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

  private check(taskId: string, head: JournalledEpoch, before: JournalledEpoch | undefined): void {
    const fail = (what: string) => {
      throw new Violation('I2', `${taskId} commits epoch ${head.epoch} (${head.from} to ${head.to}), ${what}`);
    };
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
