/** A real Postgres for the tests of projector and API, and alerts to put into it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../src/adapters/postgres/embedded-postgres.js';
import type { Alert, FiredRule } from '../../src/fraud/alerts/alert.js';
import { alertId } from '../../src/fraud/alerts/alert-id.js';
import type { CardId, MerchantId, PaymentId } from '../../src/fraud/payments/payment.js';

export interface TestPostgres {
  readonly url: string;
  /** A connection string for a new, empty database. */
  newDatabase(): Promise<string>;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes its files. */
  dispose(): Promise<void>;
}

export async function startTestPostgres(port: number): Promise<TestPostgres> {
  const directory = await mkdtemp(join(tmpdir(), 'fraud-test-postgres-'));
  const start = () => startEmbeddedPostgres({ directory, port, log: () => {} });
  let server = await start();
  const urlOf = (database: string) => server.url.replace(/[^/]*$/, database);
  let databases = 0;
  return {
    url: server.url,
    newDatabase: async () => {
      const name = `test_${++databases}`;
      await query(server.url, `CREATE DATABASE ${name}`);
      return urlOf(name);
    },
    stop: () => server.stop(),
    start: async () => {
      server = await start();
    },
    dispose: async () => {
      await server.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

export async function query<Row>(url: string, sql: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

const NOON = Date.UTC(2026, 0, 5, 12);

/** The `index`-th of any number of differing alerts, a second apart. */
export function anAlert(index: number, changes: Partial<Alert> = {}): Alert {
  const source = { topic: 'payments.raw', partition: index % 4, offset: index, timestamp: NOON };
  const declined = index % 3 === 0;
  const rule: FiredRule = {
    id: declined ? 'high-score' : 'elevated-score',
    name: declined ? 'High score' : 'Elevated score',
    version: 1,
    hash: '0123456789abcdef',
    decision: declined ? 'decline' : 'review',
    severity: declined ? 'critical' : 'medium',
    reason: 'score 0.93 is at or above 0.90',
  };
  const payment = {
    paymentId: `payment-${index}` as PaymentId,
    cardId: `card-${index % 5}` as CardId,
    merchantId: `merchant-${index % 2}` as MerchantId,
    amountMinor: 100_000_000_000 + index,
    currency: 'EUR',
    occurredAt: NOON + index * 1000 - 5,
  };
  return {
    alertId: alertId(source, rule.id),
    cardId: payment.cardId,
    paymentId: payment.paymentId,
    merchantId: payment.merchantId,
    amountMinor: payment.amountMinor,
    currency: 'EUR',
    occurredAt: payment.occurredAt,
    detectedAt: NOON + index * 1000,
    decision: declined ? 'decline' : 'review',
    severity: rule.severity,
    score: declined ? 0.93 : 0.61,
    rules: [rule],
    evidence: {
      source,
      payment,
      late: false,
      enrichment: { merchantRisk: 0.2, source: 'lookup', asOf: NOON, degraded: false },
      features: { amount: 12.5, night: null },
      patterns: [],
      model: null,
      ruleSet: { version: 1, hash: 'fedcba9876543210' },
      pipelineVersion: '0.1.0',
    },
    ...changes,
  };
}
