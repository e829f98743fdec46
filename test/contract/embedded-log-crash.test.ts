/**
 * The embedded log under SIGKILL: processes that commit epochs and write records are killed at random moments, again and
 * again; what they were told is durable must be there, once, whole and in order. The seed of the moments is printed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openEmbeddedBackend } from '../../src/adapters/embedded-log/backend.js';
import type { LogBackend } from '../../src/stream/ports.js';
import { RecordBatch } from '../../src/stream/records.js';
import { CHILD_PROGRAM, compileEmbeddedLog } from './embedded-log-build.js';

const ROUNDS = 7;
const LOG = { maxBytes: 512 * 1024 * 1024 };

let build: Awaited<ReturnType<typeof compileEmbeddedLog>>;
let directory: string;
let backend: LogBackend;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  build = await compileEmbeddedLog();
  directory = await mkdtemp(join(tmpdir(), 'embedded-log-crash-'));
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await backend?.close();
  await rm(directory, { recursive: true, force: true });
  await build?.remove();
});

/** Runs the child program; `acknowledged` is the last number that it was told is durable. */
function start(settings: object) {
  const everything = { build: build.directory, log: { directory, ...LOG }, ...settings };
  const child = spawn(process.execPath, [CHILD_PROGRAM, JSON.stringify(everything)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.add(child);
  const run = { acknowledged: -1, resumed: null as number | null };
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const [what, number] = line.split(' ');
    if (what === 'acknowledged') run.acknowledged = Number(number);
    if (what === 'resumed') run.resumed = Number(number);
  });
  const begun = Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([exitCode]) => Promise.reject(new Error(`the child ended early with ${exitCode}`))),
  ]);
  begun.catch(() => {});
  return {
    run,
    begun,
    kill: async () => {
      const closed = Promise.all([once(child, 'exit'), once(lines, 'close')]);
      child.kill('SIGKILL');
      await closed;
      children.delete(child);
    },
  };
}

async function values(topic: string, partition: number): Promise<string[]> {
  const reader = await backend.openReader({ topic, partition, from: 'earliest' });
  const batch = new RecordBatch(1_000);
  const seen: string[] = [];
  const end = await reader.endOffset();
  while (reader.position < end) {
    reader.read(batch);
    for (let i = 0; i < batch.count; i++) seen.push(batch.value(i)?.toString('latin1') ?? 'null');
  }
  await reader.close();
  return seen;
}

/** Numbers from a seed (mulberry32), 0 to 1. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

it(`loses, doubles and tears nothing that was acknowledged, over ${ROUNDS} kills`, { timeout: 60_000 }, async () => {
  const seed = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000);
  console.log(`CRASH_SEED=${seed}`);
  const random = seeded(seed);
  backend = await openEmbeddedBackend({ directory, ...LOG });
  const admin = await backend.openAdmin();
  await admin.ensure([
    { name: 'alerts', partitions: 2, cleanup: 'delete' },
    { name: 'dead-letters', partitions: 1, cleanup: 'delete' },
    { name: 'state', partitions: 1, cleanup: 'delete', retentionMs: -1 },
    { name: 'feed', partitions: 1, cleanup: 'delete' },
  ]);
  const outputs: [string, number][] = [
    ['alerts', 0],
    ['alerts', 1],
    ['dead-letters', 0],
  ];
  const number = (value: string) => Number(/\d{8}/.exec(value)?.[0]);
  let committed = -1;
  let fed = -1;
  for (let round = 0; round < ROUNDS; round++) {
    const stateLog = { topic: 'state', partition: 0 };
    const committer = start({ program: 'commit', taskId: 'task', outputs, stateLog, paddingBytes: 200_000 });
    const feeder = start({ program: 'write', topic: 'feed', partition: 0, from: fed + 1 });
    await Promise.all([committer.begun, feeder.begun]);
    await sleep(20 + random() * 500);
    await Promise.all([committer.kill(), feeder.kill()]);

    // A commit that was whole on disk when its process died shows with the next write of anyone (`refresh` says why);
    // a task sees it by its fence, this oracle by a write of its own.
    await admin.publishProgress('oracle', 'alerts', new Map([[0, round]]));

    // The child's own view on starting: exactly what was committed.
    expect(committer.run.resumed).toBe(committed);
    const stateNumbers = (await values('state', 0)).map((value) => value.slice(0, 16));
    const last = stateNumbers.length / 2 - 1;
    expect(last).toBeGreaterThanOrEqual(Math.max(committer.run.acknowledged, committed));
    expect(stateNumbers.map((value) => `${number(value)} ${value.slice(9, 14).trim()}`)).toEqual(
      Array.from({ length: last + 1 }, (_, n) => [`${n} first`, `${n} secon`]).flat(),
    );
    for (const [topic, partition] of outputs) {
      expect((await values(topic, partition)).map(number)).toEqual(Array.from({ length: last + 1 }, (_, n) => n));
    }
    committed = last;

    const feed = (await values('feed', 0)).map(Number);
    expect(feed).toEqual(feed.map((_, n) => n));
    expect(feed.length - 1).toBeGreaterThanOrEqual(Math.max(feeder.run.acknowledged, fed));
    fed = feed.length - 1;
  }
  expect(committed).toBeGreaterThan(ROUNDS);
  expect(fed).toBeGreaterThan(ROUNDS);
});
