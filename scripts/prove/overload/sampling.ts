/**
 * Owns looking at a run once a second: the resident memory of each process of the service, as the kernel tells it, what
 * it says of its heaps, how far the work is, and what is left. Neighbours: `verdict.ts` judges the samples.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogBackend, PartitionReader } from '../../../src/stream/ports.js';
import { RecordBatch } from '../../../src/stream/records.js';
import { sourceEnds } from '../cycles/cycle.js';
import type { Stage } from '../cycles/stage.js';
import type { ServiceControl } from '../nemeses/nemesis.js';
import type { StateFollower } from '../state-follower.js';
import { figuresOf, listeningPort, type OwnFigures } from './figures.js';
import type { Sample } from './verdict.js';

const EVERY_MS = 1_000;
/** How often a process is asked for what it knows itself: seldom, for it is busy. */
const ASK_EVERY_MS = 5_000;
const READ_RECORDS = 512;

/** Takes samples for `durationMs`; the newest is told to `onSample`. Errors: a process that ends, or was started again. */
export async function sampleFor(
  durationMs: number,
  stage: Stage,
  watched: { readonly services: readonly ServiceControl[]; readonly follower: StateFollower; readonly alerts: Counter },
  onSample: (sample: Sample) => void,
): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  const processes = watched.services.map((service) => new WatchedProcess(service));
  const startedMs = performance.now();
  for (let due = EVERY_MS; due <= durationMs; due += EVERY_MS) {
    await sleep(Math.max(0, startedMs + due - performance.now()));
    const ends = await sourceEnds(stage);
    const { committed } = watched.follower;
    const lag = ends.reduce((sum, end, partition) => sum + Math.max(0, end - committed[partition]), 0);
    const memory = new Map(await Promise.all(processes.map(async (one) => [one.name, await one.look()] as const)));
    const sample: Sample = {
      atMs: performance.now() - startedMs,
      memory,
      committed: committed.reduce((sum, offset) => sum + offset, 0),
      lag,
      alerts: watched.alerts.count(),
      stored: stage.projector === null ? null : processes.reduce((sum, { stored }) => sum + stored, 0),
    };
    samples.push(sample);
    onSample(sample);
  }
  return samples;
}

class WatchedProcess {
  private readonly startedAtMs: number;
  private port: number | null = null;
  private figures: OwnFigures | null = null;
  private askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(private readonly service: ServiceControl) {
    this.startedAtMs = service.startedAtMs;
  }

  get name(): string {
    return this.service.name;
  }

  get stored(): number {
    return this.figures?.stored ?? 0;
  }

  async look() {
    const { name, pid, logFile, startedAtMs } = this.service;
    if (pid === null || startedAtMs !== this.startedAtMs) {
      throw new Error(`${name} has ended under the overload; see ${logFile}`);
    }
    const rssMiB = await rssOf(pid);
    const nowMs = performance.now();
    if (nowMs - this.askedAtMs >= ASK_EVERY_MS) {
      this.askedAtMs = nowMs;
      this.port ??= await listeningPort(pid);
      if (this.port !== null) this.figures = (await figuresOf(this.port)) ?? this.figures;
    }
    const { heapMiB = null, externalMiB = null } = this.figures ?? {};
    return { rssMiB, heapMiB, externalMiB };
  }
}

async function rssOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`the kernel does not tell the memory of process ${pid}`);
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
