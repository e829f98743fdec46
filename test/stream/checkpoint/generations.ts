/**
 * Owns a pipeline of several tasks for tests of savepoints, seeds and seals: generations of it over one memory log, each
 * with a source topic and a state log of its own, and the plain truth of what its cards hold.
 */

import { type SavepointParts, writeSavepoint } from '../../../src/stream/checkpoint/savepoint.js';
import { Savepoints } from '../../../src/stream/checkpoint/savepoints.js';
import { sealTask } from '../../../src/stream/checkpoint/seal.js';
import { seedTasks } from '../../../src/stream/checkpoint/seed.js';
import type { SeedParts } from '../../../src/stream/checkpoint/seed-parts.js';
import { openTaskImage, type TaskImage } from '../../../src/stream/checkpoint/task-image.js';
import { partitionOfKey } from '../../../src/stream/partitioning.js';
import { ownerIdOf, taskIdOf } from '../../../src/stream/pipeline/pipeline.js';
import type { EpochLog, OpenStateStore } from '../../../src/stream/ports.js';
import { systemClock } from '../../../src/stream/runtime/system-clock.js';
import { Task } from '../../../src/stream/runtime/task.js';
import { ByteReader } from '../../../src/stream/state/byte-writer.js';
import { makeColumns } from '../../../src/stream/state/layout.js';
import { STATE_PREFIX, STORED_HEAD_BYTES } from '../../../src/stream/state/stored-form.js';
import { ValueCodec } from '../../../src/stream/state/value-codec.js';
import { makeMemoryLog } from '../../../src/stream/testing/memory-log.js';
import { memoryObjects } from '../../../src/stream/testing/memory-objects.js';
import { memorySnapshotStore } from '../../../src/stream/testing/memory-snapshot-store.js';
import { MemoryDisk, memoryStateStore, type StoreFault } from '../../../src/stream/testing/memory-store.js';
import { type Input, kitPipeline, TOPICS } from '../kit.js';
import { kitOptions, until } from '../task-world.js';

type Kit = ReturnType<typeof kitPipeline>;

/** What a card holds, as far as payments alone decide it. */
export interface CardTruth {
  readonly count: number;
  readonly sum: number;
  /** Newest first. */
  readonly recent: readonly number[];
}

export interface Generation {
  readonly number: number;
  readonly partitions: number;
  readonly source: string;
  readonly stateLog: string;
  readonly pipeline: Kit;
  readonly snapshots: ReturnType<typeof memorySnapshotStore>;
}

export class Generations {
  readonly log = makeMemoryLog({ maxRecordBytes: 600 });
  readonly disk = new MemoryDisk();
  readonly objects = memoryObjects();
  readonly savepoints = new Savepoints(this.objects);
  readonly said: string[] = [];
  storeFault: StoreFault = () => {};
  readonly openStore: OpenStateStore = memoryStateStore({
    disk: this.disk,
    fault: (operation, directory) => this.storeFault(operation, directory),
  });

  /** A generation with empty topics. */
  async make(
    number: number,
    partitions: number,
    pipeline: Kit = kitPipeline(),
    source = `in-${number}`,
  ): Promise<Generation> {
    const stateLog = `log-g${number}`;
    const admin = await this.log.open().openAdmin();
    await admin.ensure([
      { name: source, partitions, cleanup: 'delete', maxRecordBytes: 100_000 },
      { name: stateLog, partitions, cleanup: 'delete', maxRecordBytes: 100_000 },
      { name: TOPICS.out, partitions: 1, cleanup: 'delete' },
      { name: TOPICS.dead, partitions: 1, cleanup: 'delete' },
    ]);
    return {
      number,
      partitions,
      source,
      stateLog,
      pipeline: { ...pipeline, source: { ...pipeline.source, topic: source } },
      snapshots: memorySnapshotStore(this.disk),
    };
  }

  openEpochLog(generation: Generation, partition: number): Promise<EpochLog> {
    const { name } = generation.pipeline;
    return this.log.open().openEpochLog({
      taskId: taskIdOf(name, partition),
      ownerId: ownerIdOf(name, generation.number, partition),
      stateLog: { topic: generation.stateLog, partition },
    });
  }

  task(generation: Generation, partition: number): Task<never, never> {
    const { number, stateLog, pipeline, snapshots } = generation;
    return new Task({
      partition,
      worker: 0,
      definition: pipeline,
      backend: this.log.open(),
      openStore: this.openStore,
      snapshots,
      disk: this.disk.local,
      clock: systemClock,
      options: { ...kitOptions, stateLogTopic: stateLog, generation: number, stateDirectory: `state-g${number}` },
      say: (_level, message) => this.said.push(message),
    }) as unknown as Task<never, never>;
  }

  /** Payments, each in the partition of its card. */
  async write(generation: Generation, inputs: readonly Input[]): Promise<void> {
    const writer = await this.log.open().openWriter();
    const records = inputs.map((input) => ({
      topic: generation.source,
      partition: partitionOfKey(Buffer.from(input.key), generation.partitions),
      key: Buffer.from(input.key),
      value: Buffer.from(JSON.stringify(input)),
      headers: [],
      timestampMs: 2_000_000,
    }));
    await writer.write(records);
  }

  /** Runs every task until all that is in the source is committed. */
  async runToEnd(generation: Generation): Promise<void> {
    const ranges = await (await this.log.open().openAdmin()).ranges(generation.source);
    await Promise.all(
      ranges.map(async ({ partition, end }) => {
        const task = this.task(generation, partition);
        const run = task.run();
        let failed = false;
        run.catch(() => {
          failed = true;
        });
        await until(() => failed || (task.status().state === 'running' && task.status().committedOffset >= end));
        task.stop();
        await run;
      }),
    );
  }

  openImage(generation: Generation, partition: number, directory = 'images'): Promise<TaskImage> {
    return this.openEpochLog(generation, partition).then((epochLog) =>
      openTaskImage({
        taskId: taskIdOf(generation.pipeline.name, partition),
        epochLog,
        snapshots: generation.snapshots,
        openStore: this.openStore,
        disk: this.disk.local,
        directory,
        layout: generation.pipeline.layout as never,
        hotKeys: 16,
        clock: systemClock,
        onProgress: (message) => this.said.push(message),
        shouldStop: () => false,
      }),
    );
  }

  save(
    generation: Generation,
    name: string,
    more: Partial<Pick<SavepointParts, 'replaceUnfinished' | 'shouldStop' | 'attempt' | 'objects'>> = {},
  ) {
    const { number, source, partitions, pipeline } = generation;
    return writeSavepoint({
      name,
      objects: this.objects,
      pipeline: pipeline.name,
      pipelineVersion: pipeline.version,
      generation: number,
      source: { topic: source, identity: `id of ${source}`, partitions },
      layout: pipeline.layout as never,
      openImage: (partition) => this.openImage(generation, partition),
      clock: systemClock,
      onProgress: (message) => this.said.push(message),
      shouldStop: () => false,
      partBytes: 256,
      ...more,
    });
  }

  async seal(generation: Generation, next: Generation, savepoint: string): Promise<void> {
    const { number, stateLog, source, partitions } = next;
    for (let partition = 0; partition < generation.partitions; partition++) {
      const epochLog = await this.openEpochLog(generation, partition);
      await sealTask(epochLog, { generation: number, stateLog, source, partitions, savepoint });
      await epochLog.close();
    }
  }

  async seed(next: Generation, name: string, more: Partial<SeedParts> = {}) {
    return seedTasks({
      savepoint: await this.savepoints.read(name),
      savepoints: this.savepoints,
      generation: next.number,
      source: { topic: next.source, identity: `id of ${next.source}` },
      targets: Array.from({ length: next.partitions }, (_, partition) => ({
        taskId: taskIdOf(next.pipeline.name, partition),
        sourceOffset: 0,
      })),
      layout: next.pipeline.layout as never,
      openEpochLog: (partition) => this.openEpochLog(next, partition),
      snapshots: next.snapshots,
      openStore: this.openStore,
      disk: this.disk.local,
      directory: 'seeds',
      clock: systemClock,
      onProgress: (message) => this.said.push(message),
      shouldStop: () => false,
      ...more,
    });
  }

  /** Seals, saves and seeds: what a rescale does. */
  async rescale(generation: Generation, next: Generation): Promise<void> {
    const name = `to-g${next.number}`;
    await this.seal(generation, next, name);
    await this.save(generation, name);
    await this.seed(next, name);
  }

  /** What every card of a generation holds, by card and by partition; read from images. */
  async cards(generation: Generation): Promise<Map<string, { partition: number; card: CardTruth }[]>> {
    const found = new Map<string, { partition: number; card: CardTruth }[]>();
    for (let partition = 0; partition < generation.partitions; partition++) {
      const image = await this.openImage(generation, partition);
      for await (const { key, value } of image.store.scan(STATE_PREFIX)) {
        const name = Buffer.from(key.subarray(1)).toString();
        const card = decodeCard(generation, Buffer.from(value).subarray(STORED_HEAD_BYTES));
        found.set(name, [...(found.get(name) ?? []), { partition, card }]);
      }
      await image.close();
    }
    return found;
  }

  /** Every card's whole value in its binary form, by card. */
  async values(generation: Generation): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (let partition = 0; partition < generation.partitions; partition++) {
      const image = await this.openImage(generation, partition);
      for await (const { key, value } of image.store.scan(STATE_PREFIX)) {
        found.set(
          Buffer.from(key.subarray(1)).toString(),
          Buffer.from(value.subarray(STORED_HEAD_BYTES)).toString('hex'),
        );
      }
      await image.close();
    }
    return found;
  }

  /** What a savepoint holds of one task. */
  async savedCards(generation: Generation, name: string, partition: number): Promise<Map<string, CardTruth>> {
    const { manifest } = await this.savepoints.read(name);
    const found = new Map<string, CardTruth>();
    for await (const entries of this.savepoints.entries(manifest.tasks[partition])) {
      for (const { key, value } of entries) found.set(key.toString(), decodeCard(generation, value));
    }
    return found;
  }

  outputs(): { quiet?: string; dueMs?: number; count?: number; key?: string; seen?: number }[] {
    return this.log.records(TOPICS.out).map(({ value }) => JSON.parse(String(value)));
  }
}

function decodeCard({ pipeline: { layout } }: Generation, value: Buffer): CardTruth {
  const columns = makeColumns(layout, 1);
  new ValueCodec(layout as never, columns).read(new ByteReader(value), 0);
  const recent: number[] = [];
  for (let back = 0; back < columns.recent.length(0); back++) {
    recent.push(columns.recent.entry.value[columns.recent.newest(0, back)]);
  }
  return { count: columns.count[0], sum: columns.sum[0], recent };
}

/** What the cards hold after these payments, one after the other. */
export function cardsAfter(inputs: readonly Input[]): Map<string, CardTruth> {
  const cards = new Map<string, CardTruth>();
  for (const { key, value } of inputs) {
    const { count, sum, recent } = cards.get(key) ?? { count: 0, sum: 0, recent: [] };
    cards.set(key, { count: count + 1, sum: sum + value, recent: [value, ...recent].slice(0, 4) });
  }
  return cards;
}
