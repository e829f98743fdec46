/**
 * Owns an operator of a schedule: somebody who runs a command until it has done its work. The command's process meets
 * what any process meets; it is run again after a while, whatever became of it. Neighbours: `savepoint-job.ts` and
 * `rescale-job.ts` are the commands.
 */
import type { ProcessFault } from './faults.js';
import { Violation } from './journal.js';
import { SimulatedProcess } from './simulated-process.js';
import type { World } from './world.js';

export interface Job {
  readonly name: string;
  /** Share of the tries that are cut short by a crash at some step. */
  readonly cuts: number;
  /** Resolves with whether all of it is done. Rejects with what a person would be told. */
  run(process: SimulatedProcess): Promise<boolean>;
  /** After every try, dead or alive. */
  ended?(): void;
}

/** More tries than any trouble lasts. */
const MOST_TRIES = 150;
/** Steps of a try after which it is cut short, at most. */
const LATEST_CUT = 250;

export class Operator {
  isDone = false;
  /** What must fail the schedule, if anything did. */
  violation: unknown = null;
  private tries = 0;

  constructor(
    private readonly world: World,
    private readonly job: Job,
    /** Whether an error was put in, or is one that a person would try again after. */
    private readonly isExpected: (error: unknown) => boolean,
  ) {}

  begin(): void {
    const { random, time, faults, trace } = this.world;
    const { job } = this;
    this.tries += 1;
    let isOver = false;
    const end = (what: string, isDone: boolean) => {
      if (isOver) return;
      isOver = true;
      trace.note(`${process.name} ${what}`);
      process.kill();
      job.ended?.();
      this.isDone = isDone;
      if (this.tries > MOST_TRIES) this.violation ??= new Violation('operator', `${job.name} comes to no end: ${what}`);
      else if (!isDone) time.schedule(random.skewed(20, 2_000), () => this.begin());
    };
    const process: SimulatedProcess = new SimulatedProcess(`${job.name}.${this.tries}`, this.world, (fault) =>
      this.befall(process, fault, () => end('dies', false)),
    );
    trace.note(`${process.name} starts`);
    if (faults.active && random.chance(job.cuts)) process.crashAfter(Math.ceil(random.skewed(0, LATEST_CUT)));
    job.run(process).then(
      (isDone) => end(isDone ? 'is done' : 'ends', isDone),
      (error: unknown) => {
        if (!this.isExpected(error)) this.violation ??= error;
        end(`gives up: ${error instanceof Error ? error.message : String(error)}`, false);
      },
    );
  }

  private befall(process: SimulatedProcess, fault: ProcessFault, die: () => void): void {
    const { random, time } = this.world;
    if (fault === 'crash') {
      die();
      return;
    }
    if (fault !== 'pause' || process.isPaused) return;
    process.pause();
    time.schedule(random.skewed(5, 15_000), () => process.resume());
  }
}
