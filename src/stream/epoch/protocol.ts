/**
 * Owns the decisions of the epoch commit: pure functions over plain data, no I/O and no clock. The task obeys them in
 * production and in the simulator alike. Neighbours: `runtime/task.ts` does what they say.
 *
 *   (none open) ──open──► OPEN ──close──► IN FLIGHT ──committed──► durable
 *                           │                 ├─ in doubt ─► everything in memory goes, fence, read the log (I3, I4)
 *                           │                 └─ fenced ───► everything in memory goes, stop (I4)
 *                           └ grows while the one before is in flight; there is at most one of each
 */

/** When an open epoch is to be closed. Sizes are bounds, times in ms. */
export interface EpochLimits {
  /** A waiting alert is committed once this long has passed since the last close: 20 ms means 50 commits/s at most. */
  readonly promptMs: number;
  /** Other waiting outputs (dead letters). */
  readonly maxMs: number;
  /** Nothing but state waits: nobody sees it, so fewer and larger epochs. */
  readonly idleMs: number;
  readonly maxRecords: number;
  readonly maxBytes: number;
}

/** The epoch that records flow into. Numbers are contiguous, offsets join on (I2). */
export interface OpenEpoch {
  readonly epoch: number;
  readonly from: number;
  to: number;
  records: number;
  /** Bytes of its outputs so far. */
  outputBytes: number;
  outputs: number;
  promptOutputs: number;
  readonly openedAtMs: number;
}

export interface EpochState {
  /** Number that the next epoch to be opened gets. */
  nextEpoch: number;
  /** Source offset that it begins at. */
  nextOffset: number;
  open: OpenEpoch | null;
  inFlight: OpenEpoch | null;
  lastClosedAtMs: number;
}

/** As recovery left it: epoch `lastEpoch` (-1: none) is durable, the source goes on at `nextOffset`. */
export function recovered(lastEpoch: number, nextOffset: number): EpochState {
  return {
    nextEpoch: lastEpoch + 1,
    nextOffset,
    open: null,
    inFlight: null,
    lastClosedAtMs: Number.NEGATIVE_INFINITY,
  };
}

/** Opens the next epoch if none is open; returns the open one. */
export function ensureOpen(state: EpochState, nowMs: number): OpenEpoch {
  if (state.open !== null) return state.open;
  state.open = {
    epoch: state.nextEpoch,
    from: state.nextOffset,
    to: state.nextOffset,
    records: 0,
    outputBytes: 0,
    outputs: 0,
    promptOutputs: 0,
    openedAtMs: nowMs,
  };
  state.nextEpoch += 1;
  return state.open;
}

/** Counts a processed batch into the open epoch. */
export function extend(state: EpochState, toOffset: number, records: number): void {
  const { open } = state;
  if (open === null) throw new Error('no epoch is open');
  if (toOffset < open.to) throw new Error(`epoch ${open.epoch} would go back from offset ${open.to} to ${toOffset}`);
  open.to = toOffset;
  open.records += records;
  state.nextOffset = toOffset;
}

/** Ms until the open epoch is due to close: 0 is now, Infinity is never (none open, or one still in flight). */
export function closeDueInMs(state: EpochState, limits: EpochLimits, nowMs: number): number {
  const { open } = state;
  if (open === null || state.inFlight !== null) return Number.POSITIVE_INFINITY;
  if (open.records >= limits.maxRecords || open.outputBytes >= limits.maxBytes) return 0;
  const age = nowMs - open.openedAtMs;
  // The first epoch after a recovery holds what the outage held up: as prompt as an alert.
  if (open.promptOutputs > 0 || state.lastClosedAtMs === Number.NEGATIVE_INFINITY) {
    return Math.max(0, Math.min(state.lastClosedAtMs + limits.promptMs - nowMs, limits.maxMs - age));
  }
  return Math.max(0, (open.outputs > 0 ? limits.maxMs : limits.idleMs) - age);
}

/** Whether the open epoch may take no more: reading waits for the one in flight. */
export function isFull(state: EpochState, limits: EpochLimits): boolean {
  const { open } = state;
  return open !== null && (open.records >= limits.maxRecords || open.outputBytes >= limits.maxBytes);
}

/** The open epoch goes into flight. */
export function close(state: EpochState, nowMs: number): OpenEpoch {
  const { open } = state;
  if (open === null) throw new Error('no epoch is open');
  if (state.inFlight !== null) throw new Error(`epoch ${state.inFlight.epoch} is still in flight`);
  state.inFlight = open;
  state.open = null;
  state.lastClosedAtMs = nowMs;
  return open;
}

/** The epoch in flight is durable. */
export function committed(state: EpochState): OpenEpoch {
  const { inFlight } = state;
  if (inFlight === null) throw new Error('no epoch is in flight');
  state.inFlight = null;
  return inFlight;
}

export type CommitFailure = 'fenced' | 'in-doubt' | 'fatal';

/** What a task does after a commit failed. */
export function afterFailure(failure: CommitFailure): 'stop' | 'recover' | 'fail' {
  if (failure === 'fenced') return 'stop';
  return failure === 'in-doubt' ? 'recover' : 'fail';
}
