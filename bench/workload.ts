/**
 * Owns what the benchmarks feed: the labelled payments where they are (../shared/data or --file), else the simulated
 * card world. Neighbours: `log-bench.ts` loads it into topics, at full speed or at a pace.
 */
import { createReadStream, existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { readPaymentFile } from '../src/fraud/payments/labelled-file.js';
import { cardWorld } from '../src/fraud/world/card-world.js';
import type { OutputRecord } from '../src/stream/records.js';

const LABELLED = '../shared/data/payments-labelled.csv.gz';
const WORLD_PAYMENTS = 1_300_000;

export interface Workload {
  readonly name: string;
  /** Batches of records without a topic's partition: keyed by card. */
  batches(topic: string, limit: number): AsyncIterable<OutputRecord[]>;
}

/** `spread` makes one customer of the labelled file so many cards. Every 1000th record is malformed. */
export function workload(file: string | null, spread: number): Workload {
  const path = file ?? (existsSync(LABELLED) ? LABELLED : null);
  if (path?.endsWith('.tsv')) return { name: path, batches: (topic, limit) => tsvBatches(path, topic, limit) };
  if (path === null) return { name: 'card world', batches: worldBatches };
  return { name: path, batches: (topic, limit) => fileBatches(path, topic, limit, spread) };
}

async function* fileBatches(path: string, topic: string, limit: number, spread: number): AsyncIterable<OutputRecord[]> {
  let count = 0;
  for await (const { payments } of readPaymentFile(path, { batchSize: 4_000 })) {
    const records: OutputRecord[] = [];
    for (const { key, value } of payments) {
      if (count >= limit) break;
      count++;
      const card = `${key.toString()}-${count % spread}`;
      const body = count % 1000 === 0 ? Buffer.from(`{"paymentId":"p${count}","cardId":"${card}","amount":"x"`) : value;
      const renamed =
        spread === 1 || body !== value ? body : Buffer.from(value.toString().replace(key.toString(), card));
      records.push(record(topic, Buffer.from(spread === 1 ? key : card), renamed));
    }
    if (records.length > 0) yield records;
    if (count >= limit) return;
  }
}

/** The reference job's own file: `card TAB json` a line. Its event time is called eventTime; here it is occurredAt. */
async function* tsvBatches(path: string, topic: string, limit: number): AsyncIterable<OutputRecord[]> {
  let records: OutputRecord[] = [];
  let count = 0;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    const tab = line.indexOf('\t');
    const value = Buffer.from(line.slice(tab + 1).replace('"eventTime"', '"occurredAt"'));
    records.push(record(topic, Buffer.from(line.slice(0, tab)), value));
    if (++count >= limit) break;
    if (records.length < 4_000) continue;
    yield records;
    records = [];
  }
  yield records;
}

async function* worldBatches(topic: string, limit: number): AsyncIterable<OutputRecord[]> {
  const start = Date.UTC(2026, 0, 1);
  const world = cardWorld({ seed: 1, cards: 100_000, merchants: 10_000, startMs: start, malformedPerThousand: 1 });
  const most = Math.min(limit, WORLD_PAYMENTS);
  for (let count = 0; count < most; ) {
    const messages = world.next(Number.MAX_SAFE_INTEGER, Math.min(4_000, most - count));
    count += messages.length;
    yield messages.map(({ key, value }) => record(topic, Buffer.from(key), value));
  }
}

function record(topic: string, key: Buffer, value: Buffer | null): OutputRecord {
  return { topic, key, value, headers: [], timestampMs: Date.now() };
}
