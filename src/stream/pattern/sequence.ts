/**
 * Owns the matching of sequences over keyed state: "at least n of this, then one of that, all within so long". A small
 * non-deterministic automaton (NFA) of which one run a key is kept, in four columns. Neighbours: a domain's patterns
 * declare the stages and act on the outcome; the keyed state stores the run; the task fires its timer.
 *
 * A run takes each element once, by the first rule that fits:
 *   1. the present stage has its `atLeast` matches and the element matches the next stage → go there;
 *   2. the element matches the present stage → count it;
 *   3. otherwise the element is passed over (matches need not be adjacent).
 * The run completes when the last stage has its `atLeast` matches; nothing is kept of it then.
 *
 * S1 All elements of a match lie within `withinMs` by event time.
 * S2 The window slides: when an element comes after the run's end, the run is made anew from those first-stage matches
 *    that still lie within its reach, as the key's history remembers them. So no match is missed for where a run began.
 *    A run that had left the first stage falls back to it.
 * S3 A run has a timer from its first match on. It is never put off while it is pending: a steady stream of first-stage
 *    matches can't keep a run from expiring.
 * S4 Elements out of order: one before the run's start counts for the first stage, if within its reach, and moves the
 *    start back; it never leads on to a later stage. The first stage is left only on enough matches at or before the element;
 *    between later stages the order is that of arrival.
 */
import type { TimerColumn } from '../state/layout.js';

/** One stage. `matches` must depend on the element alone. */
export interface SequenceStage<E> {
  readonly name: string;
  /** Matches needed before the run may go on, 1 to 255. */
  readonly atLeast: number;
  matches(element: E, row: number): boolean;
}

/** The run of each key, by slot. `stage` and `count` are of the present stage; `startedAt` 0 is no run. */
export interface RunColumns {
  readonly stage: Uint8Array;
  /** Saturates at 255. */
  readonly count: Uint8Array;
  readonly startedAt: Float64Array;
  readonly expires: TimerColumn;
}

/**
 * What the key's history remembers of earlier first-stage matches, the element at hand left out. `read` puts its answer
 * into the two fields: one object serves every key without allocation.
 */
export interface FirstStageHistory {
  /** Matches found, and the event time of the earliest one (0 where none). */
  count: number;
  firstAtMs: number;
  /** Looks for first-stage matches with an event time in [fromMs, toMs]. */
  read(slot: number, fromMs: number, toMs: number): void;
}

/** `completed`: this element was the last one needed. `matched`: it was taken. */
export const SEQUENCE_STEP = { passed: 0, matched: 1, completed: 2 } as const;
export type SequenceStep = (typeof SEQUENCE_STEP)[keyof typeof SEQUENCE_STEP];

const MAX_MATCHES = 255;

export class SequenceMatcher<E> {
  /** Event time of the first match of the run that `advance` completed last. Valid until the next call. */
  completedSinceMs = 0;

  constructor(
    private readonly stages: readonly SequenceStage<E>[],
    private readonly withinMs: number,
    private readonly run: RunColumns,
    private readonly history: FirstStageHistory,
  ) {
    if (stages.length < 2) throw new RangeError(`a sequence has at least 2 stages, got ${stages.length}`);
    if (!(withinMs > 0)) throw new RangeError(`a sequence's time must be above 0 ms, got ${withinMs}`);
    for (const { name, atLeast } of stages) {
      if (Number.isInteger(atLeast) && atLeast >= 1 && atLeast <= MAX_MATCHES) continue;
      throw new RangeError(
        `stage ${name} needs ${atLeast} matches; it must be a whole number from 1 to ${MAX_MATCHES}`,
      );
    }
  }

  /** Shows the run of `slot` an element at event time `timeMs`. */
  advance(element: E, row: number, slot: number, timeMs: number): SequenceStep {
    const { startedAt } = this.run;
    const isEarly = startedAt[slot] !== 0 && timeMs < startedAt[slot];
    if (startedAt[slot] !== 0 && timeMs > startedAt[slot] + this.withinMs) this.slide(slot, timeMs);
    if (startedAt[slot] === 0 || isEarly) return this.takeFirst(element, row, slot, timeMs);
    return this.takeNext(element, row, slot, timeMs);
  }

  /**
   * The run's timer came due. Returns how many first-stage matches expired with it: those in [dueMs − within, dueMs].
   * At `reportFrom` matches or more the caller tells of them, which shall happen once: the next timer waits for matches
   * after `dueMs`. Later elements can complete a sequence with them all the same, as long as they are in reach (S2).
   */
  expire(slot: number, dueMs: number, reportFrom: number): number {
    const { startedAt, expires } = this.run;
    if (expires.due[slot] === dueMs) expires.clear(slot);
    const beganMs = dueMs - this.withinMs;
    this.history.read(slot, beganMs, dueMs);
    const expired = this.history.count;
    // A run anchored later than the timer's own start has slid on; else it ends here and what is left begins anew.
    if (startedAt[slot] !== 0 && startedAt[slot] <= beganMs) this.begin(slot, nextAfter(beganMs), Infinity);
    this.history.read(slot, nextAfter(expired >= reportFrom ? dueMs : beganMs), Infinity);
    if (this.history.count > 0) expires.set(slot, this.history.firstAtMs + this.withinMs);
    return expired;
  }

  /** S2: what of the first stage is still within reach of an element at `timeMs`. */
  private slide(slot: number, timeMs: number): void {
    this.begin(slot, timeMs - this.withinMs, timeMs);
  }

  private begin(slot: number, fromMs: number, toMs: number): void {
    const { run, history } = this;
    history.read(slot, fromMs, toMs);
    run.stage[slot] = 0;
    run.count[slot] = Math.min(history.count, MAX_MATCHES);
    run.startedAt[slot] = history.count > 0 ? history.firstAtMs : 0;
  }

  /** An element that can only begin a run or lengthen it at its front (S4). */
  private takeFirst(element: E, row: number, slot: number, timeMs: number): SequenceStep {
    const { run } = this;
    const startedAt = run.startedAt[slot];
    if (startedAt - timeMs > this.withinMs) return SEQUENCE_STEP.passed;
    if (run.stage[slot] !== 0 || !this.stages[0].matches(element, row)) return SEQUENCE_STEP.passed;
    run.startedAt[slot] = timeMs;
    run.count[slot] = startedAt === 0 ? 1 : Math.min(run.count[slot] + 1, MAX_MATCHES);
    if (run.expires.due[slot] === 0) run.expires.set(slot, timeMs + this.withinMs);
    return SEQUENCE_STEP.matched;
  }

  private takeNext(element: E, row: number, slot: number, timeMs: number): SequenceStep {
    const { run, stages } = this;
    const stage = run.stage[slot];
    const hasEnough = stage < stages.length - 1 && run.count[slot] >= stages[stage].atLeast;
    if (hasEnough && stages[stage + 1].matches(element, row) && this.isInOrder(stage, slot, timeMs)) {
      run.stage[slot] = stage + 1;
      run.count[slot] = 1;
    } else if (stages[stage].matches(element, row)) {
      run.count[slot] = Math.min(run.count[slot] + 1, MAX_MATCHES);
      // None is pending where earlier matches were reported: these new ones have their own time from here.
      if (run.expires.due[slot] === 0) run.expires.set(slot, timeMs + this.withinMs);
    } else {
      return SEQUENCE_STEP.passed;
    }
    const isLast = run.stage[slot] === stages.length - 1;
    if (!isLast || run.count[slot] < stages[stages.length - 1].atLeast) return SEQUENCE_STEP.matched;
    this.completedSinceMs = run.startedAt[slot];
    this.end(slot);
    return SEQUENCE_STEP.completed;
  }

  /** Of the counted first-stage matches some may lie after this element by event time, where elements came late (S4). */
  private isInOrder(stage: number, slot: number, timeMs: number): boolean {
    if (stage > 0) return true;
    this.history.read(slot, timeMs - this.withinMs, timeMs);
    return this.history.count >= this.stages[0].atLeast;
  }

  private end(slot: number): void {
    const { run } = this;
    run.stage[slot] = 0;
    run.count[slot] = 0;
    run.startedAt[slot] = 0;
    run.expires.clear(slot);
  }
}

/** Event times are whole ms. */
function nextAfter(timeMs: number): number {
  return timeMs + 1;
}
