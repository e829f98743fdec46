/**
 * Owns `bench scale`: the same payments in 1 to 32 partitions, so many tasks in two workers. Throughput over a pre-loaded
 * topic; then, paced, alert latency, how long commits take, and how many transactions the broker is given.
 */
import type { Bench, BenchPlace, BenchResult, Row } from './bench.js';
import { makeJob, workloadOf } from './job-files.js';
import type { Latency, Throughput } from './log-bench.js';

const TASKS = [1, 2, 4, 8, 16, 32];
const PACED_RATE = 5_000;

export const scaleBench: Bench = {
  name: 'scale',
  summary: '1, 2, 4, 8, 16 and 32 tasks in two workers: throughput, latency, commits, transactions/s',
  run: measure,
};

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, say } = place;
  const name = options.job ?? 'reference';
  const measured: { tasks: number; throughput: Throughput; latency: Latency }[] = [];
  for (const tasks of TASKS) {
    const bench = await place.kafkaBench(tasks);
    const job = await makeJob(place, name, await place.jobParts(tasks));
    say(`${name}: ${tasks} tasks`);
    const runs: Throughput[] = [];
    for (let run = 0; run < options.runs; run++) {
      runs.push(await bench.throughput(job, workloadOf(place, name), options.payments));
    }
    runs.sort((a, b) => a.secondHalfPerSecond - b.secondHalfPerSecond);
    const throughput = runs[Math.floor(runs.length / 2)];
    const latency = await bench.latency(
      job,
      workloadOf(place, name),
      options.rates?.[0] ?? PACED_RATE,
      options.seconds ?? 20,
    );
    measured.push({ tasks, throughput, latency });
  }
  const best = Math.max(...measured.map(({ throughput }) => throughput.secondHalfPerSecond));
  const rows = measured.map(
    ({ tasks, throughput, latency }): Row => ({
      tasks,
      'payments/s': throughput.paymentsPerSecond,
      '2nd half/s': throughput.secondHalfPerSecond,
      'of the best': `${Math.round((throughput.secondHalfPerSecond / best) * 100)} %`,
      'CPU-s/M': throughput.secondHalfCpuPerMillion,
      MiB: throughput.peakRssMiB,
      'latency p50': latency.p50,
      p99: latency.p99,
      max: latency.max,
      'commit p50': latency.commitMs?.p50 ?? '–',
      'commit p99': latency.commitMs?.p99 ?? '–',
      'transactions/s': latency.transactionsPerSecond ?? '–',
    }),
  );
  return { figures: { job: name, measured }, rows };
}
