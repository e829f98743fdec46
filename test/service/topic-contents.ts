/** Owns reading the embedded log that a stopped service left in its data directory. Neighbour: `service.ts`. */
import path from 'node:path';
import { openEmbeddedBackend } from '../../src/adapters/embedded-log/backend.js';
import type { LogBackend, TopicAdmin } from '../../src/stream/ports.js';
import { RecordBatch } from '../../src/stream/records.js';

/** Opens the log in the data directory for `look`, and closes it again. */
export async function withLog<T>(
  dataDirectory: string,
  look: (backend: LogBackend, admin: TopicAdmin) => Promise<T>,
): Promise<T> {
  const backend = await openEmbeddedBackend({ directory: path.join(dataDirectory, 'log') });
  try {
    const admin = await backend.openAdmin();
    try {
      return await look(backend, admin);
    } finally {
      await admin.close();
    }
  } finally {
    await backend.close();
  }
}

/** The values of a topic, partition by partition in offset order. */
export function readValues(dataDirectory: string, topic: string): Promise<string[]> {
  return withLog(dataDirectory, async (backend, admin) => {
    const values: string[] = [];
    for (const { partition, start, end } of await admin.ranges(topic)) {
      const reader = await backend.openReader({ topic, partition, from: start });
      const batch = new RecordBatch(1_000);
      while (reader.position < end) {
        await reader.whenReadable(1_000);
        const count = reader.read(batch);
        for (let index = 0; index < count; index++) values.push(batch.value(index)?.toString('utf8') ?? '');
      }
      await reader.close();
    }
    return values;
  });
}

/** Ids of the alerts in a topic, sorted; one that is there twice is listed twice. */
export async function readAlertIds(dataDirectory: string, topic = 'fraud.alerts'): Promise<string[]> {
  const values = await readValues(dataDirectory, topic);
  return values.map((value) => (JSON.parse(value) as { alertId: string }).alertId).sort();
}

/** Records in a topic. */
export function countRecords(dataDirectory: string, topic: string): Promise<number> {
  return withLog(dataDirectory, async (_, admin) =>
    (await admin.ranges(topic)).reduce((total, { start, end }) => total + end - start, 0),
  );
}

/** Payments done with, as the service published when it stopped. */
export function countCommitted(dataDirectory: string): Promise<number> {
  return withLog(dataDirectory, async (_, admin) =>
    [...(await admin.progress('fraud-detection', 'payments.raw')).values()].reduce(
      (total, offset) => total + offset,
      0,
    ),
  );
}
