/** The contract of `LogBackend` on Kafka, with both forms of transactions. Without a broker here it is skipped, aloud. */
import { afterAll, beforeAll, describe } from 'vitest';
import { locateBroker, type RunningBroker, startBroker } from '../../scripts/kafka/broker.js';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import type { KafkaOptions } from '../../src/adapters/kafka/options.js';
import { describeLogBackend } from './log-backend.contract.js';

const source = await locateBroker().catch((error: Error) => {
  console.warn(`skipped: ${error.message}`);
  return null;
});

describe.skipIf(source === null)('on a broker', () => {
  let started: RunningBroker | null = null;
  let brokers: readonly string[] = [];

  beforeAll(async () => {
    if (source?.kind === 'external') {
      brokers = source.brokers;
      return;
    }
    // Records here bear times of long ago: the default of seven days would delete them half a minute after the start.
    const properties = { 'log.retention.ms': -1 };
    started = await startBroker({ directory: '.kafka/contract-test', port: 19192, clean: true, properties });
    brokers = started.brokers;
  });

  afterAll(async () => {
    await started?.kill();
  });

  for (const transactions of ['v2', 'v1'] as const) {
    describeLogBackend(`kafka, transactions ${transactions}`, async () => {
      const options: KafkaOptions = {
        brokers,
        clientId: 'contract',
        transactionalIdPrefix: 'contract',
        transactions,
      };
      // As options travel to a worker thread.
      return { open: () => openKafkaBackend(structuredClone(options)), close: async () => {} };
    });
  }
});
