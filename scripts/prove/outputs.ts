/**
 * Owns reading what a run left in its topics, committed records only: alerts and dead letters through the project's
 * reader, and a second count by a program that shares no code with it (kcat), where that is installed.
 * Neighbours: `compare.ts` compares with the reference.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { DEAD_LETTER_HEADERS, joinParts } from '../../src/stream/pipeline/dead-letters.js';
import type { LogBackend, PartitionReader } from '../../src/stream/ports.js';
import { RecordBatch, type RecordHeader } from '../../src/stream/records.js';
import { type AlertOutcome, alertOutcome, type DeadLetterOutcome } from './outcome.js';

const READ_RECORDS = 512;
const READ_MS = 60_000;
const KCAT_MS = 120_000;

/** A record with copies of everything. */
export interface ReadRecord {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly RecordHeader[];
}

/** Every committed record of a topic, partition by partition. */
export async function readTopic(backend: LogBackend, topic: string): Promise<readonly ReadRecord[]> {
  const records: ReadRecord[] = [];
  await eachRecord(backend, topic, (record) => records.push(record));
  return records;
}

/** Hands every committed record to `take`, partition by partition; holds none. */
async function eachRecord(backend: LogBackend, topic: string, take: (record: ReadRecord) => void): Promise<void> {
  const admin = await backend.openAdmin();
  const ranges = await admin.ranges(topic).finally(() => admin.close());
  for (const { partition, start, end } of ranges) {
    if (end <= start) continue;
    const reader = await backend.openReader({ topic, partition, from: 'earliest' });
    await readTo(reader, end, (batch) => {
      for (let index = 0; index < batch.count; index++) {
        take({ key: copy(batch.key(index)), value: copy(batch.value(index)), headers: batch.headers(index) });
      }
    }).finally(() => reader.close());
  }
}

/**
 * Reads on to the offset `end`; each batch is valid until what `take` returned has settled. Errors: nothing came for a
 * minute.
 */
export async function readTo(
  reader: PartitionReader,
  end: number,
  take: (batch: RecordBatch) => void | Promise<void>,
): Promise<void> {
  const batch = new RecordBatch(READ_RECORDS);
  let deadline = Date.now() + READ_MS;
  while (reader.position < end) {
    if (reader.read(batch) > 0) {
      await take(batch);
      deadline = Date.now() + READ_MS;
      continue;
    }
    if (Date.now() > deadline) {
      throw new Error(`${reader.topic}-${reader.partition} was read to ${reader.position} of ${end}: nothing for 60 s`);
    }
    await reader.whenReadable(100);
  }
}

/** A copy that stays valid. */
export const copy = (bytes: Buffer | null) => (bytes === null ? null : Buffer.from(bytes));

export async function readAlerts(backend: LogBackend, topic: string): Promise<readonly AlertOutcome[]> {
  const alerts: AlertOutcome[] = [];
  await eachRecord(backend, topic, ({ value, headers }) => alerts.push(readAlert(topic, value, headers)));
  return alerts;
}

/** Errors: it is no alert, or its header names another one. */
export function readAlert(topic: string, value: Buffer | null, headers: readonly RecordHeader[]): AlertOutcome {
  if (value === null) throw new Error(`${topic} holds an alert without a value`);
  const alert = alertOutcome(value);
  if (text(headers, 'ce_id') !== alert.id) throw new Error(`alert ${alert.id} has another id in its header`);
  return alert;
}

/** Errors: a dead letter of another source topic than `sourceTopic`. */
export async function readDeadLetters(
  backend: LogBackend,
  topic: string,
  sourceTopic: string,
): Promise<readonly DeadLetterOutcome[]> {
  const letters = joinLarge(await readTopic(backend, topic));
  return letters.map(({ key, value, headers }) => {
    const from = text(headers, DEAD_LETTER_HEADERS.topic);
    if (from !== sourceTopic) throw new Error(`${topic} holds a dead letter of ${from}, not of ${sourceTopic}`);
    return {
      partition: Number(text(headers, DEAD_LETTER_HEADERS.partition)),
      offset: Number(text(headers, DEAD_LETTER_HEADERS.offset)),
      code: text(headers, DEAD_LETTER_HEADERS.code),
      key,
      value,
    };
  });
}

/** Large dead letters lie in several records, one after another: joins them. Errors: a part that is missing or out of place. */
export function joinLarge(records: readonly ReadRecord[]): readonly ReadRecord[] {
  const whole: ReadRecord[] = [];
  let parts: Buffer[] = [];
  for (const record of records) {
    const count = Number(text(record.headers, DEAD_LETTER_HEADERS.parts) || 0);
    if (count === 0) {
      whole.push(record);
      continue;
    }
    const index = Number(text(record.headers, DEAD_LETTER_HEADERS.part));
    if (index !== parts.length || record.value === null) throw new Error(`part ${index} where ${parts.length} was due`);
    parts.push(record.value);
    if (parts.length < count) continue;
    const { key, value } = joinParts(parts, new Map(record.headers.map(([name, bytes]) => [name, bytes.toString()])));
    whole.push({ ...record, key: key ?? record.key, value });
    parts = [];
  }
  return whole;
}

/** A header's text; empty where it is missing. */
export function text(headers: readonly RecordHeader[], name: string): string {
  return headers.find(([found]) => found === name)?.[1].toString('utf8') ?? '';
}

export interface IndependentCount {
  readonly records: number;
  /** Different values of the header that was asked for. */
  readonly distinct: number;
}

const run = promisify(execFile);

/**
 * Counts a topic's committed records with kcat, and the different values of one header; null where kcat is missing.
 * `settings`: of its connection, `name=value` each.
 */
export async function countWithKcat(
  brokers: readonly string[],
  topic: string,
  header: string,
  settings: readonly string[] = [],
): Promise<IndependentCount | null> {
  const consume = [
    '-C',
    '-t',
    topic,
    '-o',
    'beginning',
    '-e',
    '-q',
    '-f',
    '%h\\n',
    '-X',
    'isolation.level=read_committed',
    ...settings.flatMap((setting) => ['-X', setting]),
  ];
  let stdout: string;
  try {
    ({ stdout } = await run('kcat', ['-b', brokers.join(','), ...consume], {
      timeout: KCAT_MS,
      maxBuffer: 512 * 1024 * 1024,
    }));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  const lines = stdout.split('\n').filter((line) => line !== '');
  const values = lines.map((line) => new RegExp(`(?:^|,)${header}=([^,]*)`).exec(line)?.[1] ?? '');
  return { records: lines.length, distinct: new Set(values).size };
}
