/**
 * Owns everything a task holds in memory between one recovery and the next trouble: hot state, the open epoch, the
 * commit in flight, timers. It processes batches in order and commits epochs; when a commit is in doubt the whole
 * session is dropped and the next one begins from the log (I3, I4).
 * Neighbours: `task.ts` makes sessions; `frames.ts` prepares batches; `epoch/protocol.ts` decides when to close.
 */
import type { Checkpoints } from '../checkpoint/checkpoints.js';
import { encodeDelta } from '../epoch/delta.js';
import * as protocol from '../epoch/protocol.js';
import { StreamError } from '../errors.js';
import type { StepBatch } from '../pipeline/batch.js';
import { deadLetters } from '../pipeline/dead-letters.js';
import type { FiredTimer, Outputs, PipelineDefinition } from '../pipeline/pipeline.js';
import type { Clock, CommitReceipt, EpochLog, PartitionReader } from '../ports.js';
import type { OutputRecord } from '../records.js';
import { ByteWriter } from '../state/byte-writer.js';
import type { KeyedState } from '../state/keyed-state.js';
import type { LayoutFields } from '../state/layout.js';
import type { ResumePoint } from '../state/stored-form.js';
import type { WriteBehind } from '../state/write-behind.js';
import type { TimerQueue } from '../time/timer-queue.js';
import type { Watermark } from '../time/watermark.js';
import type { BroadcastInputs } from './broadcast-inputs.js';
import type { TaskFigures } from './figures.js';
import { type Frame, Frames } from './frames.js';
import type { OpenedSteps } from './opened-steps.js';
import { MAX_TRIES_FOR_ROOM, noRoom } from './room.js';
import type { Signal } from './signal.js';
import type { SourceKeys } from './source-keys.js';

export interface SessionParts<B extends StepBatch, F extends LayoutFields> {
  readonly definition: PipelineDefinition<B, F>;
  readonly taskId: string;
  readonly partition: number;
  readonly clock: Clock;
  readonly signal: Signal;
  readonly figures: TaskFigures;
  readonly limits: protocol.EpochLimits;
  readonly batchRecords: number;
  readonly idleTimeoutMs: number;
  readonly recovered: ResumePoint;
  readonly startOffset: number;
  readonly reader: PartitionReader;
  readonly epochLog: EpochLog;
  readonly state: KeyedState<F>;
  readonly writeBehind: WriteBehind;
  readonly checkpoints: Checkpoints;
  readonly timers: TimerQueue;
  readonly watermark: Watermark;
  readonly steps: OpenedSteps<B>;
  readonly broadcasts: BroadcastInputs;
  readonly keys: SourceKeys | null;
}

/** Timers taken off the queue at a time. */
const TIMERS_AT_ONCE = 1024;
const LONGEST_WAIT_MS = 500;
/** Timers of one key that may fire in a row without event time going on: past this a step sets them in a circle. */
const MAX_FIRED_WITHOUT_PROGRESS = 1_000;
/** A checkpoint under way when a session ends may end within this; one that does not is given up, the one before serves. */
const LONGEST_CHECKPOINT_WAIT_MS = 1_000;

export class Session<B extends StepBatch, F extends LayoutFields> implements Outputs {
  /** The newest durable position. */
  committed: ResumePoint;
  private readonly epochs: protocol.EpochState;
  private readonly frames: Frames<B, F>;
  private outputs: OutputRecord[] = [];
  private commit: Promise<void> | null = null;
  private failure: unknown = null;
  private stopping = false;
  private readable: Promise<void> | null = null;
  private updated: Promise<void> | null = null;
  private lastRecordAtMs: number;
  private readonly delta = new ByteWriter(1 << 20);

  constructor(private readonly parts: SessionParts<B, F>) {
    this.committed = parts.recovered;
    this.epochs = protocol.recovered(parts.recovered.epoch, parts.startOffset);
    this.frames = new Frames(
      parts,
      () => this.makeRoom(),
      () => this.stopping || this.failure !== null,
    );
    this.lastRecordAtMs = parts.clock.monotonic();
  }

  get openEpoch(): number {
    return this.epochs.open?.epoch ?? this.epochs.nextEpoch;
  }

  /** Nothing read is waiting to be committed. */
  get settled(): boolean {
    return this.epochs.open === null && this.epochs.inFlight === null && !this.frames.inUse;
  }

  /** Processes until `stop`, then commits what is open and brings the state to the store. Throws what ends the session. */
  async run(): Promise<void> {
    // A start position that was configured, not recovered, is made durable first: else a crash would choose anew.
    if (this.parts.recovered.sourceOffset === null) this.open();
    // Timers that were due when the last epoch closed, and that it had no room for.
    await this.fireDueTimers();
    let current: Frame<B> | null = null;
    for (;;) {
      this.check();
      if (this.stopping && current === null) break;
      const next: Frame<B> | null = this.stopping ? null : await this.frames.fill();
      if (this.frames.stop !== null) this.stopping = true;
      if (current !== null) await this.process(current);
      else if (next === null && this.frames.stop === null) await this.rest();
      current = next;
      this.frames.release(current);
      this.closeIfDue();
      if (!this.stopping) this.parts.checkpoints.startIfDue(this.parts.writeBehind.stored);
    }
    await this.finish();
    if (this.frames.stop !== null) throw this.frames.stop;
  }

  /** After `run` threw: waits until nothing of this session is under way any more. Never throws. */
  async abandon(): Promise<void> {
    this.failure ??= new Error('the session was abandoned');
    while (this.commit !== null) await this.commit;
    await this.parts.writeBehind.idle().catch(() => {}); // its failure ended the session and is known
    await this.atMost(LONGEST_CHECKPOINT_WAIT_MS, this.parts.checkpoints.idle());
  }

  stop(): void {
    this.stopping = true;
    this.parts.signal.wake();
  }

  /** {@link Outputs}: into the open epoch. */
  emit(record: OutputRecord, { prompt }: { readonly prompt: boolean }): void {
    const open = this.open();
    this.outputs.push(record);
    open.outputs += 1;
    open.outputBytes += 64 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
    if (prompt) open.promptOutputs += 1;
  }

  private check(): void {
    if (this.failure !== null) throw this.failure;
    this.parts.writeBehind.check();
  }

  /** The open epoch; a new one begins with the broadcast updates that arrived since the last. */
  private open(): protocol.OpenEpoch {
    const { open } = this.epochs;
    if (open !== null) return open;
    const { broadcasts, clock } = this.parts;
    broadcasts.applyPending();
    const opened = protocol.ensureOpen(this.epochs, clock.monotonic());
    for (const state of broadcasts.takeUpdated()) state.took?.(this, opened.from);
    return opened;
  }

  private async process(frame: Frame<B>): Promise<void> {
    const { definition, clock, figures, steps } = this.parts;
    const { batch } = frame;
    await frame.ready;
    await this.waitForRoomInEpoch();
    const { epoch } = this.open();
    this.lastRecordAtMs = clock.monotonic();
    const place = {
      deadLetterTopic: definition.deadLetters.topic,
      sourceTopic: definition.source.topic,
      partition: this.parts.partition,
      pipelineVersion: definition.version,
    };
    for (const { recordIndex, code, message, details } of frame.rejected) {
      const origin = definition.source.originOf?.(batch.records, recordIndex) ?? null;
      const from = origin === null ? place : { ...place, origin };
      for (const record of deadLetters(batch.records, recordIndex, code, message, from, clock.now(), details)) {
        this.emit(record, { prompt: false });
      }
      figures.count(`dead-letters.${code}`);
    }
    this.runKeyedSteps(batch, epoch);
    for (const step of steps.batchSteps) {
      const pending = step.apply(batch, this);
      if (pending !== undefined) await pending;
    }
    figures.records += batch.records.count;
    figures.deadLetters += frame.rejected.length;
    protocol.extend(this.epochs, batch.records.nextOffset, batch.records.count);
    await this.fireDueTimers();
  }

  /**
   * Row by row in offset order. The watermark a row meets depends on the rows before it alone, and a key's timers fire
   * before its next row: where the batch was cut makes no difference (I7).
   */
  private runKeyedSteps(batch: B, epoch: number): void {
    const { state, watermark, figures, steps } = this.parts;
    const { keyed } = steps;
    const { slot: slots, eventTimeMs, recordIndex, late, records } = batch;
    const hasTimers = state.codec.timers.length > 0;
    let lateRows = 0;
    for (let row = 0; row < batch.count; row++) {
      const slot = slots[row];
      const nowMs = watermark.currentMs;
      const isLate = eventTimeMs[row] < nowMs ? 1 : 0;
      late[row] = isLate;
      lateRows += isLate;
      if (keyed.length > 0) state.touch(slot, epoch);
      if (hasTimers) this.fireTimersOf(slot, nowMs);
      for (let step = 0; step < keyed.length; step++) keyed[step].apply(batch, row, slot);
      watermark.observe(eventTimeMs[row], records.timestampMs[recordIndex[row]]);
    }
    figures.late += lateRows;
  }

  /**
   * Fires a key's due timers, earliest first, those too that firing sets: the order is that of their due times however
   * far the watermark moved at once, so it does not depend on where batches were cut (I7).
   */
  private fireTimersOf(slot: number, watermarkMs: number): void {
    const { timers } = this.parts.state.codec;
    let latestMs = 0;
    let withoutProgress = 0;
    for (;;) {
      let first = -1;
      for (let i = 0; i < timers.length; i++) {
        const due = timers[i].column.due[slot];
        if (due > 0 && due <= watermarkMs && (first < 0 || due < timers[first].column.due[slot])) first = i;
      }
      if (first < 0) return;
      const dueMs = timers[first].column.due[slot];
      withoutProgress = dueMs > latestMs ? 0 : withoutProgress + 1;
      if (withoutProgress > MAX_FIRED_WITHOUT_PROGRESS) throw timerLoop(timers[first].name, dueMs);
      latestMs = Math.max(latestMs, dueMs);
      this.fire({ field: timers[first].name, dueMs }, slot, first);
    }
  }

  private fire(timer: FiredTimer, slot: number, index: number): void {
    const { state, steps } = this.parts;
    state.touch(slot, this.open().epoch);
    state.codec.timers[index].column.clear(slot);
    for (const step of steps.keyed) step.onTimer?.(timer, slot, state.index.key(slot), this);
  }

  /** Fires the timers of other keys that the watermark has passed. */
  private async fireDueTimers(): Promise<void> {
    const { timers, watermark, state } = this.parts;
    let withoutRoom = 0;
    while (timers.nextDueMs <= watermark.currentMs) {
      const slots: number[] = [];
      while (slots.length < TIMERS_AT_ONCE) {
        const due = timers.popDue(watermark.currentMs);
        if (due === null) break;
        const slot = state.acquireHeld(due.key);
        if (slot < 0) {
          timers.push(due.key, due.dueMs);
          break;
        }
        slots.push(slot);
      }
      if (slots.length === 0) {
        if (++withoutRoom > MAX_TRIES_FOR_ROOM) throw noRoom(state.capacity);
        await this.makeRoom();
        continue;
      }
      withoutRoom = 0;
      // A key may be on its way in for the batch being prepared: wait for all loads, not just ours.
      await state.loaded();
      for (const slot of slots) this.fireTimersOf(slot, watermark.currentMs);
      state.letGo(slots);
      // A jump of the watermark can fire any number of them: the epoch keeps its bound all the same.
      await this.waitForRoomInEpoch();
    }
  }

  /** Nothing to process: closes, lets idle time pass for event time, or waits. */
  private async rest(): Promise<void> {
    const { clock, signal, reader, timers, idleTimeoutMs, watermark, broadcasts } = this.parts;
    const now = clock.monotonic();
    // Records that wait to be decoded are no idle source: event time must not run ahead of them.
    if (this.frames.waiting !== null) this.lastRecordAtMs = now;
    const idleMs = now - this.lastRecordAtMs;
    if (idleTimeoutMs > 0 && idleMs > idleTimeoutMs && timers.size > 0) {
      // Event time goes on at the pace of the clock, from where the source left it (I7).
      watermark.advanceTo(watermark.maxEventTimeMs + idleMs);
      this.lastRecordAtMs = now;
      await this.fireDueTimers();
    }
    if (this.parts.checkpoints.pointerWaits) this.open();
    // Without payments too a new rule set takes effect, and is told of, in an epoch of its own.
    if (this.epochs.open === null && broadcasts.applyPending()) this.open();
    if (this.closeIfDue()) return;
    const failed = (error: unknown) => {
      this.failure ??= error;
    };
    this.readable ??= (this.frames.waiting ?? reader.whenReadable(LONGEST_WAIT_MS)).catch(failed).then(() => {
      this.readable = null;
      signal.wake();
    });
    // While an epoch is open updates wait for the next one: to look out for them would go round in circles.
    if (this.epochs.open === null) {
      this.updated ??= broadcasts
        .whenPending(LONGEST_WAIT_MS)
        .catch(failed)
        .then(() => {
          this.updated = null;
          signal.wake();
        });
    }
    const dueMs = protocol.closeDueInMs(this.epochs, this.parts.limits, clock.monotonic());
    await signal.wait(Math.min(Math.ceil(dueMs), LONGEST_WAIT_MS));
  }

  private closeIfDue(): boolean {
    if (protocol.closeDueInMs(this.epochs, this.parts.limits, this.parts.clock.monotonic()) > 0) return false;
    this.close();
    return true;
  }

  /** Puts the open epoch in flight: one Kafka transaction, opened only now. */
  private close(): void {
    const { state, clock, watermark, writeBehind, epochLog, checkpoints, broadcasts } = this.parts;
    const now = clock.monotonic();
    const epoch = protocol.close(this.epochs, now);
    const maxEventTimeMs = Number.isFinite(watermark.maxEventTimeMs) ? watermark.maxEventTimeMs : null;
    const { cursors } = broadcasts;
    const { taskId } = this.parts;
    const head = { taskId, epoch: epoch.epoch, from: epoch.from, to: epoch.to, maxEventTimeMs, cursors };
    const stateLog = encodeDelta(this.delta, head, state, epochLog.maxRecordBytes);
    stateLog.push(...checkpoints.recordsFor(epoch.epoch));
    state.forgetChanged();
    writeBehind.sweep(epoch.epoch, now);
    const { outputs } = this;
    this.outputs = [];
    const point = { epoch: epoch.epoch, sourceOffset: epoch.to, maxEventTimeMs, cursors };
    this.commit = epochLog.commit({ outputs, stateLog }).then(
      (receipt) => this.onCommitted(epoch, point, receipt, now),
      (error: unknown) => {
        this.failure ??= error;
        this.commit = null;
        this.parts.signal.wake();
      },
    );
  }

  private onCommitted(
    epoch: protocol.OpenEpoch,
    point: Omit<ResumePoint, 'stateLogOffset'>,
    receipt: CommitReceipt,
    closedAtMs: number,
  ): void {
    const { figures, clock, writeBehind, checkpoints, signal } = this.parts;
    protocol.committed(this.epochs);
    this.commit = null;
    this.committed = { ...point, stateLogOffset: receipt.nextStateLogOffset };
    figures.alerts += epoch.promptOutputs;
    if (epoch.records > 0) figures.epochLatency.add(clock.monotonic() - epoch.openedAtMs);
    try {
      writeBehind.committed(this.committed, closedAtMs);
    } catch (error) {
      this.failure ??= error;
    }
    void checkpoints.committed();
    signal.wake();
  }

  private async commitSettled(): Promise<void> {
    while (this.commit !== null) await this.commit;
    this.check();
  }

  /** An epoch at its bound takes no more; the one before it must be durable first. */
  private async waitForRoomInEpoch(): Promise<void> {
    if (!protocol.isFull(this.epochs, this.parts.limits)) return;
    await this.commitSettled();
    this.closeIfDue();
  }

  /** Every hot slot is dirty or in use: commits what is open and writes until slots are clean. */
  private async makeRoom(): Promise<void> {
    const { writeBehind } = this.parts;
    await this.commitSettled();
    if (this.epochs.open !== null) this.close();
    await this.commitSettled();
    await writeBehind.idle();
    writeBehind.sweepAll(this.committed.epoch, this.committed.epoch);
    await writeBehind.idle();
  }

  private async atMost(ms: number, work: Promise<void>): Promise<void> {
    let cancel = () => {};
    const limit = new Promise<void>((resolve) => {
      cancel = this.parts.clock.schedule(ms, resolve);
    });
    await Promise.race([work, limit]);
    cancel();
  }

  /** A clean stop: the open epoch commits, the store takes everything, so that the next start replays nothing. */
  private async finish(): Promise<void> {
    const { writeBehind, checkpoints } = this.parts;
    await this.commitSettled();
    if (this.epochs.open !== null) this.close();
    await this.commitSettled();
    await this.atMost(LONGEST_CHECKPOINT_WAIT_MS, checkpoints.idle());
    await writeBehind.writeAll(this.committed.epoch);
  }
}

function timerLoop(field: string, dueMs: number): StreamError {
  return new StreamError(
    'timer-loop',
    `timer ${field} of one key came due over ${MAX_FIRED_WITHOUT_PROGRESS} times in a row, the last time at ${dueMs}: ` +
      'a step sets it anew for a time that has passed. A step must set timers later than the one that fired',
  );
}
