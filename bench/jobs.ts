/** Owns the two jobs that are measured: the product's pipeline as it ships, and the reference job on the same core. */
import { fileURLToPath } from 'node:url';
import type { Job } from './kafka-bench.js';
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
      args: [
        ...[
          '--roles',
          'detector',
          '--kafka',
          brokers.join(','),
          '--port',
          '0',
          '--no-demo',
          '--terminal-show',
          'lines',
        ],
        ...['--terminal-line-interval-ms', '250', '--workers', String(workers), '--data-dir', directory],
        ...['--pipeline-name', run, '--merchant-risk-url', riskUrl, '--dead-letters-share', '1'],
        ...['--topics-payments', topics.payments, '--topics-alerts', topics.alerts],
        ...['--topics-dead-letters', topics.deadLetters, '--topics-state-log', topics.stateLog],
        ...['--topics-risk-table', topics.riskTable],
      ],
    }),
  };
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
