/** Owns what all processes of a schedule share. */
import type { MemoryObjects } from '../memory-objects.js';
import type { FaultPlan } from './faults.js';
import type { SeededRandom } from './random.js';
import type { SchedulePlan } from './schedule-plan.js';
import type { SimulatedDisks, SimulatedSnapshots } from './simulated-disk.js';
import type { SimulatedLog } from './simulated-log.js';
import type { ProcessSurroundings } from './simulated-process.js';

export interface World extends ProcessSurroundings {
  readonly plan: SchedulePlan;
  readonly random: SeededRandom;
  readonly faults: FaultPlan;
  readonly log: SimulatedLog;
  readonly disks: SimulatedDisks;
  readonly snapshots: SimulatedSnapshots;
  /** Holds savepoints. */
  readonly objects: MemoryObjects;
  readonly figures: { crashes: number; fenced: number; savepoints: number; rescales: number };
}
