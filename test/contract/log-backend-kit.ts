/**
 * Owns what every part of the log backend's contract uses: topics with unique names, readers and epoch logs that are
 * closed in the end, waits that have an end. Neighbours: `log-backend.contract.ts` puts the parts together.
 */
import type { EpochLog, LogBackend, PartitionReader, StartPosition, TopicSpec } from '../../src/stream/ports.js';
import { type OutputRecord, RecordBatch } from '../../src/stream/records.js';

/** What a suite run gets: a log that several backends can be opened on, as threads or processes would. */
export interface BackendUnderTest {
  open(): Promise<LogBackend>;
  close(): Promise<void>;
}

/** Longest that anything may take to become visible, ms. Generous: a broker shares its machine. */
export const VISIBLE_MS = 20_000;

export interface Seen {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly offset: number;
  readonly timestampMs: number;
}

export const text = (seen: readonly Seen[]) => seen.map((record) => record.value?.toString() ?? null);

let uniqueNumber = 0;
export const unique = (name: string) => `contract.${name}.${process.pid}.${Date.now().toString(36)}.${uniqueNumber++}`;

export function record(topic: string, value: string | Buffer | null, more: Partial<OutputRecord> = {}): OutputRecord {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return { topic, partition: 0, key: null, value: bytes, headers: [], timestampMs: 1_700_000_000_000, ...more };
}

/** Reads until `count` records came; fails with what it has when they do not come. */
export async function take(
  reader: PartitionReader,
  count: number,
  capacity = 512,
  waitMs = VISIBLE_MS,
): Promise<Seen[]> {
  const batch = new RecordBatch(capacity);
  const seen: Seen[] = [];
  const deadline = Date.now() + waitMs;
  while (seen.length < count) {
    if (Date.now() > deadline) throw new Error(`${seen.length} of ${count} records came: ${text(seen).slice(0, 20)}`);
    if (reader.read(batch) === 0) await reader.whenReadable(100);
    for (let i = 0; i < batch.count; i++) {
      const { key, value } = { key: batch.key(i), value: batch.value(i) };
      seen.push({ key, value, offset: batch.offset[i], timestampMs: batch.timestampMs[i] });
    }
  }
  return seen;
}

/** What reading runs into, wherever it shows: on opening, reading or waiting. */
export async function readingFails(open: () => Promise<PartitionReader>): Promise<unknown> {
  let reader: PartitionReader | null = null;
  const batch = new RecordBatch(16);
  const deadline = Date.now() + VISIBLE_MS;
  try {
    reader = await open();
    while (Date.now() < deadline) {
      const count = reader.read(batch);
      if (count > 0) return new Error(`got ${count} records from offset ${batch.offset[0]} instead of an error`);
      await reader.whenReadable(100);
    }
    return new Error('reading went on without an error');
  } catch (error) {
    return error;
  } finally {
    await reader?.close();
  }
}

export async function stateLogOf(log: EpochLog, from?: number): Promise<string[]> {
  const values: string[] = [];
  const start = from ?? (await log.stateLogRange()).start;
  await log.readStateLog(start, (value) => void values.push(value.toString()));
  return values;
}

export const epoch = (stateLog: string[], outputs: OutputRecord[] = []) => ({
  outputs,
  stateLog: stateLog.map((value) => Buffer.from(value)),
});

/** Two backends on one log, as two threads or processes have them, and what tests do with them. */
export class LogKit {
  private readonly cleanUps: (() => Promise<void>)[] = [];
  private constructor(
    private readonly under: BackendUnderTest,
    readonly backend: LogBackend,
    readonly other: LogBackend,
  ) {}

  static async open(makeBackend: () => Promise<BackendUnderTest>): Promise<LogKit> {
    const under = await makeBackend();
    return new LogKit(under, await under.open(), await under.open());
  }

  async close(): Promise<void> {
    for (const cleanUp of this.cleanUps.reverse()) await cleanUp();
    await this.backend.close();
    await this.other.close();
    await this.under.close();
  }

  onClose(cleanUp: () => Promise<void>): void {
    this.cleanUps.push(cleanUp);
  }

  async topic(label: string, spec: Partial<TopicSpec> = {}): Promise<string> {
    const admin = await this.backend.openAdmin();
    const name = unique(label);
    await admin.ensure([{ name, partitions: 1, cleanup: 'delete', ...spec }]);
    await admin.close();
    return name;
  }

  async write(records: readonly OutputRecord[]): Promise<void> {
    const writer = await this.backend.openWriter();
    await writer.write(records);
    await writer.close();
  }

  async reader(
    topic: string,
    from: StartPosition = 'earliest',
    partition = 0,
    on = this.backend,
  ): Promise<PartitionReader> {
    const opened = await on.openReader({ topic, partition, from });
    this.onClose(() => opened.close());
    return opened;
  }

  async epochLog(taskId: string, stateLogTopic: string, on = this.backend): Promise<EpochLog> {
    const opened = await on.openEpochLog({ taskId, stateLog: { topic: stateLogTopic, partition: 0 } });
    this.onClose(() => opened.close());
    return opened;
  }

  /** A fenced epoch log with a state log of its own. */
  async freshTask() {
    const stateLog = await this.topic('state', { retentionMs: -1 });
    const taskId = unique('task');
    const log = await this.epochLog(taskId, stateLog);
    await log.fence();
    return { taskId, stateLog, log };
  }
}
