/**
 * Owns which faults a schedule meets: a few strikes aimed at one moment of one step, and trouble at random on top.
 * Neighbours: `simulated-process.ts` asks at every step what is to happen; `cluster.ts` carries out what concerns whole
 * processes. Every fault that came about is counted.
 */
import type { SeededRandom } from './random.js';

/** Requests to the log. The end of an epoch that carries a checkpoint's pointer has a name of its own. */
export const REMOTE_STEPS = [
  'fence',
  'produce',
  'end-epoch',
  'end-epoch-with-pointer',
  'log-range',
  'log-read',
  'truncate',
  'source-read',
  'table-read',
] as const;

/** Work on the local disk and on the snapshot store. */
export const LOCAL_STEPS = [
  'store-open',
  'store-read',
  'store-write',
  'store-scan',
  'store-close',
  'snapshot-take',
  'snapshot-upload',
  'snapshot-restore',
  'snapshot-list',
  'snapshot-delete',
  'disk',
] as const;

/** What only savepoints and rescales ask of the log, and of the store of savepoints. */
export const OPERATOR_REMOTE_STEPS = ['admin', 'end-epoch-with-seed', 'end-epoch-with-seal'] as const;
export const OPERATOR_LOCAL_STEPS = ['object-put', 'object-get', 'object-list', 'object-delete'] as const;

export type RemoteStep = (typeof REMOTE_STEPS)[number] | (typeof OPERATOR_REMOTE_STEPS)[number];
export type LocalStep = (typeof LOCAL_STEPS)[number] | (typeof OPERATOR_LOCAL_STEPS)[number];
export type Step = RemoteStep | LocalStep;

/** Before it is sent or done; done and not yet told; told. */
export const MOMENTS = ['before', 'applied', 'answered'] as const;
export type Moment = (typeof MOMENTS)[number];

/** What happens to a process. `take-over`: another one is given its partition, and this one is not told. */
export const PROCESS_FAULTS = ['crash', 'pause', 'take-over'] as const;
export type ProcessFault = (typeof PROCESS_FAULTS)[number];

/** What happens to a request or its answer. */
export const REQUEST_FAULTS = [
  'request-lost',
  'request-late',
  'request-doubled',
  'answer-lost',
  'answer-late',
  'retriable-error',
  'fatal-error',
] as const;
export type RequestFault = (typeof REQUEST_FAULTS)[number];

/** What happens to work on a disk. */
export const DISK_FAULTS = ['io-error', 'slow'] as const;
export type DiskFault = (typeof DISK_FAULTS)[number];

interface Strike {
  readonly step: Step;
  /** Strikes at the so-and-so-many-th time, counted down. */
  countdown: number;
  readonly fault: ProcessFault | RequestFault | DiskFault;
  readonly moment: Moment;
}

/** What one request or piece of work is to meet. */
export interface Fate<F> {
  readonly fault: F | null;
  readonly process: { readonly fault: ProcessFault; readonly moment: Moment } | null;
}

/** Steps that come seldom, or whose trouble needs something else to go wrong as well: aimed at more often. */
const AIMED_AT_MORE: readonly Step[] = [
  'store-read',
  'store-write',
  'store-write',
  'end-epoch-with-pointer',
  'truncate',
  'snapshot-take',
  'snapshot-upload',
  'snapshot-restore',
  'snapshot-delete',
  'snapshot-list',
];

const OPERATOR_STEPS: readonly Step[] = [...OPERATOR_REMOTE_STEPS, ...OPERATOR_LOCAL_STEPS];
const ALL_REMOTE_STEPS: ReadonlySet<Step> = new Set([...REMOTE_STEPS, ...OPERATOR_REMOTE_STEPS]);

export class FaultPlan {
  readonly counts = new Map<string, number>();
  /** False once everything is to come to rest. */
  active = true;
  /** Until then the log asks everybody to try again: its leaders and coordinators are on the move. */
  logMovesUntilMs = 0;
  private readonly strikes: Strike[] = [];
  private readonly requestFaultRate: number;
  private readonly diskFaultRate: number;
  private readonly requestFaults: readonly RequestFault[];

  /** With `hasOperators`, somebody takes savepoints or rescales: some strikes are aimed there. */
  constructor(
    private readonly random: SeededRandom,
    hasOperators: boolean,
  ) {
    const strikes = random.int(0, 7);
    for (let i = 0; i < strikes; i++) this.strikes.push(aimed(random, hasOperators && i % 3 === 0));
    this.requestFaultRate = random.pick([0, 0, 0.005, 0.02, 0.06]);
    this.diskFaultRate = random.pick([0, 0, 0.002, 0.01]);
    // Each schedule leaves some kinds out: one that is always there hides what another would show.
    const kinds = REQUEST_FAULTS.filter(() => random.chance(0.6));
    this.requestFaults = kinds.length > 0 ? kinds : ['answer-lost'];
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  ofRequest(step: RemoteStep): Fate<RequestFault> {
    const struck = this.strike(step);
    const named = REQUEST_FAULTS.find((fault) => fault === struck?.fault) ?? null;
    let fault = named;
    if (fault === null && this.active && this.random.chance(this.requestFaultRate)) {
      fault = this.random.pick(this.requestFaults);
    }
    if (fault !== null) this.count(fault);
    return { fault, process: processPart(struck) };
  }

  ofWork(step: LocalStep): Fate<DiskFault> {
    const struck = this.strike(step);
    let fault = DISK_FAULTS.find((one) => one === struck?.fault) ?? null;
    if (fault === null && this.active && this.random.chance(this.diskFaultRate)) fault = this.random.pick(DISK_FAULTS);
    if (fault !== null) this.count(fault);
    return { fault, process: processPart(struck) };
  }

  private strike(step: Step): Strike | null {
    if (!this.active) return null;
    let found: Strike | null = null;
    for (const strike of this.strikes) {
      if (strike.step !== step) continue;
      strike.countdown -= 1;
      if (strike.countdown === 0) found = strike;
    }
    return found;
  }
}

function aimed(random: SeededRandom, atOperators: boolean): Strike {
  const step = atOperators ? random.pick(OPERATOR_STEPS) : aimedStep(random);
  const own = ALL_REMOTE_STEPS.has(step) ? REQUEST_FAULTS : DISK_FAULTS;
  const fault = random.chance(0.5) ? random.pick(PROCESS_FAULTS) : random.pick<RequestFault | DiskFault>(own);
  const often = step === 'produce' || step === 'end-epoch' || step.endsWith('-read') || step === 'store-write';
  return { step, countdown: often ? random.int(1, 60) : random.int(1, 6), fault, moment: random.pick(MOMENTS) };
}

function aimedStep(random: SeededRandom): Step {
  if (random.chance(0.3)) return random.pick(AIMED_AT_MORE);
  return random.pick<Step>(random.chance(0.6) ? REMOTE_STEPS : LOCAL_STEPS);
}

function processPart(strike: Strike | null): Fate<never>['process'] {
  const fault = PROCESS_FAULTS.find((one) => one === strike?.fault);
  return strike === null || fault === undefined ? null : { fault, moment: strike.moment };
}
