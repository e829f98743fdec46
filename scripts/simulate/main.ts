/**
 * Owns `npm run simulate`: the real core on simulated time, with seeded faults, against an oracle.
 *
 *   npm run simulate -- [--schedules N] [--seed S] [--jobs J]      N schedules; the seed is printed
 *   npm run simulate -- --seed S --schedule K [--trace E]          one of them again, with its last E events
 *   npm run simulate -- --mutants [--only a,b] [--schedules N]     breaks the core in known ways: each must be caught
 *
 * Exit code 0: everything held (every mutant was caught). 1: not. 2: wrong flags. docs/SIMULATION.md says what is
 * simulated, what is checked, and what is not.
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { ScheduleResult } from '../../src/stream/testing/simulation/schedule.js';
import { MUTANTS } from './mutants.js';
import { startThread } from './running.js';
import { Summary } from './summary.js';

const SCHEDULES = 1_000;
/** A mutant that lives through so many is not caught. */
const SCHEDULES_A_MUTANT = 3_000;
const TRACED = 60;
const MOST_SHOWN = 3;
const PROGRESS_EVERY_MS = 5_000;

const say = (line: string) => process.stdout.write(`${line}\n`);

class UsageError extends Error {}

interface Options {
  readonly seed: number;
  readonly schedules: number | null;
  readonly schedule: number | null;
  readonly jobs: number;
  readonly traced: number;
  readonly mutants: readonly string[] | null;
}

function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      schedules: { type: 'string' },
      seed: { type: 'string' },
      schedule: { type: 'string' },
      jobs: { type: 'string', default: '1' },
      trace: { type: 'string', default: String(TRACED) },
      mutants: { type: 'boolean', default: false },
      only: { type: 'string' },
    },
  });
  const whole = (name: string, text: string, least: number) => {
    const number = Number(text);
    if (Number.isSafeInteger(number) && number >= least) return number;
    throw new UsageError(`--${name} must be a whole number of at least ${least}, got ${text}`);
  };
  const names = MUTANTS.map(({ name }) => name);
  const only = values.only?.split(',') ?? names;
  const unknown = only.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new UsageError(`there is no mutant ${unknown}; there are ${names.join(', ')}`);
  return {
    seed: values.seed === undefined ? randomInt(2 ** 31) : whole('seed', values.seed, 0),
    schedules: values.schedules === undefined ? null : whole('schedules', values.schedules, 1),
    schedule: values.schedule === undefined ? null : whole('schedule', values.schedule, 0),
    jobs: whole('jobs', values.jobs, 1),
    traced: whole('trace', values.trace, 1),
    mutants: values.mutants ? only : null,
  };
}

function tellFailure({ seed, schedule, failure, lastEvents, hash }: ScheduleResult): void {
  say('');
  say(`schedule ${schedule} of seed ${seed} failed: ${failure}`);
  for (const event of lastEvents) say(`    ${event}`);
  say(`  events so far hash to ${hash}; the same again: npm run simulate -- --seed ${seed} --schedule ${schedule}`);
}

/** Runs schedules `first` to `end - 1` of a seed; gives the exit code. */
async function simulate(options: Options, first: number, end: number): Promise<number> {
  const { seed, traced } = options;
  const summary = new Summary();
  const jobs = Math.min(options.jobs, end - first);
  const threads = Array.from({ length: jobs }, (_, job) =>
    startThread({ seed, first: first + job, end, step: jobs, mutant: null, traced }, (result) => {
      summary.add(result);
      if (result.failure !== null && summary.failed.length <= MOST_SHOWN) tellFailure(result);
    }),
  );
  const progress = setInterval(() => say(summary.progress(end - first)), PROGRESS_EVERY_MS);
  const ends = await Promise.all(threads.map(({ ended }) => ended)).finally(() => clearInterval(progress));
  say('');
  for (const line of summary.lines()) say(line);
  const isComplete = summary.schedules === end - first;
  if (!isComplete) say(`only ${summary.schedules} of ${end - first} schedules came to an end: ${ends.join(', ')}`);
  if (summary.failed.length > 0) {
    say(`failed: ${summary.failed.map(({ schedule }) => schedule).join(', ')} of seed ${seed}`);
  }
  return isComplete && summary.failed.length === 0 ? 0 : 1;
}

interface Hunted {
  readonly is: 'caught' | 'alive' | 'unclear';
  readonly after: number;
  readonly by: string;
}

/** Runs schedules on a core with the mutant in it until one fails. */
async function hunt(mutant: string, { seed, ...options }: Options): Promise<Hunted> {
  const end = options.schedules ?? SCHEDULES_A_MUTANT;
  let after = 0;
  let by: string | null = null;
  const how = await startThread({ seed, first: 0, end, step: 1, mutant, traced: 1 }, (result) => {
    after += 1;
    by ??= result.failure;
  }).ended;
  if (by === null && how === 'hung') return { is: 'caught', after: after + 1, by: 'a schedule that never ended' };
  if (by === null) return { is: 'alive', after, by: 'nothing' };
  // What fails without the mutant as well says nothing of it.
  let isClean = false;
  await startThread({ seed, first: after - 1, end: after, step: 1, mutant: null, traced: 1 }, ({ failure }) => {
    isClean = failure === null;
  }).ended;
  return { is: isClean ? 'caught' : 'unclear', after, by };
}

async function huntAll(options: Options, names: readonly string[]): Promise<number> {
  let caught = 0;
  const waiting = MUTANTS.filter(({ name }) => names.includes(name));
  const huntNext = async () => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const { is, after, by } = await hunt(mutant.name, options);
      if (is === 'caught') caught += 1;
      say(`${is === 'caught' ? 'caught' : is.toUpperCase()}  ${mutant.name} (${mutant.breaks}): ${after} schedules`);
      if (is === 'unclear') say(`  schedule ${after - 1} of seed ${options.seed} fails without the mutant, too`);
      say(`  by ${by.split('\n')[0].slice(0, 150)}`);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, huntNext));
  say('');
  say(`${caught} of ${names.length} mutants caught`);
  return caught === names.length ? 0 : 1;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  say(`seed ${options.seed}`);
  if (options.mutants !== null) return huntAll(options, options.mutants);
  if (options.schedule !== null) return simulate(options, options.schedule, options.schedule + 1);
  return simulate(options, 0, options.schedules ?? SCHEDULES);
}

try {
  process.exitCode = await main();
} catch (error) {
  const isUsage = error instanceof UsageError || (error instanceof TypeError && 'code' in error);
  process.stderr.write(`${error instanceof Error ? (isUsage ? error.message : error.stack) : String(error)}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
