/**
 * Owns the settings of the stream core: topics, batches, epochs, watermarks, checkpoints, memory and the limits of dead
 * letters. Neighbour: `schema.ts` puts them into the whole. The defaults are the measured ones of docs/ARCHITECTURE.md.
 */
import { z } from 'zod';
import { objectPlace } from './s3-settings.js';
import { setting } from './setting.js';

const dayMs = 86_400_000;
const topicName = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,249}$/)
  .describe('a topic name: letters, digits, dot, dash and underscore, 1 to 249 of them');
const topic = (name: string, doc: string) => setting(topicName.default(name), { doc });
const bytes = (defaultBytes: number, minimum: number, doc: string) =>
  setting(z.int().min(minimum).max(1_073_741_824).default(defaultBytes), { doc, unit: 'bytes' });
const ms = (defaultMs: number, minimum: number, maximum: number, doc: string) =>
  setting(z.int().min(minimum).max(maximum).default(defaultMs), { doc, unit: 'ms' });

export const pipelineSettings = z.object({
  name: setting(
    z
      .string()
      .regex(/^[a-z0-9][a-z0-9-]{0,63}$/)
      .default('fraud-detection')
      .describe('small letters, digits and dashes, 1 to 64 of them'),
    { doc: 'Names the pipeline’s tasks, state and producers. Two pipelines on one Kafka need two names.' },
  ),
  startFrom: setting(z.enum(['earliest', 'latest']).default('earliest'), {
    doc: 'Where a pipeline without committed epochs begins to read; later starts go on where it was.',
  }),
  fromSavepoint: setting(z.string().min(1).optional().describe('a savepoint’s name, or a place and its name'), {
    doc: 'Begins a new generation of the pipeline with the state of this savepoint: a name, or directory/name, or s3://bucket/prefix/name. Started again with the same one it goes on where it was, so a unit file may keep it.',
    flagAlias: 'from-savepoint',
  }),
  savepointOffsets: setting(z.enum(['kept', 'start']).default('kept'), {
    doc: 'With pipeline.fromSavepoint: goes on reading where the savepoint was, or reads its source from the start, which is for another topic or cluster.',
    flagAlias: 'savepoint-offsets',
  }),
  allowOtherPipeline: setting(z.boolean().default(false), {
    doc: 'With pipeline.fromSavepoint: takes a savepoint of a pipeline of another name as well.',
    flagAlias: 'allow-other-pipeline',
  }),
});

export const topicSettings = z.object({
  payments: topic('payments.raw', 'Payments in.'),
  byCard: topic('fraud.payments-by-card', 'Payments keyed by card, between the two stages of keying.mode repartition.'),
  alerts: topic('fraud.alerts', 'Alerts out.'),
  deadLetters: topic('payments.dead-letters', 'Payments that could not be read, as they came.'),
  stateLog: topic('fraud.state', 'The state log: one partition a task, the authority for state and offsets.'),
  riskTable: topic(
    'fraud.risk-table',
    'Risk by merchant, compacted; stands in when the merchant-risk service does not answer.',
  ),
  rules: topic('fraud.rules', 'Rule sets with their pattern parameters, compacted; the newest is in force.'),
  rollouts: topic(
    'fraud.rule-rollouts',
    'Which rule set each task runs, and from which offset on, compacted; written with the epoch in which it took effect.',
  ),
  labels: topic('fraud.labels', 'What analysts found an alert to be.'),
  outboxLog: topic('fraud.outbox-log', 'How far changes made through the API have been published.'),
  partitions: setting(z.int().min(1).max(1_024).default(2), {
    doc: 'Partitions of topics that are made here. Existing topics keep theirs.',
    unit: 'partitions',
    flagAlias: 'partitions',
  }),
  replicationFactor: setting(z.int().min(-1).max(32).default(-1), {
    doc: 'Copies of topics that are made here on Kafka; -1 leaves it to the cluster.',
    unit: 'copies',
  }),
});

export const embeddedLogSettings = z.object({
  maxMiB: setting(z.int().min(16).max(1_048_576).default(8_192), {
    doc: 'Largest size of the embedded log. The same for every process that opens it.',
    unit: 'MiB',
  }),
  retentionMiB: setting(z.int().min(1).max(1_048_576).default(1_024), {
    doc: 'What each of its topics keeps, over all partitions; the oldest records go first.',
    unit: 'MiB',
  }),
  retentionMs: ms(7 * dayMs, 1_000, 3_650 * dayMs, 'How long its topics keep records.'),
});

export const batchSettings = z.object({
  maxRecords: setting(z.int().min(1).max(65_536).default(2_048), {
    doc: 'Records that run through the pipeline’s steps together, at most.',
    unit: 'records',
  }),
  readAheadBytes: bytes(2_097_152, 65_536, 'Bytes fetched ahead of the pipeline for each partition, at most.'),
});

export const epochSettings = z.object({
  maxMs: ms(100, 1, 60_000, 'An epoch in which outputs other than alerts wait is committed after this time.'),
  maxPayments: setting(z.int().min(1).max(1_000_000).default(20_000), {
    doc: 'An epoch is committed once it holds this many payments.',
    unit: 'payments',
  }),
  maxBytes: bytes(4_194_304, 65_536, 'An epoch is committed once its outputs reach this size.'),
  alertMs: ms(
    20,
    0,
    60_000,
    'An epoch in which an alert waits is committed once this has passed since the last commit began.',
  ),
  idleMs: ms(250, 1, 60_000, 'An epoch in which nothing but state waits is committed after this time.'),
});

export const watermarkSettings = z.object({
  outOfOrdernessMs: ms(
    5_000,
    0,
    dayMs,
    'How far payments may come out of the order of their own time before they count as late.',
  ),
  idleTimeoutMs: ms(
    30_000,
    0,
    dayMs,
    'Event time of a partition without payments for this long goes on by the clock; 0 lets it stand still.',
  ),
});

export const checkpointSettings = z.object({
  intervalMs: ms(30_000, 500, dayMs, 'Time from one checkpoint’s start to the next one’s.'),
  minPauseMs: ms(5_000, 0, dayMs, 'Least time between a checkpoint’s end and the next one’s start.'),
  timeoutMs: ms(600_000, 1_000, dayMs, 'A checkpoint that takes longer counts as failed; the next one tries again.'),
  retained: setting(z.int().min(1).max(100).default(2), { doc: 'Checkpoints kept.', unit: 'checkpoints' }),
  directory: setting(objectPlace(), {
    doc: 'Where checkpoints are kept. On Kafka, a place that all processes of the pipeline reach (a shared directory, S3) lets the state log be truncated behind them.',
    defaultNote: 'in the data directory; on Kafka the state log is then kept whole',
    path: true,
  }),
});

export const savepointSettings = z.object({
  directory: setting(objectPlace(), {
    doc: 'Where savepoints are kept.',
    defaultNote: 'savepoints in the data directory, which --fresh leaves alone',
    path: true,
  }),
  onStop: setting(z.boolean().default(false), {
    doc: 'A stop by SIGTERM or Ctrl-C ends with a savepoint, named in the log. Give it time: a second Ctrl-C does not wait.',
  }),
});

export const memorySettings = z.object({
  hotKeys: setting(z.int().min(1_024).max(16_777_216).default(131_072), {
    doc: 'Cards whose state each task holds in memory; the others are in the store on disk.',
    unit: 'keys a task',
  }),
  budgetMiB: setting(z.int().min(128).max(1_048_576).default(1_536), {
    doc: 'Memory that this process may take; the start prints its parts. Heaps of worker threads share what the other parts leave.',
    unit: 'MiB',
  }),
});

export const deadLetterSettings = z.object({
  burst: setting(z.int().min(1).max(1_000_000_000).default(1_000), {
    doc: 'This many dead letters in a row stop the task: a bad deploy must not drain the topic.',
    unit: 'records',
  }),
  share: setting(z.number().min(0).max(1).default(0.5), {
    doc: 'A larger share of dead letters among the last records stops the task as well.',
  }),
  shareWindow: setting(z.int().min(1).max(1_000_000_000).default(10_000), {
    doc: 'How many of the last records that share is taken of.',
    unit: 'records',
  }),
});
