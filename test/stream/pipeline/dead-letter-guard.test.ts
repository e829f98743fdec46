/** Owns the tests of dead letters: their form, and the limits at which the line stops, wherever batches were cut. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEAD_LETTER_HEADERS,
  DeadLetterGuard,
  deadLetters,
  joinParts,
} from '../../../src/stream/pipeline/dead-letters.js';
import type { DeadLetterLimits } from '../../../src/stream/pipeline/pipeline.js';
import { type OutputRecord, RecordBatch } from '../../../src/stream/records.js';

/** Shows the guard records (true: refused) in batches of the given sizes; at which record did it stop the line? */
function stopsAt(limits: DeadLetterLimits, refused: readonly boolean[], cuts: (done: number) => number): string | null {
  const guard = new DeadLetterGuard(limits);
  for (let done = 0; done < refused.length; ) {
    const batch = new RecordBatch(64);
    batch.count = Math.min(cuts(done), refused.length - done, 64);
    batch.fromOffset = done;
    const rejected = [];
    for (let i = 0; i < batch.count; i++) {
      batch.offset[i] = done + i;
      if (refused[done + i]) rejected.push({ recordIndex: i, code: 'malformed' });
    }
    try {
      guard.observe(batch, rejected);
    } catch (error) {
      expect(error).toMatchObject({ code: 'dead-letter-limit' });
      // Which limit, and at which record.
      return (error as Error).message.replace(' could not be processed', '').replace(/;.*/, '');
    }
    done += batch.count;
  }
  return null;
}

const NONE = { burst: 1e9, share: 1, shareWindow: 1000 };
const bad = (count: number) => Array.from({ length: count }, () => true);
const good = (count: number) => Array.from({ length: count }, () => false);
const oneBatch = () => 64;

describe('the dead-letter guard', () => {
  it('lets as many records in a row go as the burst allows, and stops at the next', () => {
    expect(stopsAt({ ...NONE, burst: 5 }, [...good(3), ...bad(5), false, ...bad(5)], oneBatch)).toBeNull();
    expect(stopsAt({ ...NONE, burst: 5 }, [...good(3), ...bad(6)], oneBatch)).toContain('6 records in a row');
  });

  it('counts a run on over the end of a batch, and begins anew after a good record', () => {
    expect(stopsAt({ ...NONE, burst: 5 }, bad(6), () => 3)).toContain('6 records in a row');
    expect(stopsAt({ ...NONE, burst: 5 }, [...bad(4), false, ...bad(4)], () => 3)).toBeNull();
    expect(stopsAt({ ...NONE, burst: 5 }, [...bad(4), ...good(2), ...bad(4)], () => 4)).toBeNull();
  });

  it('stops when more than the share of a window was refused, and not before the window is full', () => {
    const limits = { ...NONE, share: 0.25, shareWindow: 8 };
    expect(stopsAt(limits, [true, true, true, ...good(4)], oneBatch)).toBeNull();
    expect(stopsAt(limits, [true, true, ...good(6), true, true, ...good(6)], oneBatch)).toBeNull();
    expect(stopsAt(limits, [true, true, true, ...good(5)], oneBatch)).toContain('38 % of the last 8 records');
  });

  it('forgets a window once it has passed', () => {
    const limits = { ...NONE, share: 0.5, shareWindow: 4 };
    expect(stopsAt(limits, [...bad(2), ...good(2), ...bad(2), ...good(2)], oneBatch)).toBeNull();
    expect(stopsAt(limits, [...good(2), ...bad(2), ...bad(2), ...good(2)], oneBatch)).toBeNull();
    expect(stopsAt(limits, [...good(4), ...bad(3), false], oneBatch)).toContain(
      '75 % of the last 4 records (up to offset 7',
    );
  });

  it('stops at the same record wherever batches are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { maxLength: 120, size: 'max' }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 20 }),
        fc.double({ min: 0.2, max: 0.9, noNaN: true }),
        fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 10 }),
        (refused, burst, shareWindow, share, cuts) => {
          const limits = { burst, shareWindow, share };
          expect(stopsAt(limits, refused, (done) => cuts[done % cuts.length])).toBe(stopsAt(limits, refused, () => 1));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('says which codes it saw and where', () => {
    const guard = new DeadLetterGuard({ ...NONE, burst: 2 });
    const batch = new RecordBatch(8);
    batch.count = 4;
    batch.offset.set([70, 71, 72, 73]);
    const rejected = ['a', 'b', 'b', 'b'].map((code, recordIndex) => ({ recordIndex, code }));
    expect(() => guard.observe(batch, rejected)).toThrow('up to offset 72; in this batch b × 3, a × 1');
  });
});

describe('a dead letter', () => {
  it('is the record byte for byte, with what was wrong and where it came from', () => {
    const batch = new RecordBatch(2);
    batch.bytes = Buffer.from([1, 0xff, 2, 3]);
    batch.count = 2;
    batch.keyStart.set([0, 0]);
    batch.keyLength.set([2, -1]);
    batch.valueStart.set([2, 0]);
    batch.valueLength.set([2, -1]);
    batch.offset.set([41, 42]);
    batch.timestampMs.set([5, 6]);
    const place = { deadLetterTopic: 'dead', sourceTopic: 'in', partition: 3, pipelineVersion: 'v9' };
    const [first] = deadLetters(batch, 0, 'malformed', 'x'.repeat(900), place, 99);
    batch.bytes.fill(0);
    expect([first.topic, first.key, first.value, first.timestampMs]).toEqual([
      'dead',
      Buffer.from([1, 0xff]),
      Buffer.from([2, 3]),
      99,
    ]);
    const headers = Object.fromEntries(first.headers.map(([name, value]) => [name, value.toString()]));
    expect(headers).toEqual({
      [DEAD_LETTER_HEADERS.code]: 'malformed',
      [DEAD_LETTER_HEADERS.message]: 'x'.repeat(500),
      [DEAD_LETTER_HEADERS.topic]: 'in',
      [DEAD_LETTER_HEADERS.partition]: '3',
      [DEAD_LETTER_HEADERS.offset]: '41',
      [DEAD_LETTER_HEADERS.timestamp]: '5',
      [DEAD_LETTER_HEADERS.pipeline]: 'v9',
    });
    const [second] = deadLetters(batch, 1, 'null', 'no value', place, 99);
    expect([second.key, second.value]).toEqual([null, null]);
  });

  it.each([
    ['a value', 5, 2_000_001],
    ['a key', 70_000, 10],
    ['a key and a null value', 1_000_000, -1],
  ])(
    'too large for one record by %s is cut into numbered parts that join byte for byte',
    (_what, keySize, valueSize) => {
      const batch = new RecordBatch(1);
      batch.bytes = Buffer.from(Array.from({ length: keySize + Math.max(0, valueSize) }, (_, i) => i % 251));
      batch.count = 1;
      batch.keyLength[0] = keySize;
      batch.valueStart[0] = keySize;
      batch.valueLength[0] = valueSize;
      const place = { deadLetterTopic: 'dead', sourceTopic: 'in', partition: 3, pipelineVersion: 'v9' };
      const records = deadLetters(batch, 0, 'too-large', 'x', place, 99);
      const sizes = records.map(({ key, value }) => (key?.length ?? 0) + (value?.length ?? 0));
      expect(Math.max(...sizes)).toBeLessThan(1_000_000);
      const headersOf = ({ headers }: OutputRecord) =>
        new Map(headers.map(([name, value]) => [name, value.toString()]));
      expect(records.map((record) => headersOf(record).get(DEAD_LETTER_HEADERS.part))).toEqual(
        records.map((_, i) => `${i}`),
      );
      const parts = records.map(({ value }) => value ?? Buffer.alloc(0));
      const joined = joinParts(parts, headersOf(records[0]));
      expect((joined.key ?? records[0].key)?.equals(batch.bytes.subarray(0, keySize))).toBe(true);
      if (valueSize < 0) expect(joined.value).toBeNull();
      else expect(joined.value?.equals(batch.bytes.subarray(keySize))).toBe(true);
    },
  );
});
