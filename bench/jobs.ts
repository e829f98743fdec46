/** Owns the two jobs that are measured: the product's pipeline as it ships, and the reference job on the same core. */
import { fileURLToPath } from 'node:url';
import type { Job, JobTopics } from './log-bench.js';
import type { ReferenceSettings } from './reference/topics.js';

export interface JobParts {
  readonly brokers: readonly string[];
  readonly partitions: number;
  readonly workers: number;
}

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The detector role alone, rules and evidence on, lookups answered by the service at `riskUrl`. */
export function pipelineJob({ brokers, workers }: JobParts, riskUrl: string): Job {
  return {
    name: 'pipeline',
    service: (run, topics, directory) => ({
      script: script('../src/main.js'),
      args: ['--kafka', brokers.join(','), '--data-dir', directory, ...detectorFlags(run, topics, workers, riskUrl)],
    }),
  };
}

/** The same on the embedded log in `dataDirectory`. */
export function embeddedJob(dataDirectory: string, maxMiB: number, workers: number, riskUrl: string): Job {
  const log = ['--embedded-log-max-mib', String(maxMiB), '--embedded-log-retention-mib', String(maxMiB / 2)];
  return {
    name: 'embedded',
    service: (run, topics) => ({
      script: script('../src/main.js'),
      args: ['--data-dir', dataDirectory, ...log, ...detectorFlags(run, topics, workers, riskUrl)],
    }),
  };
}

function detectorFlags(run: string, topics: JobTopics, workers: number, riskUrl: string): string[] {
  return [
    ...['--roles', 'detector', '--port', '0', '--no-demo', '--workers', String(workers)],
    ...['--terminal-show', 'lines', '--terminal-line-interval-ms', '250'],
    ...['--pipeline-name', run, '--merchant-risk-url', riskUrl, '--dead-letters-share', '1'],
    ...['--topics-payments', topics.payments, '--topics-alerts', topics.alerts],
    ...['--topics-dead-letters', topics.deadLetters, '--topics-state-log', topics.stateLog],
    ...['--topics-risk-table', topics.riskTable],
  ];
}

export function referenceJob({ brokers, workers }: JobParts, model: string, threshold: number): Job {
  return {
    name: 'reference',
    service: (run, topics, directory) => {
      const settings: ReferenceSettings = { brokers, topics, run, directory, model, threshold, workers };
      return { script: script('./reference/reference-service.js'), args: [JSON.stringify(settings)] };
    },
  };
}
