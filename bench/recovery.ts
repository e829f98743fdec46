/**
 * Owns `bench recovery`: how long after a kill -9 a new process commits again, in every partition, over the state of very
 * many cards; and how long from an empty disk, by the checkpoints. From the start of the process to the moment at which
 * another process reads the commit from the state log. On Kafka and on the embedded log.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEmbeddedBackend } from '../src/adapters/embedded-log/backend.js';
import { openKafkaBackend } from '../src/adapters/kafka/backend.js';
import { openDataDirectory } from '../src/app/data-directory.js';
import type { LogBackend, PartitionReader } from '../src/stream/ports.js';
import { RecordBatch } from '../src/stream/records.js';
import type { Bench, BenchPlace, BenchResult, Row } from './bench.js';
import { cardPayments } from './cards.js';
import { embeddedJob, pipelineJob } from './jobs.js';
import type { Job, JobTopics } from './log-bench.js';
import { loadAverage, quantile } from './process-figures.js';
import { ServiceUnderTest } from './service-under-test.js';

const CARDS = 1_000_000;
const KILLS = 10;
const LOG_MIB = 16_384;
const CHECKPOINT_MS = 15_000;
/** A service runs so long between two kills: code compiled, some state written behind. */
const SETTLE_MS = 4_000;
/** Payments that wait for the process that comes back. */
const WAITING = 2_000;
const LONGEST_MS = 600_000;

export const recoveryBench: Bench = {
  name: 'recovery',
  summary:
    'kill -9 to the next commit over --cards cards (default 1,000,000): local disk, empty disk; Kafka and embedded',
  run: measure,
};

interface Measured {
  readonly log: string;
  readonly cards: number;
  readonly disk: 'local' | 'empty';
  /** From the start of the process to the last partition's first commit. */
  readonly ms: readonly number[];
  readonly load: number;
}

async function measure(place: BenchPlace): Promise<BenchResult> {
  const { options, directory } = place;
  const measured: Measured[] = [];
  for (const cards of options.cards ?? [CARDS]) {
    const riskUrl = await place.riskUrl();
    const kafka = await openKafkaBackend({
      brokers: await place.brokers(),
      clientId: 'bench-recovery',
      transactionalIdPrefix: 'bench-recovery',
      transactions: 'auto',
    });
    measured.push(...(await recoveries(place, 'kafka', kafka, pipelineJob(await place.jobParts(), riskUrl), cards)));
    const data = join(directory, `embedded-${cards}`);
    const made = await openDataDirectory(data);
    const log = await made.subdirectory('log');
    await made.close();
    const retentionBytes = (LOG_MIB / 2) * 1_048_576;
    const embedded = await openEmbeddedBackend({ directory: log, maxBytes: LOG_MIB * 1_048_576, retentionBytes });
    const job = embeddedJob(data, LOG_MIB, options.workers, riskUrl);
    measured.push(...(await recoveries(place, 'embedded', embedded, job, cards, data)));
  }
  const rows = measured.map(({ log, cards, disk, ms, load }): Row => {
    const sorted = [...ms].sort((a, b) => a - b);
    return {
      log,
      cards,
      disk,
      starts: sorted.length,
      'p50 ms': Math.round(quantile(sorted, 0.5)),
      'max ms': Math.round(sorted.at(-1) ?? 0),
      load,
    };
  });
  return { figures: { measured }, rows };
}

async function recoveries(
  place: BenchPlace,
  log: string,
  backend: LogBackend,
  job: Job,
  cards: number,
  dataDirectory = join(place.directory, `${log}-${cards}`),
): Promise<readonly Measured[]> {
  const { options, say } = place;
  const run = `recovery-${log}-${Date.now().toString(36)}`;
  const topics = await makeTopics(backend, run, options.partitions);
  const { script, args } = job.service(run, topics, dataDirectory);
  const checkpoints = join(place.directory, `${run}-checkpoints`);
  const more = ['--checkpoint-directory', checkpoints, '--checkpoint-interval-ms', String(CHECKPOINT_MS)];
  const world = new World(backend, topics, cards);
  say(`recovery: ${cards} cards on ${log}, loading`);
  await world.pay(cards);
  let service = ServiceUnderTest.start(script, [...args, ...more]);
  const again = async (disk: 'local' | 'empty'): Promise<number> => {
    await service.kill();
    if (disk === 'empty') rmSync(join(dataDirectory, 'state'), { recursive: true, force: true });
    await world.pay(WAITING);
    const readers = await openReaders(backend, topics.stateLog, options.partitions);
    const startedAt = performance.now();
    service = ServiceUnderTest.start(script, [...args, ...more]);
    const ms = await firstCommits(readers, startedAt).finally(() =>
      Promise.all(readers.map((reader) => reader.close())),
    );
    say(`  ${disk} disk: ${Math.round(ms)} ms, load ${loadAverage()}`);
    await sleep(SETTLE_MS);
    return ms;
  };
  try {
    await service.until(({ payments, lag }) => payments >= cards && lag === 0, LONGEST_MS);
    await untilChecked(checkpoints, options.partitions);
    const local: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) local.push(await again('local'));
    const empty: number[] = [];
    for (let kill = 0; kill < Math.max(1, Math.min(3, options.runs)); kill++) empty.push(await again('empty'));
    const load = loadAverage();
    return [
      { log, cards, disk: 'local', ms: local, load },
      { log, cards, disk: 'empty', ms: empty, load },
    ];
  } finally {
    await service.kill();
    await world.close();
    await backend.close();
  }
}

/** Payments of `cards` cards in turn. */
class World {
  private paid = 0;

  constructor(
    private readonly backend: LogBackend,
    private readonly topics: JobTopics,
    private readonly cards: number,
  ) {}

  async pay(payments: number): Promise<void> {
    const writer = await this.backend.openWriter();
    const load = cardPayments(this.cards, [{ draw: 'each once', payments }], ++this.paid);
    for await (const records of load.batches(this.topics.payments, payments)) await writer.write(records);
    await writer.close();
  }

  async close(): Promise<void> {
    const admin = await this.backend.openAdmin();
    await admin.delete(Object.values(this.topics));
    await admin.close();
  }
}

async function makeTopics(backend: LogBackend, run: string, partitions: number): Promise<JobTopics> {
  const name = (topic: string) => `${run}-${topic}`;
  const topics = {
    payments: name('payments'),
    alerts: name('alerts'),
    deadLetters: name('dead-letters'),
    stateLog: name('state'),
    riskTable: name('risk-table'),
  };
  const admin = await backend.openAdmin();
  const { riskTable, ...others } = topics;
  await admin.ensure([
    ...Object.values(others).map((topic) => ({ name: topic, partitions, cleanup: 'delete' as const })),
    { name: riskTable, partitions: 1, cleanup: 'compact' as const },
  ]);
  await admin.close();
  return topics;
}

/** At the end of what the process that was killed has committed. */
function openReaders(backend: LogBackend, topic: string, partitions: number): Promise<PartitionReader[]> {
  return Promise.all(
    Array.from({ length: partitions }, (_, partition) => backend.openReader({ topic, partition, from: 'latest' })),
  );
}

const batch = new RecordBatch(1_000);

/** Ms from `startedAt` until every partition has committed something new. */
async function firstCommits(readers: readonly PartitionReader[], startedAt: number): Promise<number> {
  const times = await Promise.all(
    readers.map(async (reader) => {
      while (reader.read(batch) === 0) {
        if (performance.now() - startedAt > LONGEST_MS) throw new Error(`no commit within ${LONGEST_MS} ms`);
        await reader.whenReadable(100);
      }
      return performance.now() - startedAt;
    }),
  );
  return Math.max(...times);
}

/** Every task has a checkpoint of all the cards: one that began after the last of them was processed. */
async function untilChecked(directory: string, tasks: number): Promise<void> {
  const deadline = performance.now() + LONGEST_MS;
  await sleep(2 * CHECKPOINT_MS);
  while (!existsSync(directory) || readdirSync(directory, { recursive: true }).length < tasks) {
    if (performance.now() > deadline) throw new Error(`no checkpoint in ${directory}`);
    await sleep(500);
  }
}
