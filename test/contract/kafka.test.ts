import { afterAll, beforeAll, describe } from 'vitest';
import { type RunningBroker, startBroker } from '../../scripts/kafka/broker.js';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import type { KafkaOptions } from '../../src/adapters/kafka/options.js';
import { describeLogBackend } from './log-backend.contract.js';

describe('on a broker', () => {
  let broker: RunningBroker;

  beforeAll(async () => {
    broker = await startBroker({ directory: '.kafka/contract-test', port: 19192, clean: true });
  });

  afterAll(async () => {
    await broker?.kill();
  });

  for (const transactions of ['v2', 'v1'] as const) {
    describeLogBackend(`kafka, transactions ${transactions}`, async () => {
      const options: KafkaOptions = {
        brokers: broker.brokers,
        clientId: 'contract',
        transactionalIdPrefix: 'contract',
        transactions,
      };
      return { open: () => openKafkaBackend(structuredClone(options)), close: async () => {} };
    });
  }
});
