/**
 * Owns `fraud feed`: puts the payments of a file into a topic, at a steady rate or as fast as the log takes them.
 * Neighbours: `fraud/payments/labelled-file.ts` reads the file, `app/demo/pace.ts` keeps the rate.
 *
 * F1 A payment counts as fed once the log has acknowledged it; whatever ends the command, it says how many that were, and
 *    `--skip` with that number goes on there.
 */
import { Pace } from '../app/demo/pace.js';
import { findGeneration, withGeneration } from '../app/generation.js';
import { detectionOf } from '../app/keying.js';
import { prepareTopics } from '../app/topics.js';
import { tokeniseCard } from '../fraud/payments/card-token.js';
import { type FeedBatch, readPaymentFile } from '../fraud/payments/labelled-file.js';
import type { FeedPayment } from '../fraud/payments/payment-lines.js';
import { StreamError } from '../stream/errors.js';
import type { LogBackend, RecordWriter } from '../stream/ports.js';
import {
  type Command,
  type Invocation,
  type Surroundings,
  textFlag,
  UsageError,
  wholeFlag,
  withBackend,
} from './command.js';
import { openProgress, type Progress } from './progress.js';

const SLICE_MS = 20;
const WRITE_RECORDS = 2_000;
const EXIT_INTERRUPTED = 130;

interface Plan {
  readonly path: string;
  /** Empty, until the log is open: the one that the pipeline reads. */
  readonly topic: string;
  readonly perSecond: number;
  readonly limit: number;
  readonly skip: number;
  /** Moves event times so that the first payment fed happens now. */
  readonly timeIsNow: boolean;
  readonly skipMalformed: boolean;
  /** Leaves the keys out, as a source that is not keyed by card has it. */
  readonly isKeyless: boolean;
}

export const feedCommand: Command = {
  name: 'feed',
  words: 'FILE',
  summary: 'Put the payments of a file (CSV, NDJSON, either of them gzipped) into the payments topic.',
  flags: {
    topic: { kind: 'value', value: 'NAME', doc: 'Topic to write to; default: the configured payments topic.' },
    rate: { kind: 'value', value: 'N|max', doc: 'Payments a second; default: max.' },
    'start-time': {
      kind: 'value',
      value: 'now|original',
      doc: 'now moves the payments’ times so that the first one happens now; default: original.',
    },
    limit: { kind: 'value', value: 'N', doc: 'Stop after so many payments; default: the whole file.' },
    skip: {
      kind: 'value',
      value: 'N',
      doc: 'Leave the first payments of the file out: goes on after an interrupted feed.',
    },
    'no-key': { kind: 'switch', doc: 'Write payments without keys, for keying.mode repartition.' },
    'skip-malformed': {
      kind: 'switch',
      doc: 'Leave lines out that hold no payment, instead of stopping at the first.',
    },
  },
  examples: [
    'fraud feed payments.csv.gz --rate 2000',
    'fraud feed payments.ndjson --rate max --kafka 127.0.0.1:9092 --start-time now',
  ],
  run: async (invocation, surroundings) => {
    const plan = readPlan(invocation);
    return withBackend(invocation, surroundings, { makeMissing: true }, async (backend) => {
      const topic = await readyTopic(backend, plan, invocation, surroundings);
      return feed(backend, { ...plan, topic }, invocation, surroundings);
    });
  },
};

function readPlan(invocation: Invocation): Plan {
  const [path, ...more] = invocation.words;
  if (path === undefined) throw new UsageError('Which file? fraud feed FILE');
  if (more.length > 0) throw new UsageError(`One file at a time; ${more[0]} is too much.`);
  const rate = textFlag(invocation, 'rate') ?? 'max';
  const perSecond = rate === 'max' ? Number.POSITIVE_INFINITY : Number(rate.replaceAll('_', ''));
  if (!(perSecond > 0)) throw new UsageError(`--rate must be a number above 0, or max; it is ${rate}.`);
  const startTime = textFlag(invocation, 'start-time') ?? 'original';
  if (startTime !== 'now' && startTime !== 'original') {
    throw new UsageError(`--start-time must be now or original; it is ${startTime}.`);
  }
  return {
    path,
    topic: textFlag(invocation, 'topic') ?? '',
    perSecond,
    limit: wholeFlag(invocation, 'limit', Number.MAX_SAFE_INTEGER, 1),
    skip: wholeFlag(invocation, 'skip', 0),
    timeIsNow: startTime === 'now',
    skipMalformed: invocation.flags.has('skip-malformed'),
    isKeyless: invocation.flags.has('no-key'),
  };
}

/**
 * The topic to write to. The pipeline's own are made; any other must be there, so that a misspelt name does not become a
 * topic. After a rescale payments may come in elsewhere than configured.
 */
async function readyTopic(
  backend: LogBackend,
  { topic }: Plan,
  { configuration }: Invocation,
  { tell }: Surroundings,
): Promise<string> {
  const { topics, keying } = configuration;
  const admin = await backend.openAdmin();
  try {
    if (topic !== '' && topic !== topics.payments) {
      if ((await admin.partitionCount(topic)) !== null) return topic;
      throw new UsageError(`There is no topic ${topic}; make it first, or leave --topic out.`);
    }
    const detection = detectionOf(configuration);
    const { current } = await findGeneration({ configuration: detection, backend, admin });
    await prepareTopics(admin, withGeneration(detection, current), current, tell);
    if (topic === '' && keying.mode === 'trusted') return current.source;
    await admin.ensure([{ name: topics.payments, partitions: topics.partitions, cleanup: 'delete' }]);
    return topics.payments;
  } finally {
    await admin.close();
  }
}

/** How far a feed is. */
interface Fed {
  /** Payments of the file passed over because of `--skip`. */
  skipped: number;
  fed: number;
  shiftMs: number | null;
  malformed: number;
}

async function feed(
  backend: LogBackend,
  plan: Plan,
  invocation: Invocation,
  surroundings: Surroundings,
): Promise<number> {
  const { clock, signal, tell } = surroundings;
  const secret = invocation.configuration.cardToken.secret;
  const writer = await backend.openWriter();
  const progress = openProgress(surroundings);
  const state: Fed = { skipped: 0, fed: 0, shiftMs: null, malformed: 0 };
  const startedAt = clock.monotonic();
  const pace = new Pace(plan.perSecond, startedAt);
  const told = () => {
    const seconds = Math.max(0.001, (clock.monotonic() - startedAt) / 1_000);
    const left = state.malformed === 0 ? '' : `, ${state.malformed} lines held no payment`;
    return `${state.fed} payments in ${seconds.toFixed(1)} s (${Math.round(state.fed / seconds)}/s)${left}`;
  };
  try {
    const batches = readPaymentFile(plan.path, {
      malformed: plan.skipMalformed ? 'skip' : 'error',
      batchSize: WRITE_RECORDS,
      ...(secret === undefined ? {} : { tokenise: tokeniseCard(secret) }),
    });
    for await (const batch of batches) {
      state.malformed = batch.skipped;
      await feedBatch(batch, plan, state, { writer, pace, progress, surroundings, told });
      if (signal.aborted || state.fed >= plan.limit) break;
    }
  } catch (error) {
    progress.end();
    tell(`failed after ${told()}; go on with --skip ${plan.skip + state.fed}`);
    throw error;
  } finally {
    await writer.close();
  }
  progress.end();
  if (signal.aborted && state.fed < plan.limit) {
    tell(`stopped after ${told()}; go on with --skip ${plan.skip + state.fed}`);
    return EXIT_INTERRUPTED;
  }
  surroundings.print(`fed ${told()} into ${plan.topic}`);
  return 0;
}

interface Feeding {
  readonly writer: RecordWriter;
  readonly pace: Pace;
  readonly progress: Progress;
  readonly surroundings: Surroundings;
  readonly told: () => string;
}

async function feedBatch(batch: FeedBatch, plan: Plan, state: Fed, feeding: Feeding): Promise<void> {
  const { clock, signal } = feeding.surroundings;
  const passOver = Math.min(batch.payments.length, plan.skip - state.skipped);
  state.skipped += passOver;
  let at = passOver;
  const end = Math.min(batch.payments.length, at + plan.limit - state.fed);
  while (at < end && !signal.aborted) {
    const due = Math.min(feeding.pace.due(clock.monotonic()), end - at, WRITE_RECORDS);
    if (due === 0) {
      await wait(feeding.surroundings, SLICE_MS);
      continue;
    }
    const records = batch.payments.slice(at, at + due).map((payment) => toRecord(payment, plan, state, clock.now()));
    await feeding.writer.write(records);
    feeding.pace.take(due);
    at += due;
    state.fed += due; // F1
    const ofLimit = plan.limit === Number.MAX_SAFE_INTEGER ? 0 : state.fed / plan.limit;
    const ofFile = batch.totalBytes === 0 ? 0 : batch.bytesRead / batch.totalBytes;
    feeding.progress.update(Math.min(1, Math.max(ofLimit, ofFile)), feeding.told());
  }
}

/** The record's own time is now: a log with retention would drop old ones at once. */
function toRecord(payment: FeedPayment, plan: Plan, state: Fed, nowMs: number) {
  const record = { topic: plan.topic, key: plan.isKeyless ? null : payment.key, headers: [], timestampMs: nowMs };
  if (!plan.timeIsNow) return { ...record, value: payment.value };
  state.shiftMs ??= nowMs - payment.occurredAtMs;
  return { ...record, value: withOccurredAt(payment.value, payment.occurredAtMs + state.shiftMs) };
}

function withOccurredAt(value: Buffer, occurredAt: number): Buffer {
  const parsed: unknown = JSON.parse(value.toString());
  if (typeof parsed !== 'object' || parsed === null) {
    throw new StreamError('payment-file-malformed', 'a line holds JSON that is no payment');
  }
  return Buffer.from(JSON.stringify({ ...parsed, occurredAt }));
}

/** Resolves after `ms`, or at once when the command is to stop. */
function wait({ clock, signal }: Surroundings, ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const end = () => {
      cancel();
      signal.removeEventListener('abort', end);
      resolve();
    };
    const cancel = clock.schedule(ms, end);
    signal.addEventListener('abort', end);
  });
}
