/**
 * Owns the proof that consumers can rely on the alert contract while the service is killed: one service with all its
 * roles on a real broker, payments at a steady rate, kill -9 again and again; the Python example reads all along, kcat
 * and (where there is Java) the Java example read afterwards. All must have seen the same alerts, each once and valid.
 *
 *   npm run -s prove:consumers -- [--kills N] [--rate N] [--seconds N] [--seed S] [--python PROGRAM]
 *
 * Needs kcat, and Python with confluent-kafka and jsonschema. Exit code 0: all of it held.
 * Neighbours: `setting-up.ts` for broker and topics, `service.ts` for the process, `examples/consume-alerts`.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { decodeAlert } from '../../src/fraud/alerts/encode-alert.js';
import { Random } from '../../src/fraud/world/random.js';
import type { OutputRecord, RecordHeader } from '../../src/stream/records.js';
import { type InputMessage, inputMessages } from './input.js';
import { readTopic } from './outputs.js';
import { labelledPaymentsFile, projectRoot } from './project.js';
import { type ServiceProcess, startService } from './service.js';
import { type RunPlace, type Surroundings, setUp } from './setting-up.js';

const run = promisify(execFile);
const PORT = 19_561;
const PARTITIONS = 4;
const SLICE_MS = 50;
/** Between a start and its kill: some fall into the start, most into the work. */
const KILL_AFTER_MS = { least: 1_500, most: 12_000 };
const CAUGHT_UP_MS = 120_000;
/** For consumers to take what was committed last. */
const SETTLE_MS = 5_000;
const CONSUMER_MS = 60_000;
const examples = join(projectRoot, 'examples', 'consume-alerts');
const schemaFile = join(projectRoot, 'schemas', 'alert.schema.json');

interface Options {
  readonly kills: number;
  readonly rate: number;
  readonly seconds: number;
  readonly seed: number;
  readonly python: string;
}

const say = (line: string) => process.stdout.write(`${line}\n`);

function readOptions(): Options {
  const text = (value: string) => ({ type: 'string' as const, default: value });
  const { values } = parseArgs({
    options: {
      kills: text('5'),
      rate: text('2000'),
      seconds: text('60'),
      seed: text(String(Date.now() % 1_000_000)),
      python: text('python3'),
    },
  });
  const { kills, rate, seconds, seed } = values;
  return { kills: +kills, rate: +rate, seconds: +seconds, seed: +seed, python: values.python };
}

/** The trace of every other payment, from its id alone: so what an alert must carry can be told from the alert. */
function traceOf(paymentId: string): { readonly traceId: string; readonly parentId: string } | null {
  const hash = createHash('sha256').update(paymentId).digest('hex');
  return hash < '8' ? { traceId: hash.slice(0, 32), parentId: hash.slice(32, 48) } : null;
}

function headersOf({ value, bad }: InputMessage): readonly RecordHeader[] {
  if (value === null || bad !== null) return [];
  const { paymentId } = JSON.parse(value.toString()) as { readonly paymentId: string };
  const trace = traceOf(paymentId);
  if (trace === null) return [];
  return [['traceparent', Buffer.from(`00-${trace.traceId}-${trace.parentId}-01`)]];
}

/** Writes payments at the rate, for so many seconds; returns how many. */
async function feed({ backend }: Surroundings, topic: string, { rate, seconds, seed }: Options): Promise<number> {
  const file = existsSync(labelledPaymentsFile) ? labelledPaymentsFile : null;
  const payments = rate * seconds;
  const plan = { file, payments, partitions: PARTITIONS, malformedEvery: 1_000, seed };
  const writer = await backend.openWriter();
  const startedAt = performance.now();
  let written = 0;
  try {
    for await (const messages of inputMessages(plan)) {
      for (let at = 0; at < messages.length && written < payments; ) {
        const due = Math.floor(((performance.now() - startedAt) / 1_000) * rate) - written;
        if (due <= 0) {
          await sleep(SLICE_MS);
          continue;
        }
        const slice = messages.slice(at, at + due);
        const timestampMs = Date.now();
        await writer.write(
          slice.map((message): OutputRecord => {
            const { partition, key, value } = message;
            return { topic, partition, key, value, headers: headersOf(message), timestampMs };
          }),
        );
        at += slice.length;
        written += slice.length;
      }
      if (written >= payments) break;
    }
  } finally {
    await writer.close();
  }
  return written;
}

/** A consumer that reads until it is told to end. */
class PythonConsumer {
  private readonly child: ChildProcess;
  private output = '';
  private readonly ended: Promise<number | null>;

  constructor(python: string, brokers: readonly string[], topic: string) {
    const arguments_ = [join(examples, 'consume.py'), '--brokers', brokers.join(','), '--topic', topic];
    this.child = spawn(python, [...arguments_, '--group', `${topic}-python`, '--schema', schemaFile]);
    this.child.stdout?.on('data', (text: Buffer) => this.hear(text));
    this.child.stderr?.on('data', (text: Buffer) => this.hear(text));
    process.once('exit', () => this.child.kill('SIGKILL'));
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.hear(Buffer.from(error.message));
        resolve(null);
      });
      this.child.once('close', resolve);
    });
  }

  private hear(text: Buffer): void {
    this.output += text.toString();
  }

  /** What it reported. Errors: where it found the contract broken, or ended before. */
  async stop(): Promise<{ readonly alerts: number; readonly others: number }> {
    this.child.kill('SIGTERM');
    const limit = setTimeout(() => this.child.kill('SIGKILL'), CONSUMER_MS);
    const code = await this.ended;
    clearTimeout(limit);
    if (code !== 0) throw new Error(`the Python consumer ended with ${code}: ${this.output.slice(-2_000)}`);
    return JSON.parse(this.output.trim().split('\n').at(-1) ?? '');
  }
}

/** Kills and starts the service again; the last one is left running. */
async function killAgainAndAgain(
  place: RunPlace,
  surroundings: Surroundings,
  options: Options,
): Promise<ServiceProcess> {
  const random = new Random(options.seed);
  const flags = [...place.flags, `--data-dir=${surroundings.path('data')}`];
  const start = () => startService(flags, surroundings.path('service.log'));
  let service = start();
  for (let kill = 1; kill <= options.kills; kill++) {
    const { least, most } = KILL_AFTER_MS;
    const afterMs = Math.round(least + random.unit() * (most - least));
    await Promise.race([sleep(afterMs), service.unexpectedEnd]);
    await service.kill();
    say(`  kill -9 number ${kill}, ${(afterMs / 1_000).toFixed(1)} s after its start`);
    service = start();
  }
  return service;
}

async function caughtUp(
  { admin }: Surroundings,
  place: RunPlace,
  topic: string,
  service: ServiceProcess,
): Promise<void> {
  const deadline = Date.now() + CAUGHT_UP_MS;
  for (;;) {
    const progress = await admin.progress(place.configuration.kafka.group, topic);
    const ranges = await admin.ranges(topic);
    if (ranges.every(({ partition, end }) => (progress.get(partition) ?? 0) >= end)) return;
    if (Date.now() > deadline) throw new Error(`not caught up after ${CAUGHT_UP_MS / 1_000} s:\n${service.said()}`);
    await Promise.race([sleep(500), service.unexpectedEnd]);
  }
}

async function kcatCount(brokers: readonly string[], topic: string): Promise<number> {
  const { stdout } = await run(join(examples, 'kcat.sh'), [brokers.join(','), topic, '--count'], {
    timeout: CONSUMER_MS,
  });
  return Number(stdout.trim());
}

/** Null where there is no Java, or none of Kafka's jars. */
async function javaCount(brokers: readonly string[], topic: string): Promise<number | null> {
  const jars = join(projectRoot, '.kafka', 'lib');
  if (!existsSync(jars)) return null;
  const program = ['-cp', join(jars, '*'), join(examples, 'ConsumeAlerts.java')];
  const arguments_ = [brokers.join(','), topic, `${topic}-java`, '5'];
  const settings = { timeout: CONSUMER_MS, maxBuffer: 512 * 1_048_576 };
  const { stdout } = await run('java', [...program, ...arguments_], settings);
  return (JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { readonly alerts: number }).alerts;
}

/** Every alert carries its payment's trace, or else one of its own. Returns how many carry a payment's. */
async function checkTraces({ backend }: Surroundings, topic: string): Promise<{ alerts: number; traced: number }> {
  let traced = 0;
  const records = await readTopic(backend, topic);
  for (const { value, headers } of records) {
    const { alertId, paymentId } = decodeAlert(value);
    const parent = headers.find(([name]) => name === 'traceparent')?.[1].toString() ?? '';
    const trace = paymentId === null ? null : traceOf(paymentId);
    if (!parent.startsWith(`00-${trace?.traceId ?? alertId}-`)) {
      throw new Error(`alert ${alertId} of payment ${paymentId} has the trace ${parent}`);
    }
    if (trace !== null) traced += 1;
  }
  return { alerts: records.length, traced };
}

async function prove(options: Options): Promise<boolean> {
  const startedAt = performance.now();
  say(`alerts read by consumers during ${options.kills} kills, ${options.rate} payments/s, seed ${options.seed}`);
  const surroundings = await setUp({ port: PORT, partitions: PARTITIONS });
  try {
    const input = await surroundings.inputTopic('consumers-input');
    const place = await surroundings.place('consumers', input, [], 'detector,api,projector');
    const { alerts } = place.configuration.topics;
    const python = new PythonConsumer(options.python, surroundings.brokers, alerts);
    const [payments, service] = await Promise.all([
      feed(surroundings, input, options),
      killAgainAndAgain(place, surroundings, options),
    ]);
    await caughtUp(surroundings, place, input, service);
    await sleep(SETTLE_MS);
    const seen = await python.stop();
    await service.stop();
    const counts = {
      python: seen.alerts,
      kcat: await kcatCount(surroundings.brokers, alerts),
      java: await javaCount(surroundings.brokers, alerts),
    };
    const traces = await checkTraces(surroundings, alerts);
    const seconds = (performance.now() - startedAt) / 1_000;
    const agree = Object.values(counts).every((count) => count === null || count === traces.alerts);
    say(
      `  ${payments} payments, ${options.kills} kills, ${traces.alerts} alerts (${traces.traced} with their payment's trace), ${seconds.toFixed(0)} s in all`,
    );
    say(`  seen by Python ${counts.python}, by kcat ${counts.kcat}, by Java ${counts.java ?? '(not here)'}`);
    say(agree && traces.alerts > 0 ? 'right: each alert once and valid, for every consumer' : 'WRONG: they differ');
    return agree && traces.alerts > 0;
  } finally {
    await surroundings.close();
  }
}

process.once('SIGINT', () => process.exit(130));
process.exitCode = (await prove(readOptions())) ? 0 : 1;
