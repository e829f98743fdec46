/**
 * Owns `bench latency`: from a payment's Kafka time to its alert in the hands of a read-committed reader in another
 * process, at several rates, through checkpoints.
 */
import type { Bench, BenchPlace, BenchResult, Row } from './bench.js';
import { makeJob, workloadOf } from './job-files.js';
import type { Latency } from './log-bench.js';

const RATES = [2_000, 5_000, 50_000];

export const latencyBench: Bench = {
  name: 'latency',
  summary: 'alert latency at 2,000, 5,000 and 50,000 payments/s (--rate), through checkpoints',
  run: measure,
};

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, say } = place;
  const bench = await place.kafkaBench();
  const rows: Row[] = [];
  const measured: { job: string; latency: Latency }[] = [];
  const seconds = options.seconds ?? 60;
  for (const name of options.job === null ? (['pipeline', 'reference'] as const) : [options.job]) {
    const job = await makeJob(place, name);
    for (const rate of options.rates ?? RATES) {
      say(`${name}: ${rate} payments/s for ${seconds} s`);
      const latency = await bench.latency(job, workloadOf(place, name), rate, seconds);
      measured.push({ job: name, latency });
      const { ratePerSecond, sentPerSecond, alerts, p50, p99, max, cores, load } = latency;
      rows.push({ job: name, rate: ratePerSecond, sent: sentPerSecond, alerts, p50, p99, max, cores, load });
    }
  }
  return { figures: { seconds, measured }, rows };
}
