/**
 * Owns `bench embedded`: the detector on the embedded log, durable, without Kafka: throughput over a pre-loaded log, and
 * alert latency at a paced rate. Feed and reader are other processes than the service, on the same log.
 */
import { join } from 'node:path';
import { openEmbeddedBackend } from '../src/adapters/embedded-log/backend.js';
import { openDataDirectory } from '../src/app/data-directory.js';
import type { Bench, BenchPlace, BenchResult } from './bench.js';
import { workloadOf } from './job-files.js';
import { embeddedJob } from './jobs.js';
import { LogBench } from './log-bench.js';

export const embeddedBench: Bench = {
  name: 'embedded',
  summary: 'the detector on the embedded log: throughput, alert latency',
  run: measure,
};

const LOG_MIB = 16_384;

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, directory, say } = place;
  const data = join(directory, 'embedded');
  const made = await openDataDirectory(data);
  const log = await made.subdirectory('log');
  await made.close();
  const retentionBytes = (LOG_MIB / 2) * 1_048_576;
  const backend = await openEmbeddedBackend({ directory: log, maxBytes: LOG_MIB * 1_048_576, retentionBytes });
  const bench = new LogBench(backend, options.partitions, directory);
  try {
    const job = embeddedJob(data, LOG_MIB, options.workers, await place.riskUrl());
    say('embedded: throughput');
    const throughput = await bench.throughput(job, workloadOf(place, 'pipeline'), options.payments);
    const rate = options.rates?.[0] ?? 2_000;
    say(`embedded: latency at ${rate} payments/s`);
    const latency = await bench.latency(job, workloadOf(place, 'pipeline'), rate, options.seconds ?? 30);
    const { paymentsPerSecond, secondHalfPerSecond, cpuSecondsPerMillion, peakRssMiB } = throughput;
    const { p50, p99, max } = latency;
    return {
      figures: { throughput, latency },
      rows: [
        {
          'payments/s': paymentsPerSecond,
          '2nd half/s': secondHalfPerSecond,
          'CPU-s/M': cpuSecondsPerMillion,
          MiB: peakRssMiB,
          rate,
          p50,
          p99,
          max,
        },
      ],
    };
  } finally {
    await bench.close();
  }
}
