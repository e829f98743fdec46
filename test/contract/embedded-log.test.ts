/** The embedded log: the contract of every backend, and what it promises beyond. Its crash test is a file of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedLogOptions, openEmbeddedBackend } from '../../src/adapters/embedded-log/backend.js';
import { OffsetOutOfRangeError, StreamError } from '../../src/stream/errors.js';
import type { Clock, LogBackend, PartitionReader, TopicSpec } from '../../src/stream/ports.js';
import { type OutputRecord, RecordBatch } from '../../src/stream/records.js';
import { CHILD_PROGRAM, compileEmbeddedLog } from './embedded-log-build.js';
import { describeLogBackend } from './log-backend.contract.js';

const newDirectory = () => mkdtemp(join(tmpdir(), 'embedded-log-'));

describeLogBackend('embedded', async () => {
  const directory = await newDirectory();
  return {
    open: () => openEmbeddedBackend({ directory, maxBytes: 1024 * 1024 * 1024 }),
    close: () => rm(directory, { recursive: true, force: true }),
  };
});

let directory: string;
const opened: LogBackend[] = [];

beforeEach(async () => {
  directory = await newDirectory();
});

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close();
  await rm(directory, { recursive: true, force: true });
});

async function openLog(options: Partial<EmbeddedLogOptions> = {}, clock?: Clock): Promise<LogBackend> {
  const backend = await openEmbeddedBackend({ directory, maxBytes: 256 * 1024 * 1024, ...options }, clock);
  opened.push(backend);
  return backend;
}

async function ensure(backend: LogBackend, ...specs: (Partial<TopicSpec> & { name: string })[]): Promise<void> {
  const admin = await backend.openAdmin();
  await admin.ensure(specs.map((spec) => ({ partitions: 1, cleanup: 'delete', ...spec })));
}

function record(topic: string, value: Buffer | string | null, key: string | null = null): OutputRecord {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return {
    topic,
    partition: 0,
    key: key === null ? null : Buffer.from(key),
    value: bytes,
    headers: [],
    timestampMs: 1,
  };
}

/** Everything from the reader's position to the end, as [offset, key, value]. */
async function drain(reader: PartitionReader): Promise<[number, string | null, string | null][]> {
  const batch = new RecordBatch(64);
  const seen: [number, string | null, string | null][] = [];
  const end = await reader.endOffset();
  while (reader.position < end) {
    reader.read(batch);
    for (let i = 0; i < batch.count; i++) {
      seen.push([batch.offset[i], batch.key(i)?.toString() ?? null, batch.value(i)?.toString() ?? null]);
    }
  }
  return seen;
}

const fileBytes = async () => (await stat(join(directory, 'data.mdb'))).size;

/** A clock whose wall time a test moves. */
function movableClock() {
  let nowMs = 1_800_000_000_000;
  let monotonicMs = 0;
  const clock: Clock = {
    now: () => nowMs,
    monotonic: () => monotonicMs,
    schedule: (delayMs, fire) => {
      const timer = setTimeout(fire, delayMs);
      return () => clearTimeout(timer);
    },
  };
  return {
    clock,
    pass: (ms: number) => {
      nowMs += ms;
      monotonicMs += ms;
    },
  };
}

describe('what the embedded log forgets', () => {
  it("keeps a topic's size within its bytes, forgets the oldest, and reuses their place in the file", async () => {
    const backend = await openLog({ retentionBytes: 4 * 1024 * 1024 });
    await ensure(backend, { name: 'payments' });
    const writer = await backend.openWriter();
    const value = Buffer.alloc(100_000, 7);
    const sizes: number[] = [];
    for (let i = 0; i < 60; i++) {
      await writer.write(Array.from({ length: 10 }, () => record('payments', value)));
      sizes.push(await fileBytes());
    }
    const admin = await backend.openAdmin();
    const [{ start, end }] = await admin.ranges('payments');
    expect(end).toBe(600);
    expect(end - start).toBeLessThanOrEqual(50);
    expect(end - start).toBeGreaterThan(20);
    expect(sizes.at(-1)).toBeLessThan(16 * 1024 * 1024);
    const old = await backend.openReader({ topic: 'payments', partition: 0, from: 0 });
    expect(() => old.read(new RecordBatch(4))).toThrow(OffsetOutOfRangeError);
    expect(await drain(await backend.openReader({ topic: 'payments', partition: 0, from: 'earliest' }))).toHaveLength(
      end - start,
    );
  });

  it('forgets by age since the append, whatever time a record carries', async () => {
    const { clock, pass } = movableClock();
    const backend = await openLog({ retentionMs: 3_600_000 }, clock);
    await ensure(backend, { name: 'alerts' });
    const writer = await backend.openWriter();
    await writer.write([record('alerts', 'old')]);
    pass(1_800_000);
    await writer.write([record('alerts', 'newer')]);
    expect(await drain(await backend.openReader({ topic: 'alerts', partition: 0, from: 'earliest' }))).toHaveLength(2);
    pass(2_400_000);
    await writer.write([record('alerts', 'newest')]);
    // Upkeep follows the write that resolved.
    await writer.write([record('alerts', 'after')]);
    const kept = await drain(await backend.openReader({ topic: 'alerts', partition: 0, from: 'earliest' }));
    expect(kept.map(([, , value]) => value)).toEqual(['newer', 'newest', 'after']);
  });

  it('never forgets a state log, nor a topic that keeps for ever, unless truncated', async () => {
    const backend = await openLog({ retentionBytes: 1024 * 1024, retentionMs: 1 });
    await ensure(backend, { name: 'state' }, { name: 'ledger', retentionMs: -1 });
    const log = await backend.openEpochLog({ taskId: 't', stateLog: { topic: 'state', partition: 0 } });
    await log.fence();
    for (let i = 0; i < 20; i++) {
      await log.commit({ outputs: [record('ledger', Buffer.alloc(200_000))], stateLog: [Buffer.alloc(200_000)] });
    }
    expect(await log.stateLogRange()).toEqual({ start: 0, end: 20 });
    const admin = await backend.openAdmin();
    expect(await admin.ranges('ledger')).toEqual([{ partition: 0, start: 0, end: 20, writtenEnd: 20 }]);
    await log.truncateStateLog(15);
    expect(await log.stateLogRange()).toEqual({ start: 15, end: 20 });
  });

  it('compacts a compacted topic to the newest record of each key, with its offsets, while others append', async () => {
    const backend = await openLog();
    await ensure(backend, { name: 'risk', cleanup: 'compact' });
    const writer = await backend.openWriter();
    const padding = 'x'.repeat(2_000);
    for (let round = 0; round < 80; round++) {
      await writer.write(Array.from({ length: 20 }, (_, i) => record('risk', `${round} ${padding}`, `merchant ${i}`)));
    }
    await writer.write([record('risk', null, 'merchant 3'), record('risk', 'no key')]);
    const reader = await backend.openReader({ topic: 'risk', partition: 0, from: 'earliest' });
    const seen = await drain(reader);
    expect(seen.length).toBeLessThan(1_000);
    const newest = new Map(seen.map(([, key, value]) => [key, value?.split(' ')[0] ?? null]));
    expect(newest.size).toBe(21);
    for (let i = 0; i < 20; i++) expect(newest.get(`merchant ${i}`)).toBe(i === 3 ? null : '79');
    const offsets = seen.map(([offset]) => offset);
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
    expect(offsets.at(-1)).toBe(1_601);
    // Positions in what was compacted away are still good to start from.
    const middle = await backend.openReader({ topic: 'risk', partition: 0, from: 777 });
    expect((await drain(middle)).at(-1)).toEqual([1_601, null, 'no key']);
  });
});

describe('a full log', () => {
  it('says so, keeps nothing of the write, and still reads and truncates; then it takes writes again', async () => {
    const backend = await openLog({ maxBytes: 16 * 1024 * 1024 });
    await ensure(backend, { name: 'state' }, { name: 'out', retentionMs: -1 });
    const log = await backend.openEpochLog({ taskId: 't', stateLog: { topic: 'state', partition: 0 } });
    await log.fence();
    const epoch = () => ({ outputs: [record('out', 'x')], stateLog: [Buffer.alloc(500_000)] });
    let committed = 0;
    const failure = await (async () => {
      for (; committed < 100; committed++) await log.commit(epoch());
    })().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'log-full' });
    expect(String(failure)).toContain(directory);
    expect(committed).toBeGreaterThan(10);
    expect(await log.stateLogRange()).toEqual({ start: 0, end: committed });
    expect(await drain(await backend.openReader({ topic: 'out', partition: 0, from: 0 }))).toHaveLength(committed);
    await log.truncateStateLog(committed - 2);
    await log.fence();
    await log.commit(epoch());
    expect((await log.stateLogRange()).end).toBe(committed + 1);
  });

  it('refuses a directory that it cannot use, with the way out', async () => {
    const file = join(directory, 'a-file');
    await writeFile(file, '');
    await expect(openEmbeddedBackend({ directory: file })).rejects.toMatchObject({ code: 'log-unavailable' });
    if (process.getuid?.() === 0) return;
    await chmod(directory, 0o500);
    await expect(openEmbeddedBackend({ directory: join(directory, 'x') })).rejects.toBeInstanceOf(StreamError);
    await chmod(directory, 0o700);
  });
});

it('stores what resolved, and opens it again', async () => {
  const first = await openLog();
  await ensure(first, { name: 'out' });
  const writer = await first.openWriter();
  await writer.write([record('out', 'kept')]);
  await first.close();
  const second = await openLog();
  expect(await drain(await second.openReader({ topic: 'out', partition: 0, from: 0 }))).toEqual([[0, null, 'kept']]);
});

it('refuses work after it was closed, and finishes what it had begun', async () => {
  const backend = await openLog();
  await ensure(backend, { name: 'out' });
  const writer = await backend.openWriter();
  const pending = writer.write([record('out', 'begun')]);
  await backend.close();
  await pending;
  await expect(writer.write([record('out', 'late')])).rejects.toBeInstanceOf(StreamError);
});

it('gathers many small writes into full batches over one buffer', async () => {
  const backend = await openLog();
  await ensure(backend, { name: 'out' });
  const writer = await backend.openWriter();
  for (let i = 0; i < 200; i++) await writer.write([record('out', `${i}`)]);
  const reader = await backend.openReader({ topic: 'out', partition: 0, from: 0 });
  const batch = new RecordBatch(150);
  expect(reader.read(batch)).toBe(150);
  expect(reader.read(batch)).toBe(50);
  expect(batch.value(49)?.toString()).toBe('199');
});

describe('threads and processes on one directory', () => {
  let build: Awaited<ReturnType<typeof compileEmbeddedLog>>;

  beforeAll(async () => {
    build = await compileEmbeddedLog();
  });

  afterAll(async () => {
    await build?.remove();
  });

  const settings = (more: object) => ({
    build: build.directory,
    log: { directory, maxBytes: 256 * 1024 * 1024 },
    ...more,
  });

  async function thread(more: object): Promise<string[]> {
    const worker = new Worker(CHILD_PROGRAM, { workerData: settings(more) });
    const lines: string[] = [];
    worker.on('message', (line) => lines.push(line));
    const [exitCode] = await once(worker, 'exit');
    expect(exitCode).toBe(0);
    return lines;
  }

  function processOf(more: object) {
    const child = spawn(process.execPath, [CHILD_PROGRAM, JSON.stringify(settings(more))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return { child, lines: createInterface({ input: child.stdout }), exit: once(child, 'exit') };
  }

  it('commits epochs of four threads to the same partitions: none lost, none doubled, each in order', async () => {
    const backend = await openLog();
    await ensure(backend, { name: 'alerts', partitions: 2 }, { name: 'state', partitions: 4 });
    const epochs = 60;
    const outputs = [
      ['alerts', 0],
      ['alerts', 1],
    ];
    const lines = await Promise.all(
      [0, 1, 2, 3].map((partition) =>
        thread({
          program: 'commit',
          taskId: `task ${partition}`,
          outputs,
          stateLog: { topic: 'state', partition },
          epochs,
        }),
      ),
    );
    for (const each of lines) expect(each.at(-1)).toBe('done');
    for (const partition of [0, 1]) {
      const seen = await drain(await backend.openReader({ topic: 'alerts', partition, from: 0 }));
      expect(seen).toHaveLength(4 * epochs);
      for (const task of [0, 1, 2, 3]) {
        const own = seen.map(([, , value]) => value).filter((value) => value?.startsWith(`task ${task} `));
        expect(own).toEqual(Array.from({ length: epochs }, (_, n) => `task ${task} ${String(n).padStart(8, '0')}`));
      }
    }
  });

  it('wakes a reader for the writes of another thread, and of another process, within some ms', async () => {
    const backend = await openLog();
    await ensure(backend, { name: 'feed' });
    const reader = await backend.openReader({ topic: 'feed', partition: 0, from: 'earliest' });
    const batch = new RecordBatch(16);
    const seen: number[] = [];
    const readAll = async (until: number) => {
      const deadline = Date.now() + 15_000;
      while (seen.length < until && Date.now() < deadline) {
        while (reader.read(batch) > 0) for (let i = 0; i < batch.count; i++) seen.push(Number(batch.value(i)));
        if (seen.length < until) await reader.whenReadable(5_000);
      }
    };
    const feed = { program: 'write', topic: 'feed', partition: 0, from: 0, count: 20, everyMs: 30 };
    await Promise.all([thread(feed), readAll(20)]);
    expect(seen).toHaveLength(20);

    const { lines, exit } = processOf({ ...feed, from: 20 });
    const acknowledgedAt = new Map<number, number>();
    lines.on('line', (line) => acknowledgedAt.set(Number(line.split(' ')[1]), performance.now()));
    const delays: number[] = [];
    for (let n = 20; n < 40; n++) {
      await readAll(n + 1);
      delays.push(performance.now() - (acknowledgedAt.get(n) ?? performance.now()));
    }
    await exit;
    expect(seen).toEqual(Array.from({ length: 40 }, (_, n) => n));
    // Each wait was allowed 5 s; the poll finds what another process wrote far sooner.
    expect(delays.sort((a, b) => a - b)[10]).toBeLessThan(200);
  });

  it('fences a thread that another process displaced', async () => {
    const backend = await openLog();
    await ensure(backend, { name: 'alerts' }, { name: 'state' });
    const log = await backend.openEpochLog({ taskId: 't', stateLog: { topic: 'state', partition: 0 } });
    await log.fence();
    const epoch = () => ({ outputs: [record('alerts', 'mine')], stateLog: [Buffer.from('00000000 mine')] });
    await log.commit(epoch());
    const { lines, exit } = processOf({
      program: 'commit',
      taskId: 't',
      outputs: [['alerts', 0]],
      stateLog: { topic: 'state', partition: 0 },
      epochs: 3,
    });
    const heard: string[] = [];
    lines.on('line', (line) => heard.push(line));
    await exit;
    expect(heard).toEqual(['resumed 0', 'acknowledged 1', 'acknowledged 2', 'done']);
    await expect(log.commit(epoch())).rejects.toMatchObject({ code: 'fenced' });
    expect(await drain(await backend.openReader({ topic: 'alerts', partition: 0, from: 0 }))).toHaveLength(3);
  });
});
