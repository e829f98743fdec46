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
  /** Savepoints taken while all of it goes on. */
  readonly savepoints: number;
  /** Null: the pipeline keeps its first generation. */
  readonly rescale: RescalePlan | null;
}

export interface RescalePlan {
  /** The source gets more partitions; or producers go over to another topic. */
  readonly source: 'grown' | 'another';
  /** Of the second generation. */
  readonly partitions: number;
  /** Records written once the source has changed, and how long that takes. */
  readonly records: number;
  readonly feedMs: number;
  /** Whether machines are stopped before; else whoever still runs finds out by himself. */
  readonly stopsMachines: boolean;
  /** Share of the operator's tries that are cut short somewhere. */
  readonly cuts: number;
  /** Share of the tries that take back what was begun instead of going on. */
  readonly undos: number;
}

/** Longer than any pause, outage and retry of a schedule: only a source that has ended is idle for so long. */
const IDLE_TIMEOUT_MS = 60_000;

/** `operators` decides of savepoints and rescales alone. */
export function drawPlan(random: SeededRandom, operators: SeededRandom): SchedulePlan {
  const plan = drawTasks(random);
  const savepoints = operators.chance(0.2) ? operators.int(1, 3) : 0;
  const rescale = operators.chance(0.2) ? drawRescale(operators) : null;
  if (rescale === null) return { ...plan, savepoints, rescale };
  const { source } = rescale;
  const partitions = source === 'grown' ? operators.int(1, rescale.partitions - 1) : operators.int(1, 3);
  const records = Math.min(plan.records, operators.int(10, 60));
  return { ...plan, partitions, records, savepoints, rescale };
}

function drawRescale(random: SeededRandom): RescalePlan {
  const source = random.pick(['grown', 'grown', 'another'] as const);
  return {
    source,
    partitions: source === 'grown' ? random.int(2, 4) : random.int(1, 4),
    records: random.int(10, 80),
    feedMs: random.pick([300, 2_000, 6_000]),
    stopsMachines: random.chance(0.5),
    cuts: random.pick([0, 0.3, 0.7]),
    undos: random.pick([0, 0.2, 0.5]),
  };
}

function drawTasks(random: SeededRandom): Omit<SchedulePlan, 'savepoints' | 'rescale'> {
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
