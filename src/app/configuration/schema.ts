/**
 * Owns the whole list of settings: one schema, in the order in which help and the documentation page show it.
 * Neighbours: `setting.ts` says what a setting is; `kafka-settings.ts`, `stream-settings.ts` and `fraud-settings.ts`
 * hold the larger groups; `load.ts` reads values against it.
 */
import { z } from 'zod';
import { accessSettings } from './access-settings.js';
import {
  cardTokenSettings,
  demoSettings,
  merchantRiskSettings,
  modelSettings,
  patternSettings,
  ruleSettings,
} from './fraud-settings.js';
import { kafkaSettings } from './kafka-settings.js';
import { keyingSettings } from './keying-settings.js';
import { paymentSettings, registrySettings } from './registry-settings.js';
import { s3Settings } from './s3-settings.js';
import { setting } from './setting.js';
import {
  batchSettings,
  checkpointSettings,
  deadLetterSettings,
  embeddedLogSettings,
  epochSettings,
  memorySettings,
  pipelineSettings,
  savepointSettings,
  topicSettings,
  watermarkSettings,
} from './stream-settings.js';

/** What one process can do. `all` stands for every other one. */
export const ROLES = ['all', 'detector', 'api', 'projector'] as const;
export type Role = (typeof ROLES)[number];

const postgresUrl = z
  .string()
  .regex(/^postgres(ql)?:\/\/\S+$/)
  .describe('an address such as postgres://user@host:5432/fraud');

export const configurationSchema = z.object({
  roles: setting(z.array(z.enum(ROLES)).min(1).default(['all']), {
    doc: 'What this process does: detect fraud, serve the API, keep the alerts in Postgres, or all of it.',
  }),
  backend: setting(z.enum(['embedded', 'kafka']).optional(), {
    doc: 'Where the topics live: in a log of our own inside the data directory, or on Kafka.',
    defaultNote: 'kafka where brokers are given, else embedded',
  }),
  dataDir: setting(z.string().min(1).default('./data').describe('a directory'), {
    doc: 'Directory for everything this process keeps: keyed state, the embedded log, embedded Postgres, secrets made here.',
    path: true,
  }),
  fresh: setting(z.boolean().default(false), {
    doc: 'Start over: empties the data directory (and on Kafka the pipeline’s own topics) before the start.',
  }),
  workers: setting(z.int().min(1).max(256).optional(), {
    doc: 'Threads that run tasks.',
    defaultNote: 'one a core, at most one a partition',
  }),
  standbys: setting(z.int().min(0).max(8).default(0), {
    doc: 'Processes that keep each task’s state warm besides the one that runs it, so that they take over at once. Each needs room for that state on its disk; it takes as many processes and one more. On Kafka only.',
    unit: 'copies',
  }),
  http: z.object({
    host: setting(z.string().min(1).default('127.0.0.1').describe('a host name or IP address'), {
      doc: 'Address that the API listens on; 0.0.0.0 opens it to other machines.',
      flagAlias: 'host',
    }),
    port: setting(z.int().min(0).max(65_535).default(3000), {
      doc: 'Port of the API; 0 takes any free one.',
      flagAlias: 'port',
      envAlias: 'PORT',
    }),
  }),
  access: accessSettings,
  pipeline: pipelineSettings,
  topics: topicSettings,
  keying: keyingSettings,
  payments: paymentSettings,
  registry: registrySettings,
  kafka: kafkaSettings,
  embeddedLog: embeddedLogSettings,
  batch: batchSettings,
  epoch: epochSettings,
  watermark: watermarkSettings,
  checkpoint: checkpointSettings,
  savepoints: savepointSettings,
  s3: s3Settings,
  memory: memorySettings,
  deadLetters: deadLetterSettings,
  merchantRisk: merchantRiskSettings,
  model: modelSettings,
  patterns: patternSettings,
  rules: ruleSettings,
  cardToken: cardTokenSettings,
  demo: demoSettings,
  postgres: z.object({
    url: setting(postgresUrl.optional(), {
      doc: 'Postgres database of the analyst API.',
      defaultNote: 'an embedded Postgres in the data directory',
      envAlias: 'DATABASE_URL',
      secret: true,
    }),
    urlFile: setting(z.string().min(1).optional().describe('a file'), {
      doc: 'File with the value of postgres.url.',
      path: true,
      contentOf: 'postgres.url',
    }),
    poolSize: setting(z.int().min(1).max(200).default(10), { doc: 'Connections held at most.', unit: 'connections' }),
  }),
  terminal: z.object({
    show: setting(z.enum(['auto', 'live', 'lines', 'off']).default('auto'), {
      doc: 'Status on standard output: a live screen, a line every few seconds, or nothing; auto takes the screen on a terminal and lines elsewhere.',
    }),
    lineIntervalMs: setting(z.int().min(100).max(3_600_000).default(5_000), {
      doc: 'Time between status lines.',
      unit: 'ms',
    }),
    refreshMs: setting(z.int().min(50).max(10_000).default(250), {
      doc: 'Time between two drawings of the live screen.',
      unit: 'ms',
    }),
  }),
  log: z.object({
    level: setting(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'), {
      doc: 'Least severe log lines that are written.',
    }),
    format: setting(z.enum(['auto', 'text', 'json']).default('auto'), {
      doc: 'Form of log lines; auto writes text on a terminal and JSON elsewhere.',
    }),
  }),
});

/** Every setting with its value, defaults filled in. */
export type Settings = z.output<typeof configurationSchema>;
