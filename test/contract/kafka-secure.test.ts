/** The contract of `LogBackend` on Kafka over TLS with SASL SCRAM-SHA-512. Without Java here it is skipped, aloud. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { locateBroker } from '../../scripts/kafka/broker.js';
import { type KafkaCluster, openCluster } from '../../scripts/kafka/cluster.js';
import { openKafkaBackend } from '../../src/adapters/kafka/backend.js';
import type { KafkaOptions } from '../../src/adapters/kafka/options.js';
import { describeLogBackend } from './log-backend.contract.js';

const PORT = 19_770;
const source = await locateBroker().catch((error: Error) => {
  console.warn(`skipped: ${error.message}`);
  return null;
});

describe.skipIf(source?.kind !== 'java')('on a broker with TLS and SASL SCRAM', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await openCluster({ directory: '.kafka/secure-test', port: PORT, brokers: 1, secure: true });
  });

  afterAll(async () => {
    await cluster?.close();
  });

  /** As options travel to a worker thread. */
  function options(change: { password?: string } = {}): KafkaOptions {
    const { security } = cluster;
    if (security === null) throw new Error('the cluster is not secure');
    const { caFile, mechanism, username, password } = security;
    const all: KafkaOptions = {
      brokers: cluster.serviceBrokers,
      clientId: 'contract-secure',
      transactionalIdPrefix: 'contract-secure',
      transactions: 'auto',
      ssl: { ca: readFileSync(caFile, 'utf8') },
      sasl: { mechanism, username, password: change.password ?? password },
    };
    return structuredClone(all);
  }

  describeLogBackend('kafka, secure', async () => {
    return { open: () => openKafkaBackend(options()), close: async () => {} };
  });

  it('refuses a wrong password by name', async () => {
    await expect(openKafkaBackend(options({ password: 'wrong' }))).rejects.toMatchObject({ code: 'kafka-denied' });
  });

  it('does not talk to a broker whose certificate it cannot check', async () => {
    const { ssl: _, ...plain } = options();
    const distrusting: KafkaOptions = { ...plain, ssl: {} };
    await expect(openKafkaBackend(distrusting)).rejects.toMatchObject({
      code: 'kafka-unreachable',
      message: expect.stringMatching(/self-signed certificate/),
    });
  });

  it('does not take a plaintext client for a secure one', async () => {
    const { ssl: _, ...plain } = options();
    await expect(openKafkaBackend(plain)).rejects.toMatchObject({ code: 'kafka-unreachable' });
  });
});
