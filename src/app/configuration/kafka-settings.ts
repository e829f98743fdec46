/** Owns the settings of the connection to Kafka. Neighbour: `schema.ts` puts them into the whole. */
import { z } from 'zod';
import { setting } from './setting.js';

const broker = z
  .string()
  .regex(/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):\d{1,5}$/)
  .describe('host:port');
const file = () => z.string().min(1).optional().describe('a file');

export const kafkaSettings = z.object({
  brokers: setting(z.array(broker).default([]), {
    doc: 'Brokers to ask first for the cluster’s members. Given, it selects the kafka backend.',
    flagAlias: 'kafka',
    envAlias: 'KAFKA_BROKERS',
    defaultNote: 'none',
  }),
  clientId: setting(z.string().min(1).max(255).default('fraud').describe('text, 1 to 255 characters'), {
    doc: 'Name under which brokers log and meter this client.',
  }),
  group: setting(z.string().min(1).max(255).optional().describe('text, 1 to 255 characters'), {
    doc: 'Consumer group under which Kafka’s tools show how far the pipeline is. Who shares its work are members of the group named after the pipeline, whatever this is.',
    defaultNote: 'the pipeline’s name',
  }),
  groupInstanceId: setting(
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,249}$/)
      .optional()
      .describe('letters, digits, dot, dash and underscore, 1 to 249 of them'),
    {
      doc: 'Name that this process keeps in its group over restarts, so that after a crash it takes its partitions back at once. No two processes may share one.',
      defaultNote: 'made at the first start and kept in the data directory',
    },
  ),
  sessionTimeoutMs: setting(z.int().min(1_000).max(1_800_000).default(7_000), {
    doc: 'A process silent for this long loses its partitions to the others of its pipeline. The brokers’ group.min.session.timeout.ms bounds it, 6,000 unless they are told otherwise.',
    unit: 'ms',
  }),
  connectTimeoutMs: setting(z.int().min(100).max(600_000).default(3_000), {
    doc: 'Time to reach a broker.',
    unit: 'ms',
  }),
  requestTimeoutMs: setting(z.int().min(1_000).max(600_000).default(10_000), {
    doc: 'A request without an answer for this long counts as a lost connection.',
    unit: 'ms',
  }),
  deadlineMs: setting(z.int().min(1_000).max(900_000).default(30_000), {
    doc: 'How long passing trouble (a moved leader, a lost connection) is retried before an epoch counts as doubtful.',
    unit: 'ms',
  }),
  transactions: setting(z.enum(['auto', 'v1', 'v2']).default('auto'), {
    doc: 'Version of Kafka’s transaction protocol; auto takes v2 (KIP-890) where the broker has it.',
  }),
  transactionTimeoutMs: setting(z.int().min(1_000).max(900_000).default(60_000), {
    doc: 'The broker aborts an epoch that is not finished after this time.',
    unit: 'ms',
  }),
  ssl: z.object({
    enabled: setting(z.boolean().default(false), {
      doc: 'Encrypt with TLS. Switched on by any of the files below.',
      flagAlias: 'kafka-ssl',
    }),
    caFile: setting(file(), {
      doc: 'PEM file with the authorities that the brokers’ certificates must lead to.',
      path: true,
    }),
    certFile: setting(file(), { doc: 'PEM file with this client’s certificate, for mutual TLS.', path: true }),
    keyFile: setting(file(), { doc: 'PEM file with the key of that certificate.', path: true }),
  }),
  sasl: z.object({
    mechanism: setting(z.enum(['none', 'plain', 'scram-sha-256', 'scram-sha-512']).default('none'), {
      doc: 'How this client proves who it is.',
    }),
    username: setting(z.string().min(1).optional().describe('text'), { doc: 'User name for SASL.' }),
    password: setting(z.string().min(1).optional().describe('text'), {
      doc: 'Password for SASL; better kept in a file.',
      secret: true,
    }),
    passwordFile: setting(file(), {
      doc: 'File with the value of kafka.sasl.password.',
      path: true,
      contentOf: 'kafka.sasl.password',
    }),
  }),
});
