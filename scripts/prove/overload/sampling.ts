/**
 * Owns looking at a run once a second: the resident memory of each process of the service, as the kernel tells it, how
 * far the work is, and what is left. Neighbours: `verdict.ts` judges the samples.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogBackend, PartitionReader } from '../../../src/stream/ports.js';
import { RecordBatch } from '../../../src/stream/records.js';
import { sourceEnds } from '../cycles/cycle.js';
import type { Stage } from '../cycles/stage.js';
import type { ServiceControl } from '../nemeses/nemesis.js';
import type { StateFollower } from '../state-follower.js';
import type { Sample } from './verdict.js';

const EVERY_MS = 1_000;
const READ_RECORDS = 512;

/** Takes samples for `durationMs`. Errors: a process that ends. */
export async function sampleFor(
  durationMs: number,
  stage: Stage,
  watched: { readonly services: readonly ServiceControl[]; readonly follower: StateFollower; readonly alerts: Counter },
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const startedMs = performance.now();
  for (let due = EVERY_MS; due <= durationMs; due += EVERY_MS) {
    await sleep(Math.max(0, startedMs + due - performance.now()));
    const ends = await sourceEnds(stage);
    const { committed } = watched.follower;
    const lag = ends.reduce((sum, end, partition) => sum + Math.max(0, end - committed[partition]), 0);
    samples.push({
      atMs: performance.now() - startedMs,
      rssMiB: new Map(await Promise.all(watched.services.map(async (one) => [one.name, await rssOf(one)] as const))),
      committed: committed.reduce((sum, offset) => sum + offset, 0),
      lag,
      alerts: watched.alerts.count(),
    });
  }
  return samples;
}

async function rssOf({ name, pid, logFile }: ServiceControl): Promise<number> {
  if (pid === null) throw new Error(`${name} has ended under the overload; see ${logFile}`);
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`the kernel does not tell the memory of ${name} (pid ${pid})`);
  return Number(kib) / 1_024;
}

/** Counts the committed records of a topic, as they come. */
export class Counter {
  private counted = 0;
  private readonly batch = new RecordBatch(READ_RECORDS);

  private constructor(private readonly readers: readonly PartitionReader[]) {}

  static async open(backend: LogBackend, topic: string, partitions: number): Promise<Counter> {
    const numbers = Array.from({ length: partitions }, (_, partition) => partition);
    const opening = numbers.map((partition) => backend.openReader({ topic, partition, from: 'earliest' }));
    return new Counter(await Promise.all(opening));
  }

  /** So far. */
  count(): number {
    for (const reader of this.readers) {
      for (let more = reader.read(this.batch); more > 0; more = reader.read(this.batch)) this.counted += more;
    }
    return this.counted;
  }

  async close(): Promise<void> {
    for (const reader of this.readers) await reader.close();
  }
}
