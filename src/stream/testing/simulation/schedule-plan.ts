/**
 * Owns what a schedule draws from its seed before anything happens: sizes, bounds and speeds, each from far too small to
 * comfortable, since other combinations break other things.
 */
import type { TaskOptions } from '../../runtime/task.js';
import type { SeededRandom } from './random.js';
import { TOPICS } from './simulated-pipeline.js';

export interface SchedulePlan {
  readonly partitions: number;
  readonly machines: number;
  readonly records: number;
  readonly keys: number;
  /** How records choose their keys: each alike, few of them mostly, or in turn, so that what is hot never stays so. */
  readonly spread: 'even' | 'skewed' | 'in-turn';
  readonly feedMs: number;
  readonly tableUpdates: number;
  /** Times that event time leaps ahead. */
  readonly leaps: number;
  readonly outOfOrdernessMs: number;
  readonly networkMs: number;
  readonly diskMs: number;
  readonly markerMs: number;
  readonly transactionMs: number;
  readonly maxRecordBytes: number;
  /** Share of lookups that hang. */
  readonly hangingLookups: number;
  /** Share of batches whose decoding has to wait, and whose scoring takes time. */
  readonly slowSteps: number;
  /** Things that befall whole machines, on average, while records come. */
  readonly mishaps: number;
  /** Time with mishaps after the last record. */
  readonly aftermathMs: number;
  readonly options: Omit<TaskOptions, 'stateDirectory'>;
  /** Machines keep standbys of what they do not own, with so many keys in memory; 0: they keep none. */
  readonly standbyHotKeys: number;
}

/** Longer than any pause, outage and retry of a schedule: only a source that has ended is idle for so long. */
const IDLE_TIMEOUT_MS = 60_000;

export function drawPlan(random: SeededRandom): SchedulePlan {
  const batchRecords = random.pick([1, 3, 8, 16]);
  const idles = random.chance(0.25);
  return {
    partitions: random.chance(0.7) ? 1 : 2,
    machines: random.pick([1, 2, 2, 3]),
    records: random.int(20, 140),
    keys: random.pick([3, 12, 40, 120]),
    spread: random.pick(['even', 'skewed', 'in-turn']),
    feedMs: random.pick([300, 2_000, 8_000]),
    tableUpdates: random.pick([0, 3, 12]),
    leaps: random.pick([0, 0, 2, 6]),
    outOfOrdernessMs: random.pick([0, 500, 1_500]),
    networkMs: random.pick([1, 5, 30]),
    diskMs: random.pick([0.5, 3, 25]),
    markerMs: random.pick([1, 10, 150]),
    transactionMs: random.pick([2_000, 6_000]),
    maxRecordBytes: random.pick([120, 400, 4_000]),
    hangingLookups: random.pick([0, 0, 0.1, 0.5]),
    slowSteps: random.pick([0, 0, 0.1, 0.5]),
    mishaps: random.pick([0, 1, 3, 8]),
    aftermathMs: idles ? 2.2 * IDLE_TIMEOUT_MS : random.pick([0, 2_000, 12_000]),
    options: {
      startFrom: 'earliest',
      epoch: {
        promptMs: random.pick([0, 5, 20]),
        maxMs: random.pick([5, 40, 150]),
        idleMs: random.pick([5, 60, 300]),
        maxRecords: random.pick([4, 20, 100]),
        maxBytes: random.pick([600, 4_000, 1 << 20]),
      },
      batchRecords,
      readBufferBytes: 1 << 16,
      hotKeys: Math.max(batchRecords * 3 + 2, random.pick([8, 24, 80])),
      maxTimers: 100_000,
      writeBehind: { ageMs: random.pick([0, 30, 400]), slotsAtOnce: random.pick([1, 4, 64]) },
      checkpoint: {
        intervalMs: random.pick([20, 150, 1_000]),
        minPauseMs: random.pick([0, 30]),
        timeoutMs: random.pick([60, 5_000]),
        retained: random.pick([2, 2, 3]),
        truncateLog: random.chance(0.85),
      },
      idleTimeoutMs: idles ? IDLE_TIMEOUT_MS : 0,
      stateLogTopic: TOPICS.stateLog,
    },
    standbyHotKeys: random.pick([0, 0, 6, 40]),
  };
}
