/**
 * Owns a small pipeline for tests of the core: cards counted, summed and remembered in a ring, with a timer that tells
 * of a card gone quiet and, where asked for, one that ticks three times for a card. And its reference: the same rules over the same records in plain, single-threaded code.
 */
import { StepBatch } from '../../src/stream/pipeline/batch.js';
import type { PipelineDefinition } from '../../src/stream/pipeline/pipeline.js';
import type { OutputRecord } from '../../src/stream/records.js';
import { f64, ring, stateLayout, timer, u8, u32 } from '../../src/stream/state/layout.js';

export const TOPICS = { source: 'in', out: 'out', dead: 'dead', log: 'log', table: 'table' } as const;
const QUIET_MS = 1_000;
const RING = 4;
const TICK_MS = 700;
const TICKS = 3;

export interface Input {
  readonly key: string;
  readonly value: number;
  readonly at: number;
}

class KitBatch extends StepBatch {
  readonly value = new Float64Array(this.capacity);
  readonly seen = new Uint32Array(this.capacity);
  readonly sum = new Float64Array(this.capacity);
  readonly lastFour = new Float64Array(this.capacity);
}

const layout = stateLayout(
  'kit',
  { version: 1 },
  { count: u32, sum: f64, quiet: timer, tick: timer, ticks: u8, quiets: u8, recent: ring(RING, { value: f64 }) },
);
type Kit = PipelineDefinition<KitBatch, typeof layout.fields>;

const record = (topic: string, key: string, body: unknown, at: number): OutputRecord => ({
  topic,
  key: Buffer.from(key),
  value: Buffer.from(JSON.stringify(body)),
  headers: [],
  timestampMs: at,
});

interface KitOptions {
  readonly outOfOrdernessMs?: number;
  readonly onTable?: (value: string) => void;
  /** Each card's first payment starts a timer that fires three times, setting itself anew. */
  readonly ticks?: boolean;
}

export function kitPipeline(options: KitOptions = {}): Kit {
  return {
    name: 'kit',
    version: '1',
    outOfOrdernessMs: options.outOfOrdernessMs ?? 500,
    source: {
      id: 'source',
      topic: TOPICS.source,
      makeBatch: (capacity) => new KitBatch(capacity),
      decode(batch, records, rejects) {
        for (let i = 0; i < records.count; i++) {
          const text = records.value(i)?.toString() ?? '';
          if (!text.startsWith('{')) {
            rejects.reject(i, 'malformed', `not an object: ${text.slice(0, 20)}`);
            continue;
          }
          const input = JSON.parse(text) as Input;
          const row = batch.count++;
          batch.recordIndex[row] = i;
          batch.eventTimeMs[row] = input.at;
          batch.value[row] = input.value;
          batch.inSide[row] = 1;
          batch.keyStart[row] = batch.addSideText(input.key);
          batch.keyLength[row] = batch.sideLength - batch.keyStart[row];
        }
      },
    },
    broadcasts: options.onTable
      ? [
          {
            kind: 'broadcast',
            id: 'table',
            topic: TOPICS.table,
            open: () => ({
              id: 'table',
              topic: TOPICS.table,
              apply: (_key, value) => options.onTable?.(String(value)),
            }),
          },
        ]
      : [],
    enrich: [
      { kind: 'enrich', id: 'wait', open: () => ({ prepare: () => new Promise((done) => setImmediate(done)) }) },
    ],
    layout,
    keyed: [
      {
        kind: 'keyed',
        id: 'count',
        open: (_context, columns) => ({
          apply(batch, row, slot) {
            columns.count[slot] += 1;
            columns.sum[slot] += batch.value[row];
            columns.recent.entry.value[columns.recent.append(slot)] = batch.value[row];
            columns.quiet.set(slot, batch.eventTimeMs[row] + QUIET_MS);
            if (options.ticks && columns.count[slot] === 1) columns.tick.set(slot, batch.eventTimeMs[row] + TICK_MS);
            batch.seen[row] = columns.count[slot];
            batch.sum[row] = columns.sum[slot];
            let lastFour = 0;
            for (let back = 0; back < columns.recent.length(slot); back++) {
              lastFour = lastFour * 10 + columns.recent.entry.value[columns.recent.newest(slot, back)];
            }
            batch.lastFour[row] = lastFour;
          },
          onTimer({ field, dueMs }, slot, key, outputs) {
            if (field === 'tick') {
              columns.ticks[slot] += 1;
              if (columns.ticks[slot] < TICKS) columns.tick.set(slot, dueMs + TICK_MS);
              const tick = { tick: key.toString(), dueMs, count: columns.count[slot], quiets: columns.quiets[slot] };
              outputs.emit(record(TOPICS.out, key.toString(), tick, dueMs), { prompt: false });
              return;
            }
            columns.quiets[slot] += 1;
            const body = { quiet: key.toString(), dueMs, count: columns.count[slot] };
            outputs.emit(record(TOPICS.out, key.toString(), body, dueMs), { prompt: true });
          },
        }),
      },
    ],
    batchSteps: [
      {
        kind: 'batch',
        id: 'emit',
        open: () => ({
          apply(batch, outputs) {
            for (let row = 0; row < batch.count; row++) {
              const key = batch
                .textBytes(row)
                .toString('utf8', batch.keyStart[row], batch.keyStart[row] + batch.keyLength[row]);
              const body = {
                key,
                seen: batch.seen[row],
                sum: batch.sum[row],
                lastFour: batch.lastFour[row],
                late: batch.late[row] === 1,
              };
              outputs.emit(record(TOPICS.out, key, body, batch.eventTimeMs[row]), { prompt: batch.value[row] === 9 });
            }
          },
        }),
      },
    ],
    deadLetters: { topic: TOPICS.dead, limits: { burst: 50, share: 0.9, shareWindow: 1000 } },
  };
}

interface ReferenceCard {
  count: number;
  sum: number;
  recent: number[];
  dueMs: number;
  tickMs: number;
  ticks: number;
  quiets: number;
}

/** What must be in the output topic: one line an output, sorted. */
export function reference(
  inputs: readonly (Input | string)[],
  outOfOrdernessMs = 500,
  options: { readonly ticks?: boolean } = {},
): { out: string[]; dead: string[] } {
  const cards = new Map<string, ReferenceCard>();
  const out: string[] = [];
  const dead: string[] = [];
  let maxAt = Number.NEGATIVE_INFINITY;
  const quiet = (key: string, card: ReferenceCard) => {
    out.push(JSON.stringify({ quiet: key, dueMs: card.dueMs, count: card.count }));
    card.quiets += 1;
    card.dueMs = 0;
  };
  const tick = (key: string, card: ReferenceCard) => {
    out.push(JSON.stringify({ tick: key, dueMs: card.tickMs, count: card.count, quiets: card.quiets }));
    card.ticks += 1;
    card.tickMs = card.ticks < TICKS ? card.tickMs + TICK_MS : 0;
  };
  const fire = (key: string, card: ReferenceCard, watermark: number) => {
    const due = (at: number) => at !== 0 && at <= watermark;
    while (due(card.dueMs) || due(card.tickMs)) {
      const quietFirst = due(card.dueMs) && !(due(card.tickMs) && card.tickMs < card.dueMs);
      (quietFirst ? quiet : tick)(key, card);
    }
  };
  for (const input of inputs) {
    if (typeof input === 'string') {
      dead.push(input);
      continue;
    }
    const watermark = maxAt - outOfOrdernessMs;
    for (const [key, card] of cards) fire(key, card, watermark);
    const card = cards.get(input.key) ?? { count: 0, sum: 0, recent: [], dueMs: 0, tickMs: 0, ticks: 0, quiets: 0 };
    cards.set(input.key, card);
    card.count += 1;
    card.sum += input.value;
    card.recent = [input.value, ...card.recent].slice(0, RING);
    card.dueMs = input.at + QUIET_MS;
    if (options.ticks && card.count === 1) card.tickMs = input.at + TICK_MS;
    const lastFour = card.recent.reduce((sum, value) => sum * 10 + value, 0);
    out.push(JSON.stringify({ key: input.key, seen: card.count, sum: card.sum, lastFour, late: input.at < watermark }));
    maxAt = Math.max(maxAt, input.at);
  }
  for (const [key, card] of cards) fire(key, card, maxAt - outOfOrdernessMs);
  return { out: out.sort(), dead: dead.sort() };
}

/** A small deterministic generator (mulberry32) for tests: 0 ≤ x < 1. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Inputs that run out of order, repeat cards, and are malformed now and then. */
export function makeInputs(count: number, cards: number, random: () => number): (Input | string)[] {
  const inputs: (Input | string)[] = [];
  let at = 1_000_000;
  for (let i = 0; i < count; i++) {
    at += Math.floor(random() * 40);
    if (random() < 0.02) inputs.push(`bad-${i}`);
    else {
      const key = `card-${Math.floor(random() ** 2 * cards)}`;
      inputs.push({ key, value: Math.floor(random() * 10), at: at - Math.floor(random() * 700) });
    }
  }
  return inputs;
}
