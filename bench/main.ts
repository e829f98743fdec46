/**
 * Owns `npm run bench -- pipeline|reference|api`: how fast the detector is on real Kafka and how soon alerts are seen;
 * how soon the analyst API answers.
 * With --json the last line is one JSON object; noise (load, repeats) and the machine go with the figures.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startMerchantRiskService } from '../src/adapters/merchant-risk-http/merchant-risk-service.js';
import { hash32 } from '../src/stream/state/key-index.js';
import { pipelineJob, referenceJob } from './jobs.js';
import { type Job, KafkaBench, type Latency, type Throughput } from './kafka-bench.js';
import { workload } from './workload.js';

const USAGE = `Usage: npm run -s bench -- pipeline|reference|formats|api [options]
  pipeline     the detector as it ships
  reference    the reference job (docs/PERFORMANCE.md) on the same core
  formats      the detector on payments in Avro beside the same in JSON, with a real schema registry
  api          lists of the analyst API over many alerts, in a fresh Postgres; needs no broker
Options
  --payments N      payments of the throughput run; default: all of the file
  --seconds N       length of the paced run; default 30, api: 60
  --rate N          payments/s of the paced run; default 2000, api: 100 requests/s
  --alerts N        api: alerts stored; default 1000000
  --runs N          throughput runs, the median is reported; default 1
  --partitions N    default 2        --workers N   default 2
  --file FILE       payments; default ../shared/data/payments-labelled.csv.gz, else a simulated card world
  --model FILE      reference: the job's model.onnx          --threshold X   reference: default 0.66
  --json            the last line is one JSON object
A broker is started for the run (Java and Maven, or Docker), or KAFKA_BROKERS is used.`;

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
    file: { type: 'string' },
    model: { type: 'string' },
    threshold: { type: 'string', default: '0.66' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});
const [what] = positionals;
if (values.help || (what !== 'pipeline' && what !== 'reference' && what !== 'formats' && what !== 'api')) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(values.help ? 0 : 2);
}
const seconds = Number(values.seconds ?? (what === 'api' ? 60 : 30));
const rate = Number(values.rate ?? (what === 'api' ? 100 : 2_000));
const say = (line: string) => process.stderr.write(`${line}\n`);

if (what === 'api') {
  const { benchApi, printApiFigures } = await import('./api.js');
  const directory = mkdtempSync(join(tmpdir(), 'fraud-bench-'));
  const figures = await benchApi({ alerts: Number(values.alerts), rate, seconds, directory, say });
  printApiFigures(figures, values.json, commit());
  process.exit(0);
}

const { startBroker } = (await import(
  new URL('../scripts/kafka/broker.js', import.meta.url).href
)) as typeof import('../scripts/kafka/broker.js');
const directory = mkdtempSync(join(tmpdir(), 'fraud-bench-'));
const partitions = Number(values.partitions);
const broker = await startBroker({ directory: join(directory, 'kafka'), port: 19592, clean: true, heapMb: 1024 });
// Risks as the model knows them: most merchants near nothing, one in fifty a bad one, so that there are alerts to time.
const risk = await startMerchantRiskService({ latencyMs: 5, riskOf: benchRisk });
const bench = await KafkaBench.open(broker.brokers, partitions, directory);
try {
  if (what === 'formats') await measureFormats();
  else {
    const result = await measure(await makeJob());
    print(result.throughput, result.latency);
  }
} finally {
  await bench.close();
  await risk.close();
  await broker.stop();
  rmSync(directory, { recursive: true, force: true });
}

async function measureFormats(): Promise<void> {
  const { benchFormats } = await import('./formats.js');
  const figures = await benchFormats({
    bench,
    parts: jobParts(),
    riskUrl: risk.url,
    load: workload(values.file ?? null, 1),
    payments: Number(values.payments),
    runs: Number(values.runs),
    directory,
    registryPort: 18_085,
    say,
  });
  const { rateShare, cpuShare } = figures;
  process.stdout.write(
    `${values.json ? JSON.stringify({ bench: what, ...figures, commit: commit() }) : `Avro runs at ${rateShare} of the rate of JSON, for ${cpuShare} of its CPU`}\n`,
  );
}

function jobParts() {
  return { brokers: broker.brokers, partitions, workers: Number(values.workers) };
}

async function makeJob(): Promise<Job> {
  const parts = jobParts();
  if (what === 'pipeline') return pipelineJob(parts, risk.url);
  return referenceJob(parts, values.model ?? makeReferenceModel(), Number(values.threshold));
}

async function measure(job: Job): Promise<{ throughput: Throughput; latency: Latency }> {
  const file = values.file ?? (job.name === 'reference' ? makeReferencePayments() : null);
  const load = workload(file, job.name === 'reference' ? 20 : 1);
  const runs: Throughput[] = [];
  for (let run = 0; run < Number(values.runs); run++) {
    say(`${job.name}: throughput over ${load.name}, run ${run + 1} of ${values.runs}`);
    const measured = await bench.throughput(job, load, Number(values.payments));
    say(
      `  ${measured.paymentsPerSecond} payments/s, ${measured.cpuSecondsPerMillion} CPU-s per million, load ${measured.load}`,
    );
    runs.push(measured);
  }
  runs.sort((a, b) => a.paymentsPerSecond - b.paymentsPerSecond);
  say(`${job.name}: latency at ${rate} payments/s for ${seconds} s`);
  const latency = await bench.latency(job, load, rate, seconds);
  return { throughput: runs[Math.floor(runs.length / 2)], latency };
}

function print(throughput: Throughput, latency: Latency): void {
  const { ratePerSecond, alerts, ...alertLatencyMs } = latency;
  const result = {
    bench: what,
    ...throughput,
    latencyRatePerSecond: ratePerSecond,
    latencyAlerts: alerts,
    alertLatencyMs,
    runs: Number(values.runs),
    partitions,
    workers: Number(values.workers),
    machine: { cores: cpus().length, cpu: cpus()[0]?.model ?? 'unknown', node: process.version },
    commit: commit(),
  };
  if (values.json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  const rows = Object.entries({ ...throughput, ...latency });
  for (const [name, value] of rows) process.stdout.write(`${name.padEnd(26)} ${value}\n`);
}

/** The job's payments come from the peers' own script; null where it is not there. */
function makeReferencePayments(): string | null {
  const script = join(process.cwd(), '..', 'shared', 'peers', 'gen.py');
  const file = join(directory, 'payments-100k.tsv');
  try {
    execFileSync('python3', [script, '20', file], { stdio: 'ignore' });
    return file;
  } catch (error) {
    say(`the reference job's payments could not be made (${String(error).split('\n')[0]}); taking others`);
    return null;
  }
}

/** The job's model comes from the peers' own script (it needs Python with numpy and onnx). */
function makeReferenceModel(): string {
  const script = join(process.cwd(), '..', 'shared', 'peers', 'model.py');
  const file = join(directory, 'model.onnx');
  for (const python of ['/usr/bin/python3', 'python3']) {
    try {
      execFileSync(python, [script], { cwd: directory, stdio: 'ignore' });
    } catch (error) {
      // Its last lines print quantiles and need onnxruntime; the model is written before them.
      say(`${python} ${script}: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    }
    try {
      execFileSync('test', ['-s', file]);
      return file;
    } catch {
      say(`${python} made no model`);
    }
  }
  throw new Error('no reference model: give one with --model FILE');
}

function benchRisk(merchantId: string): number {
  const bytes = Buffer.from(merchantId);
  return (hash32(bytes, 0, bytes.length) >>> 0) % 50 === 0 ? 0.9 : 0.005;
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}
