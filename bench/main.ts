/**
 * Owns `npm run -s bench -- <name>`: picks the benchmark, gives it a place, prints its table and, as the last line with
 * --json, one JSON object with the machine and its noise; --keep adds that line to bench/results.
 * Neighbours: `bench.ts` says what a benchmark is; each has a file.
 */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { projectRoot } from '../scripts/prove/project.js';
import { apiBench } from './api.js';
import { type Bench, type BenchOptions, BenchPlace, type BenchResult, commit, type Row } from './bench.js';
import { compareBench } from './compare.js';
import { embeddedBench } from './embedded.js';
import { formatsBench } from './formats.js';
import { idleBench } from './idle.js';
import { latencyBench } from './latency.js';
import { microBench } from './micro.js';
import { loadAverage } from './process-figures.js';
import { recoveryBench } from './recovery.js';
import { scaleBench } from './scale.js';
import { stateBench } from './state.js';
import { throughputBench } from './throughput.js';

const BENCHES: readonly Bench[] = [
  throughputBench('pipeline', 'the detector as it ships: throughput, CPU, memory, alert latency'),
  throughputBench('reference', 'the reference job (docs/PERFORMANCE.md) on the same core: the same figures'),
  latencyBench,
  stateBench,
  scaleBench,
  recoveryBench,
  idleBench,
  embeddedBench,
  microBench,
  formatsBench,
  apiBench,
  compareBench,
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    payments: { type: 'string', default: '100000000' },
    seconds: { type: 'string' },
    rate: { type: 'string' },
    alerts: { type: 'string', default: '1000000' },
    runs: { type: 'string', default: '1' },
    partitions: { type: 'string', default: '2' },
    workers: { type: 'string', default: '2' },
    cards: { type: 'string' },
    file: { type: 'string' },
    model: { type: 'string' },
    threshold: { type: 'string', default: '0.66' },
    job: { type: 'string' },
    peers: { type: 'string' },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const bench = BENCHES.find(({ name }) => name === positionals[0]);
if (values.help || bench === undefined) {
  process.stdout.write(`${usage()}\n`);
  process.exit(values.help ? 0 : 2);
}

const directory = mkdtempSync(join(tmpdir(), 'fraud-bench-'));
const place = new BenchPlace(options(), directory, (line) => process.stderr.write(`${line}\n`));
const loadBefore = loadAverage();
try {
  const result = await bench.run(place);
  print(result.rows);
  const line = JSON.stringify(record(bench, result));
  if (values.keep) keep(bench, line);
  if (values.json) process.stdout.write(`${line}\n`);
} finally {
  await place.close();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);

function options(): BenchOptions {
  const { job } = values;
  if (job !== undefined && job !== 'pipeline' && job !== 'reference') {
    process.stderr.write(`--job is pipeline or reference, not ${job}\n`);
    process.exit(2);
  }
  return {
    payments: whole('payments', values.payments),
    seconds: values.seconds === undefined ? null : whole('seconds', values.seconds),
    rates: values.rate === undefined ? null : values.rate.split(',').map((rate) => whole('rate', rate)),
    alerts: whole('alerts', values.alerts),
    runs: whole('runs', values.runs),
    partitions: whole('partitions', values.partitions),
    workers: whole('workers', values.workers),
    cards: values.cards === undefined ? null : values.cards.split(',').map((cards) => whole('cards', cards)),
    file: values.file ?? null,
    model: values.model ?? null,
    threshold: Number(values.threshold),
    peers: values.peers ?? null,
    job: job ?? null,
  };
}

function whole(name: string, text: string): number {
  const value = Number(text.replaceAll('_', ''));
  if (Number.isSafeInteger(value) && value > 0) return value;
  process.stderr.write(`--${name} is a whole number from 1 on, not ${text}\n`);
  process.exit(2);
}

function record({ name }: Bench, { figures }: BenchResult): object {
  const processors = cpus();
  return {
    bench: name,
    ...figures,
    at: new Date().toISOString(),
    load: { before: loadBefore, after: loadAverage() },
    machine: {
      cores: processors.length,
      cpu: processors[0]?.model ?? 'unknown',
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      node: process.version,
    },
    commit: commit(),
  };
}

function keep({ name }: Bench, line: string): void {
  const results = join(projectRoot, 'bench', 'results');
  mkdirSync(results, { recursive: true });
  appendFileSync(join(results, `${name}.jsonl`), `${line}\n`);
}

/** Columns as wide as their widest cell; numbers to the right. */
function print(rows: readonly Row[]): void {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const cells = rows.map((row) => names.map((name) => String(row[name] ?? '')));
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map((row) => row[i].length)));
  const line = (texts: readonly string[], row?: Row) =>
    texts
      .map((text, i) => (typeof row?.[names[i]] === 'string' ? text.padEnd(widths[i]) : text.padStart(widths[i])))
      .join('  ');
  for (const text of [line(names), ...rows.map((row, i) => line(cells[i], row))]) process.stdout.write(`${text}\n`);
}

function usage(): string {
  const longest = Math.max(...BENCHES.map(({ name }) => name.length));
  return `Usage: npm run -s bench -- NAME [options]
${BENCHES.map(({ name, summary }) => `  ${name.padEnd(longest)}  ${summary}`).join('\n')}
Options
  --payments N      payments of a throughput run; default: all of the file
  --seconds N       length of a paced run; default 30, api: 60
  --rate N[,N…]     payments/s of paced runs; api: requests/s
  --runs N          throughput runs, the median is reported; default 1
  --job NAME        latency, state, scale, idle: pipeline or reference
  --cards N[,N…]    state: how many cards; default 100000,1000000,10000000
  --alerts N        api: alerts stored; default 1000000
  --partitions N    default 2        --workers N   default 2
  --file FILE       payments; default ../shared/data/payments-labelled.csv.gz, else a simulated card world
  --model FILE      reference: the job's model.onnx          --threshold X   reference: default 0.66
  --peers DIR       compare: the built peer jobs
  --json            the last line is one JSON object
  --keep            adds that line to bench/results/NAME.jsonl
A broker is started for the run (Java and Maven, or Docker), or KAFKA_BROKERS is used.`;
}
