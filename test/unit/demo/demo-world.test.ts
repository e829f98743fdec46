/** The card world pays at the pace of real time, and gets over pauses and trouble. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startDemoWorld } from '../../../src/app/demo/demo-world.js';
import { Pace } from '../../../src/app/demo/pace.js';
import { cardWorld } from '../../../src/fraud/world/card-world.js';
import type { RecordWriter } from '../../../src/stream/ports.js';
import type { OutputRecord } from '../../../src/stream/records.js';
import { HandClock } from '../hand-clock.js';

const START_MS = Date.UTC(2026, 0, 1);
const CARDS = 40_000;

function started(perSecond: number, fail: () => boolean = () => false) {
  const clock = new HandClock(START_MS);
  const records: OutputRecord[] = [];
  const told: string[] = [];
  const sentAt: number[] = [];
  const writer: RecordWriter = {
    write: async (batch) => {
      if (fail()) throw new Error('log away');
      records.push(...batch);
      for (const _ of batch) sentAt.push(clock.now());
    },
    close: async () => undefined,
  };
  const makeWorld = (startMs: number) =>
    cardWorld({
      seed: 1,
      cards: CARDS,
      merchants: 200,
      startMs,
      paymentsPerCardPerDay: (perSecond * 86_400) / CARDS,
      rhythm: 'even',
    });
  const world = startDemoWorld({ writer, topic: 't', makeWorld, clock, say: (_, message) => told.push(message) });
  /** Lets time pass in steps, with the writes of each settled. */
  const pass = async (ms: number, stepMs = 25) => {
    for (let passed = 0; passed < ms; passed += stepMs) {
      clock.advance(stepMs);
      await setImmediate();
    }
  };
  return { clock, records, sentAt, told, world, pass };
}

const occurredAt = (record: OutputRecord): number => JSON.parse(String(record.value)).occurredAt;
const ids = (records: readonly OutputRecord[]) =>
  new Set(records.map((record) => JSON.parse(String(record.value)).paymentId));

describe('the paying card world', () => {
  it('keeps its rate, with event times of now', async () => {
    const { records, sentAt, world, pass } = started(200);
    await pass(10_000, 5);
    await world.stop();
    expect(records.length).toBeGreaterThan(1_800);
    expect(records.length).toBeLessThan(2_200);
    for (const [index, record] of records.entries()) {
      expect(sentAt[index] - occurredAt(record)).toBeLessThanOrEqual(35);
      expect(sentAt[index] - occurredAt(record)).toBeGreaterThanOrEqual(0);
    }
  });

  it('does not make up for a long pause, and uses no id twice after it', async () => {
    const { records, told, world, pass } = started(200);
    await pass(2_000);
    const before = records.length;
    await pass(3_600_000, 3_600_000);
    await pass(2_000);
    await world.stop();
    expect(records.length - before).toBeLessThan(600);
    expect(records.length - before).toBeGreaterThan(200);
    expect(ids(records).size).toBe(records.length);
    expect(told.join()).toContain('3600 s behind the clock');
  });

  it('tries again, later and later, while the log is away, and repeats no payment', async () => {
    let away = false;
    const { records, told, world, pass } = started(200, () => away);
    await pass(1_000);
    away = true;
    await pass(10_000);
    expect(told.length).toBeGreaterThan(3);
    expect(told.length).toBeLessThan(8);
    away = false;
    await pass(20_000);
    await world.stop();
    expect(records.length).toBeGreaterThan(1_000);
    expect(ids(records).size).toBe(records.length);
  });

  it('stops at once and stays still', async () => {
    const { clock, records, world, pass } = started(200);
    await pass(1_000);
    await world.stop();
    const { length } = records;
    await pass(1_000);
    expect(records.length).toBe(length);
    expect(clock.waiting).toBe(0);
    expect(world.sent).toBe(length);
  });
});

describe('a pace', () => {
  it('gives out exactly its rate', () => {
    const pace = new Pace(300, 0);
    let sent = 0;
    for (let nowMs = 0; nowMs <= 10_000; nowMs += 7) {
      const due = pace.due(nowMs);
      pace.take(due);
      sent += due;
    }
    expect(sent).toBe(2_998);
  });

  it('catches up a short pause wholly and a long one for two seconds only', () => {
    const short = new Pace(100, 0);
    expect(short.due(1_500)).toBe(150);
    const long = new Pace(100, 0);
    expect(long.due(60_000)).toBe(200);
    long.take(200);
    expect(long.due(60_100)).toBe(10);
  });

  it('holds nothing back at an infinite rate', () => {
    expect(new Pace(Number.POSITIVE_INFINITY, 0).due(0)).toBe(Number.POSITIVE_INFINITY);
  });
});
