/**
 * Owns `npm run prove`: the proof that alerts are exactly once, on a real broker with real processes of the service.
 *
 *   npm run prove -- --cycles N [--seed S] [--instances K] [--nemeses a,b] [--cluster 1|3] [--secure] [--json FILE] ...
 *   npm run prove -- recovery [--cards N] ...
 *   npm run prove -- overload [--minutes N] [--kind broker|database|lookup|all] [--rate N] [--seed S] [--json FILE] ...
 *   npm run prove -- rules [--changes N] [--kills N] [--rate N] [--seed S] [--keep]
 *   npm run prove -- --quick [--payments N] [--seed S] [--file PATH] [--runs a,b] [--keep]
 *
 * `--cycles` strikes a running system again and again, see `cycles/proof.ts`; `recovery` measures how soon it is back,
 * see `cycles/recovery.ts`; `overload` shows that memory
 * stays flat when all is slow, see `overload/proof.ts`; `rules` changes rules through the API under load, see `rules/proof.ts`. Else: runs, each from scratch on topics of its own, each compared with the same plain reference:
 *   undisturbed   one service
 *   kills         one service with little memory, killed by kill -9 at random moments and started again, once
 *                 without its disk
 *   takeover      two services share the group, one is killed and stays away
 *   aborted       an input among which an upstream producer's Kafka transactions aborted
 * Exit code 0: every run is right. docs/PROVING.md tells what is compared, and why that is enough.
 */
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { readCyclesOptions, readRecoveryOptions } from './cycles/options.js';
import { proveCycles } from './cycles/proof.js';
import { proveRecovery } from './cycles/recovery.js';
import { UsageError, wholeNumber } from './flags.js';
import type { InputPlan } from './input.js';
import { type LoadedInput, loadAmongAborted, loadPlain } from './load.js';
import { proveOverload, readOverloadOptions } from './overload/proof.js';
import { labelledPaymentsFile } from './project.js';
import type { Reference } from './reference.js';
import { table, tellInput, tellReference } from './report.js';
import { proveRules, type RulesProofOptions } from './rules/proof.js';
import { type RunPlan, type RunResult, referenceFor, runAndCompare } from './runs.js';
import { type Surroundings, setUp } from './setting-up.js';

const PORT = 19_492;
const PARTITIONS = 4;
const MALFORMED_EVERY = 1_000;
const QUICK_KILLS = 3;
const KILLS = 12;
const WORLD_PAYMENTS = 200_000;
/** Fewer hot cards than there are, so that the state store takes part, and checkpoints all the time. */
const LITTLE_MEMORY = ['--memory-hot-keys=1024', '--batch-max-records=256'];
const MANY_CHECKPOINTS = ['--checkpoint-interval-ms=1500', '--checkpoint-min-pause-ms=200'];

const RUN_NAMES = ['undisturbed', 'kills', 'takeover', 'aborted'] as const;
type RunName = (typeof RUN_NAMES)[number];

interface Options {
  readonly input: InputPlan;
  readonly runs: readonly RunName[];
  readonly kills: number;
  readonly keep: boolean;
}

const say = (line: string) => process.stdout.write(`${line}\n`);

function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: { type: 'boolean', default: false },
      payments: { type: 'string' },
      seed: { type: 'string' },
      file: { type: 'string' },
      runs: { type: 'string', default: RUN_NAMES.join(',') },
      keep: { type: 'boolean', default: false },
    },
  });
  const file = values.file ?? (existsSync(labelledPaymentsFile) ? labelledPaymentsFile : null);
  if (values.file !== undefined && !existsSync(values.file)) throw new UsageError(`there is no file ${values.file}`);
  const most = file === null ? WORLD_PAYMENTS : Number.MAX_SAFE_INTEGER;
  const runs = values.runs.split(',').map((name) => {
    const known = RUN_NAMES.find((run) => run === name);
    if (known === undefined) throw new UsageError(`there is no run ${name}; there are ${RUN_NAMES.join(', ')}`);
    return known;
  });
  const payments = wholeNumber('payments', values.payments, most, 1);
  const seed = wholeNumber('seed', values.seed, Date.now() % 1_000_000, 0);
  return {
    input: { file, payments, partitions: PARTITIONS, malformedEvery: MALFORMED_EVERY, seed },
    runs,
    kills: values.quick ? QUICK_KILLS : KILLS,
    keep: values.keep,
  };
}

function planOf(name: RunName, { kills, input }: Options): RunPlan {
  const { seed } = input;
  switch (name) {
    case 'undisturbed':
      return { name, seed, disturbance: { kind: 'none' } };
    case 'kills':
      return {
        name,
        seed,
        disturbance: { kind: 'kills', times: kills },
        flags: [...LITTLE_MEMORY, ...MANY_CHECKPOINTS],
      };
    case 'takeover':
      return { name, seed, disturbance: { kind: 'takeover' }, flags: MANY_CHECKPOINTS };
    case 'aborted':
      return { name, seed, disturbance: { kind: 'none' }, flags: MANY_CHECKPOINTS };
  }
}

interface Prepared {
  readonly input: LoadedInput;
  readonly reference: Reference;
}

/** Loads an input and computes what must come of it. */
async function prepare(surroundings: Surroundings, name: string, options: Options): Promise<Prepared> {
  const { backend, admin, brokers } = surroundings;
  const topic = await surroundings.inputTopic(name);
  const writer = await backend.openWriter();
  const target = { topic, writer, admin, brokers };
  const startedAt = performance.now();
  const load = name === 'input-among-aborted' ? loadAmongAborted : loadPlain;
  const input = await load(options.input, target).finally(() => writer.close());
  const loadedAt = performance.now();
  say(`${name}: ${tellInput(input)}; written in ${seconds(startedAt, loadedAt)}`);
  const place = await surroundings.place(`${name}-reference`, topic);
  const reference = await referenceFor(input, place);
  say(`  reference: ${tellReference(reference)}; computed in ${seconds(loadedAt, performance.now())}`);
  return { input, reference };
}

const seconds = (fromMs: number, toMs: number) => `${((toMs - fromMs) / 1_000).toFixed(1)} s`;

async function prove(options: Options): Promise<boolean> {
  const { file, seed } = options.input;
  say(`seed ${seed}, payments of ${file === null ? 'the simulated card world' : file.split('/').at(-1)}`);
  const surroundings = await setUp({ port: PORT, partitions: PARTITIONS, keep: options.keep });
  const results: RunResult[] = [];
  try {
    say(`broker ${surroundings.brokers.join(',')}, working directory ${surroundings.directory}`);
    const inputs = new Map<string, Prepared>();
    for (const name of options.runs) {
      const inputName = name === 'aborted' ? 'input-among-aborted' : 'input';
      const prepared = inputs.get(inputName) ?? (await prepare(surroundings, inputName, options));
      inputs.set(inputName, prepared);
      const startedAt = performance.now();
      const result = await runAndCompare(surroundings, planOf(name, options), prepared.input, prepared.reference);
      results.push(result);
      say(`${name}: ${result.problems.length === 0 ? 'right' : 'WRONG'}, ${seconds(startedAt, performance.now())}`);
      for (const problem of result.problems) say(`  ${problem}`);
    }
  } finally {
    if (options.keep) say(`kept: ${surroundings.directory}`);
    await surroundings.close();
  }
  say(`\n${table(results)}\n`);
  const wrong = results.filter(({ problems }) => problems.length > 0).map(({ name }) => name);
  say(`seed ${seed}: ${wrong.length === 0 ? `all ${results.length} runs are right` : `WRONG: ${wrong.join(', ')}`}`);
  return wrong.length === 0;
}

function readRulesOptions(argv: readonly string[]): RulesProofOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      changes: { type: 'string' },
      kills: { type: 'string' },
      rate: { type: 'string' },
      seed: { type: 'string' },
      keep: { type: 'boolean', default: false },
    },
  });
  return {
    changes: wholeNumber('changes', values.changes, 20, 1),
    kills: wholeNumber('kills', values.kills, 3, 0),
    paymentsPerSecond: wholeNumber('rate', values.rate, 5_000, 1),
    seed: wholeNumber('seed', values.seed, Date.now() % 1_000_000, 0),
    keep: values.keep,
  };
}

/** The report goes to a file as well where one is named. */
async function cycles(argv: readonly string[]): Promise<boolean> {
  const { json, ...options } = readCyclesOptions(argv);
  return reported(await proveCycles(options, say), json);
}

async function recovery(argv: readonly string[]): Promise<boolean> {
  const { json, ...options } = readRecoveryOptions(argv);
  return reported(await proveRecovery(options, say), json);
}

async function overload(argv: readonly string[]): Promise<boolean> {
  const options = readOverloadOptions(argv);
  return reported(await proveOverload(options, say), options.json);
}

async function reported(report: { readonly problems: readonly string[] }, json: string | null): Promise<boolean> {
  if (json !== null) await writeFile(json, `${JSON.stringify(report, null, 2)}\n`);
  return report.problems.length === 0;
}

/** The proof that is asked for; whether all of it is right. */
function proofOf(argv: readonly string[]): Promise<boolean> {
  if (argv[0] === 'rules') return proveRules(readRulesOptions(argv.slice(1)), say);
  if (argv[0] === 'overload') return overload(argv.slice(1));
  if (argv[0] === 'recovery') return recovery(argv.slice(1));
  if (argv.some((flag) => flag.startsWith('--cycles'))) return cycles(argv);
  return prove(readOptions(argv));
}

const isParseError = (error: unknown) =>
  error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');

// What runs still goes with this process; see `service.ts` and the broker's own.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));
try {
  process.exitCode = (await proofOf(process.argv.slice(2))) ? 0 : 1;
} catch (error) {
  const isUsage = error instanceof UsageError || isParseError(error);
  process.stderr.write(`prove: ${error instanceof Error ? (isUsage ? error.message : error.stack) : String(error)}\n`);
  process.exitCode = isUsage ? 2 : 1;
}
