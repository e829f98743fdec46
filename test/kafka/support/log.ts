/** What tests on a broker share: unique names, records, reading a partition to its end, waiting for a condition. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Leaders } from '../../../src/adapters/kafka/leader.js';
import { BrokerLinks } from '../../../src/adapters/kafka/links.js';
import type { KafkaSettings } from '../../../src/adapters/kafka/options.js';
import { Topics } from '../../../src/adapters/kafka/topics.js';
import type { EpochLog, EpochWrites, LogBackend, PartitionReader } from '../../../src/stream/ports.js';
import { type OutputRecord, RecordBatch } from '../../../src/stream/records.js';

let uniqueNumber = 0;
export const unique = (name: string) => `${name}.${process.pid}.${uniqueNumber++}`;

export function record(topic: string, value: string, partition = 0): OutputRecord {
  return { topic, partition, key: null, value: Buffer.from(value), headers: [], timestampMs: 1_700_000_000_000 };
}

export const epoch = (stateLog: readonly string[], outputs: readonly OutputRecord[] = []): EpochWrites => ({
  outputs,
  stateLog: stateLog.map((value) => Buffer.from(value)),
});

export async function makeTopic(backend: LogBackend, name: string, partitions = 1): Promise<string> {
  const admin = await backend.openAdmin();
  const topic = unique(name);
  await admin.ensure([{ name: topic, partitions, cleanup: 'delete' }]);
  await admin.close();
  return topic;
}

/** Every value from the reader's position to the partition's present end. */
export async function readToEnd(reader: PartitionReader, capacity = 100, waitMs = 20_000): Promise<string[]> {
  const end = await reader.endOffset();
  const batch = new RecordBatch(capacity);
  const values: string[] = [];
  const deadline = Date.now() + waitMs;
  while (reader.position < end) {
    if (Date.now() > deadline) throw new Error(`at ${reader.position} of ${end} after ${waitMs} ms`);
    if (reader.read(batch) === 0) await reader.whenReadable(200);
    for (let i = 0; i < batch.count; i++) values.push(batch.value(i)?.toString() ?? '');
  }
  return values;
}

export async function valuesOf(backend: LogBackend, topic: string, partition = 0): Promise<string[]> {
  const reader = await backend.openReader({ topic, partition, from: 'earliest' });
  try {
    return await readToEnd(reader);
  } finally {
    await reader.close();
  }
}

export async function stateLogOf(log: EpochLog): Promise<string[]> {
  const values: string[] = [];
  await log.readStateLog((await log.stateLogRange()).start, (value) => {
    values.push(value.toString());
  });
  return values;
}

export async function until(what: string, condition: () => boolean, waitMs = 20_000): Promise<void> {
  const deadline = Date.now() + waitMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${waitMs} ms`);
    await sleep(20);
  }
}

/** Connections as a part of the backend has them. */
export function leadersOf(settings: KafkaSettings): Leaders {
  const links = new BrokerLinks(settings);
  return { links, topics: new Topics(links, settings.deadlineMs), deadlineMs: settings.deadlineMs };
}
