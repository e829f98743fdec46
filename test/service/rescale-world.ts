/**
 * Owns a pipeline whose number of partitions changes between its runs: the real tasks, adapters and state in this process,
 * payments of a card world that is cut into pieces, and what came of them in a form that does not depend on where a
 * payment lay. Neighbours: the tests of rescaling; what comes is held against a run that was never disturbed.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeState } from '../../scripts/prove/outcome.js';
import { readTopic } from '../../scripts/prove/outputs.js';
import { objectSnapshotStore } from '../../src/adapters/object-storage/snapshot-store.js';
import { rocksDbStateStore } from '../../src/adapters/rocksdb/rocksdb-state-store.js';
import { openBackend } from '../../src/app/backend.js';
import { type Configuration, loadConfiguration } from '../../src/app/configuration/index.js';
import { openDataDirectory } from '../../src/app/data-directory.js';
import { openFraudParts } from '../../src/app/fraud-parts.js';
import { currentGeneration, type Generation, withGeneration } from '../../src/app/generation.js';
import { openObjects } from '../../src/app/objects.js';
import { savepointPlace, takeSavepoint, type Work } from '../../src/app/savepoints.js';
import { ROCKSDB_OPTIONS, taskOptions } from '../../src/app/task-options.js';
import { taskPlaces } from '../../src/app/task-places.js';
import { prepareTopics } from '../../src/app/topics.js';
import type { Alert } from '../../src/fraud/alerts/alert.js';
import { cardState } from '../../src/fraud/cards/state.js';
import { cardWorld } from '../../src/fraud/world/card-world.js';
import { Savepoints } from '../../src/stream/checkpoint/savepoints.js';
import type { LogBackend, TopicAdmin } from '../../src/stream/ports.js';
import { systemClock } from '../../src/stream/runtime/system-clock.js';
import { systemDisk } from '../../src/stream/runtime/system-disk.js';
import { Task } from '../../src/stream/runtime/task.js';
import { ByteReader } from '../../src/stream/state/byte-writer.js';
import { makeColumns } from '../../src/stream/state/layout.js';
import { ValueCodec } from '../../src/stream/state/value-codec.js';

const WORLD_STARTS = Date.UTC(2026, 2, 2, 9);
const DRAIN_MS = 60_000;
/** Enough for every partition to have one. */
const LAST_CARDS = 64;
const TESTED_CARDS = 12;
const SMALL_PAYMENTS = 6;

export interface WorldPayment {
  readonly key: Buffer;
  readonly value: Buffer;
}

/**
 * Payments of one world in the order of their event time, in as many pieces as asked for. Each piece ends in the midst of
 * card testing: timers are pending when the next one comes.
 */
export function paymentsInPieces(payments: number, pieces: number): readonly (readonly WorldPayment[])[] {
  const who = { cards: 150, merchants: 200, seed: 7 };
  const what = { rhythm: 'even', paymentsPerCardPerDay: 40, fraudPerThousand: 30 } as const;
  const world = cardWorld({ ...who, ...what, startMs: WORLD_STARTS });
  const all = world
    .next(Number.MAX_SAFE_INTEGER, payments)
    .flatMap(({ key, value, atMs }) => (value === null ? [] : [{ key: Buffer.from(key), value, atMs }]));
  const size = Math.ceil(all.length / pieces);
  return Array.from({ length: pieces }, (_, piece) => {
    const part = all.slice(piece * size, (piece + 1) * size);
    return [...part, ...cardTests(piece, Math.floor(part.at(-1)?.atMs ?? WORLD_STARTS))];
  });
}

function cardTests(piece: number, occurredAt: number): readonly WorldPayment[] {
  return Array.from({ length: TESTED_CARDS * SMALL_PAYMENTS }, (_, number) =>
    payment(`tested-${piece}-${number % TESTED_CARDS}`, `test-${piece}-${number}`, 100 + number, occurredAt),
  );
}

/** Weeks later somebody pays in every partition: event time passes every timer. */
export function lastPayments(): readonly WorldPayment[] {
  const occurredAt = WORLD_STARTS + 40 * 86_400_000;
  return Array.from({ length: LAST_CARDS }, (_, number) =>
    payment(`last-${number}`, `last-${number}`, 500, occurredAt),
  );
}

function payment(cardId: string, paymentId: string, amountMinor: number, occurredAt: number): WorldPayment {
  const value = { paymentId, cardId, merchantId: 'm-1', amountMinor, currency: 'EUR', occurredAt };
  return { key: Buffer.from(cardId), value: Buffer.from(JSON.stringify(value)) };
}

export interface Outcome {
  /** What every alert says of its payment, sorted. */
  readonly alerts: readonly string[];
  /** State as text by card. */
  readonly cards: ReadonlyMap<string, string>;
}

export class RescaleWorld {
  readonly work: Work & { readonly progress: string[] };

  private constructor(
    readonly configuration: Configuration,
    readonly backend: LogBackend,
    readonly admin: TopicAdmin,
  ) {
    const progress: string[] = [];
    this.work = {
      clock: systemClock,
      signal: new AbortController().signal,
      progress,
      onProgress: (line) => progress.push(line),
    };
  }

  static async open(flags: readonly string[]): Promise<RescaleWorld> {
    const configuration = configurationOf(flags);
    await markDirectory(configuration.dataDir);
    const backend = await openBackend(configuration);
    return new RescaleWorld(configuration, backend, await backend.openAdmin());
  }

  get parts() {
    const { configuration, backend, admin, work } = this;
    return { configuration, backend, admin, ...work };
  }

  generation(): Promise<Generation> {
    return currentGeneration(this.parts);
  }

  /** Makes the topics, as a start does. */
  async prepare(): Promise<Generation> {
    const generation = await this.generation();
    await prepareTopics(this.admin, withGeneration(this.configuration, generation), generation, () => {});
    return generation;
  }

  /** Writes to the topic as producers do: keyed by card, placed by the default partitioner. */
  async pay(payments: readonly WorldPayment[]): Promise<void> {
    const { source } = await this.generation();
    const writer = await this.backend.openWriter();
    await writer.write(
      payments.map((payment) => ({ ...payment, topic: source, headers: [], timestampMs: Date.now() })),
    );
    await writer.close();
  }

  /** Runs the generation's tasks until everything is committed, then stops them. */
  async run(): Promise<void> {
    const generation = await this.prepare();
    const configuration = withGeneration(this.configuration, generation);
    const fraud = await openFraudParts(configuration);
    const { stateDirectory, snapshotPlace } = await taskPlaces(configuration, this.admin, generation.stateLog);
    const snapshots = objectSnapshotStore(await openObjects(snapshotPlace, configuration));
    const options = { ...taskOptions(configuration, stateDirectory, generation.number), hotKeys: 4_096 };
    const tasks = Array.from(
      { length: generation.partitions },
      (_, partition) =>
        new Task({
          partition,
          worker: 0,
          definition: fraud.pipelineOn(configuration.topics),
          backend: this.backend,
          openStore: rocksDbStateStore(ROCKSDB_OPTIONS),
          snapshots,
          disk: systemDisk,
          clock: systemClock,
          options,
          say: () => {},
        }),
    );
    const runs = Promise.all(tasks.map((task) => task.run()));
    try {
      await Promise.race([runs, this.untilDrained(generation, tasks)]);
    } finally {
      for (const task of tasks) task.stop();
      await runs;
      await fraud.close();
    }
  }

  /** All that came of the payments so far. */
  async outcome(name: string): Promise<Outcome> {
    const records = await readTopic(this.backend, this.configuration.topics.alerts);
    const alerts = records.map(({ value }) => comparable(JSON.parse(String(value)) as Alert));
    return { alerts: alerts.sort(), cards: await this.cards(name) };
  }

  async close(): Promise<void> {
    await this.admin.close();
    await this.backend.close();
  }

  private async untilDrained(
    { source }: Generation,
    tasks: readonly Task<never, never>[] | readonly unknown[],
  ): Promise<void> {
    const deadline = Date.now() + DRAIN_MS;
    const statuses = () => (tasks as readonly Task<never, never>[]).map((task) => task.status());
    for (;;) {
      const ends = await this.admin.ranges(source);
      const isThere = statuses().every(
        ({ state, partition, committedOffset }) => state === 'running' && committedOffset >= ends[partition].end,
      );
      if (isThere) return;
      if (Date.now() > deadline) throw new Error(`not drained: ${JSON.stringify(statuses())}`);
      await sleep(20);
    }
  }

  private async cards(name: string): Promise<ReadonlyMap<string, string>> {
    const objects = await openObjects(savepointPlace(this.configuration), this.configuration);
    const generation = await this.generation();
    const manifest = await takeSavepoint({ ...this.parts, generation, name, objects });
    const columns = makeColumns(cardState, 1);
    const codec = new ValueCodec(cardState, columns);
    const cards = new Map<string, string>();
    for (const task of manifest.tasks) {
      for await (const entries of new Savepoints(objects).entries(task)) {
        for (const { key, value } of entries) {
          codec.read(new ByteReader(value), 0);
          columns.recent.entry.sourceOffset.fill(0); // of another topic, or none
          const card = key.toString();
          if (cards.has(card)) throw new Error(`card ${card} is in two tasks`);
          cards.set(card, describeState(cardState.fields, columns, 0));
        }
      }
    }
    return cards;
  }
}

/** As a start does, so that it is known as ours. */
async function markDirectory(dataDir: string): Promise<void> {
  const directory = await openDataDirectory(dataDir);
  for (const name of ['log', 'state', 'checkpoints']) await directory.subdirectory(name);
  await directory.close();
}

export function configurationOf(flags: readonly string[]): Configuration {
  const argv = ['--no-demo', '--watermark-idle-timeout-ms=0', '--roles=detector', ...flags];
  return loadConfiguration({ argv, env: {}, cwd: path.resolve(import.meta.dirname), readFile: () => undefined });
}

/**
 * What an alert says, but for where its records lay and when it was made: what people look for first, and a hash of all.
 * Of payments whose place is not known any more the evidence tells how many there were.
 */
function comparable(alert: Alert): string {
  const { source: _, ...evidence } = alert.evidence;
  const patterns = evidence.patterns.map((finding) =>
    'matched' in finding
      ? { ...finding, unplaced: 0, matched: finding.matched.length + (finding.unplaced ?? 0) }
      : finding,
  );
  const lasting = { ...alert, alertId: '', detectedAt: 0, traceparent: '', evidence: { ...evidence, patterns } };
  const hash = createHash('sha256').update(JSON.stringify(lasting)).digest('hex').slice(0, 16);
  const { cardId, paymentId, decision, score, rules } = alert;
  return `${cardId} ${paymentId}: ${decision}, ${score}, ${rules.map(({ reason }) => reason).join(', ')} (${hash})`;
}
