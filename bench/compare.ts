/**
 * Owns `bench compare --peers DIR`: the reference job here and in the peers, in turns on one broker, so that all meet the
 * same noise. The peers are measured by their own script (bench.py of DIR, built with Maven); its CPU figures and ours
 * are both the processing process's user and system seconds, second half of the run.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { projectRoot } from '../scripts/prove/project.js';
import { type Bench, type BenchPlace, type BenchResult, median, type Row } from './bench.js';
import { makeJob, referenceModel, referencePayments, workloadOf } from './job-files.js';
import type { LogBench } from './log-bench.js';

const run = promisify(execFile);

export const compareBench: Bench = {
  name: 'compare',
  summary: 'the reference job here and in Flink and Kafka Streams, by turns (--peers DIR)',
  run: measure,
};

const RATE = 5_000;
const PEER_TIMEOUT_MS = 600_000;

interface Measured {
  readonly paymentsPerSecond: number;
  readonly secondHalfPerSecond: number;
  readonly cpuPerMillion: number;
  readonly secondHalfCpuPerMillion: number;
  readonly peakRssMiB: number;
  readonly alerts: number;
  readonly deadLetters: number;
}

interface Contender {
  readonly name: string;
  throughput(): Promise<Measured>;
  latency(): Promise<{ readonly p50: number; readonly p99: number; readonly max: number }>;
  /** Seconds from the start after a kill -9 to the first new alert; null where that is measured elsewhere. */
  recovery(): Promise<number | null>;
}

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, say } = place;
  const file = referencePayments(place);
  if (file === null) throw new Error('compare needs the reference job’s payments: ../shared/peers/gen.py made none');
  const bench = await place.kafkaBench();
  const contenders: Contender[] = [await ours(place, bench), ...(await peers(place, file))];
  const runs = new Map<string, Measured[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round < options.runs; round++) {
    for (const { name, throughput } of contenders) {
      say(`${name}: throughput, round ${round + 1} of ${options.runs}`);
      const measured = await throughput();
      say(`  ${measured.paymentsPerSecond} payments/s, ${measured.secondHalfCpuPerMillion} CPU-s per million`);
      runs.get(name)?.push(measured);
    }
  }
  const rows: Row[] = [];
  const figures: Record<string, unknown> = {};
  for (const { name, latency, recovery } of contenders) {
    say(`${name}: latency at ${RATE} payments/s, recovery`);
    const all = runs.get(name) ?? [];
    const { middle, lowest, highest } = median(all, (one) => one.secondHalfCpuPerMillion);
    const alert = await latency();
    const restartSeconds = await recovery();
    figures[name] = { throughput: middle, cpuRange: { lowest, highest }, all, latency: alert, restartSeconds };
    rows.push({
      system: name,
      'payments/s': middle.paymentsPerSecond,
      '2nd half/s': middle.secondHalfPerSecond,
      'CPU-s/M 2nd half': middle.secondHalfCpuPerMillion,
      range: `${lowest}–${highest}`,
      'times ours': 0,
      'peak MiB': middle.peakRssMiB,
      alerts: middle.alerts,
      p50: alert.p50,
      p99: alert.p99,
      max: alert.max,
      'restart s': restartSeconds ?? '–',
    });
  }
  const least = Number(rows[0]['CPU-s/M 2nd half']);
  const withRatio = rows.map((row) => ({
    ...row,
    'times ours': Math.round((Number(row['CPU-s/M 2nd half']) / least) * 10) / 10,
  }));
  return { figures: { rate: RATE, runs: options.runs, systems: figures }, rows: withRatio };
}

async function ours(place: BenchPlace, bench: LogBench): Promise<Contender> {
  const job = await makeJob(place, 'reference');
  const load = workloadOf(place, 'reference');
  return {
    name: 'this detector',
    throughput: async () => {
      const measured = await bench.throughput(job, load, place.options.payments);
      return { ...measured, cpuPerMillion: measured.cpuSecondsPerMillion };
    },
    latency: () => bench.latency(job, load, RATE, place.options.seconds ?? 60),
    recovery: async () => null,
  };
}

async function peers(place: BenchPlace, file: string): Promise<Contender[]> {
  const { options, directory, say } = place;
  if (options.peers === null) throw new Error('compare needs --peers DIR with the peer jobs (../shared/peers)');
  // Built in a copy: the peers' own folder may be read-only.
  const home = join(directory, 'peers');
  cpSync(options.peers, home, { recursive: true });
  if (!existsSync(join(home, 'flink', 'target', 'flink-1.jar'))) {
    say('building the peers with Maven');
    await run('mvn', ['-q', '-B', 'package'], { cwd: home, timeout: PEER_TIMEOUT_MS });
  }
  const [brokers] = await place.brokers();
  const pidFile = join(directory, 'no-broker.pid');
  writeFileSync(pidFile, '0');
  mkdirSync(join(home, 'results'), { recursive: true });
  const common = ['--brokers', brokers, '--kafka-lib', join(projectRoot, '.kafka', 'lib'), '--file', file];
  const model = referenceModel(place);
  const script = async (...words: readonly string[]): Promise<Record<string, number>> => {
    const args = [join(home, 'bench.py'), ...words];
    const { stdout } = await run('python3', args, { cwd: home, timeout: PEER_TIMEOUT_MS, maxBuffer: 16 << 20 });
    const line = stdout.trim().split('\n').at(-1) ?? '';
    return line.startsWith('{') ? (JSON.parse(line) as Record<string, number>) : {};
  };
  await script('load', ...common);
  const contender = (name: string, system: 'ks' | 'flink', ...flags: readonly string[]): Contender => {
    const rest = flags.length === 0 ? [] : ['--', ...flags];
    // bench.py takes what follows `--` for the job: everything of its own comes before.
    const call = (what: string, ...own: readonly string[]) =>
      script(
        what,
        '--system',
        system,
        '--model',
        model,
        ...common,
        ...own,
        '--broker-pid',
        pidFile,
        '--lock',
        '',
        ...rest,
      );
    return {
      name,
      throughput: async () => {
        const told = await call('throughput');
        return {
          paymentsPerSecond: told.payments_s,
          secondHalfPerSecond: told.steady_payments_s,
          cpuPerMillion: told.cpu_s_per_million,
          secondHalfCpuPerMillion: told.steady_cpu_s_per_million,
          peakRssMiB: told.peak_rss_mib,
          alerts: told.alerts,
          deadLetters: told.dead_letters,
        };
      },
      latency: async () => {
        const told = await call('latency', '--rate', String(RATE), '--seconds', String(options.seconds ?? 60));
        return { p50: told.p50_ms, p99: told.p99_ms, max: told.max_ms };
      },
      recovery: async () => (await call('recovery')).first_new_alert_s,
    };
  };
  return [
    contender('Flink, checkpoints every 1 s', 'flink', '--interval', '1000'),
    contender('Kafka Streams, commits every 100 ms', 'ks'),
  ];
}
