/** Owns `bench pipeline` and `bench reference`: a job's throughput over a pre-loaded topic, and its alert latency at one rate. */
import { type Bench, type BenchPlace, type BenchResult, median } from './bench.js';
import { makeJob, workloadOf } from './job-files.js';
import type { Throughput } from './log-bench.js';

export const throughputBench = (name: 'pipeline' | 'reference', summary: string): Bench => ({
  name,
  summary,
  run: (place) => measure(place, name),
});

async function measure(place: BenchPlace, name: 'pipeline' | 'reference'): Promise<BenchResult> {
  const { options, say } = place;
  const bench = await place.kafkaBench();
  const job = await makeJob(place, name);
  const load = workloadOf(place, name);
  const runs: Throughput[] = [];
  for (let run = 0; run < options.runs; run++) {
    say(`${name}: throughput over ${load.name}, run ${run + 1} of ${options.runs}`);
    const measured = await bench.throughput(job, load, options.payments);
    say(
      `  ${measured.paymentsPerSecond} payments/s, ${measured.cpuSecondsPerMillion} CPU-s per million, load ${measured.load}`,
    );
    runs.push(measured);
  }
  const { middle, lowest, highest } = median(runs, (run) => run.paymentsPerSecond);
  const rate = options.rates?.[0] ?? 2_000;
  const seconds = options.seconds ?? 30;
  say(`${name}: latency at ${rate} payments/s for ${seconds} s`);
  const latency = await bench.latency(job, load, rate, seconds);
  return {
    figures: { ...middle, range: { lowest, highest }, latency, all: runs, partitions: options.partitions },
    rows: [
      {
        job: name,
        'payments/s': middle.paymentsPerSecond,
        range: `${lowest}–${highest}`,
        '2nd half/s': middle.secondHalfPerSecond,
        'CPU-s/M': middle.cpuSecondsPerMillion,
        '2nd half CPU-s/M': middle.secondHalfCpuPerMillion,
        'peak MiB': middle.peakRssMiB,
        alerts: middle.alerts,
        'dead letters': middle.deadLetters,
        'latency p50': latency.p50,
        p99: latency.p99,
        max: latency.max,
      },
    ],
  };
}
