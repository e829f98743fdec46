import { gzipSync, zstdCompressSync } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { compressFrameSync } from 'lz4-napi';
import { compressSync } from 'snappy';
import { describe, expect, it } from 'vitest';
import { endOfRecords, RecordSet } from '../../src/adapters/kafka/records/decode.js';
import { type BatchProducer, boundOfRecord, encodeBatch } from '../../src/adapters/kafka/records/encode.js';
import { AT } from '../../src/adapters/kafka/records/format.js';
import { CorruptDataError } from '../../src/stream/errors.js';
import { type OutputRecord, RecordBatch } from '../../src/stream/records.js';
import golden from './golden-batches.json' with { type: 'json' };

type Content = Pick<OutputRecord, 'key' | 'value' | 'headers' | 'timestampMs'>;
type Seen = Content & { offset: number };

const plain: BatchProducer = { producerId: -1n, producerEpoch: -1, baseSequence: -1, transactional: false };
const of = (producerId: bigint): BatchProducer => ({ ...plain, producerId, producerEpoch: 0, transactional: true });
const content = (text: string, timestampMs = 1_000): Content => ({
  key: null,
  value: Buffer.from(text),
  headers: [],
  timestampMs,
});

/** A batch as it lies in a log: at an offset, its CRC untouched (it does not cover the offset). */
function batchAt(offset: number, records: readonly Content[], producer = plain): Buffer {
  const batch = encodeBatch(records, 0, records.length, producer);
  batch.writeBigInt64BE(BigInt(offset), AT.baseOffset);
  return batch;
}

/** Corrects length and CRC of a batch that was tampered with. */
function sealed(batch: Buffer): Buffer {
  batch.writeInt32BE(batch.length - 12, AT.batchLength);
  batch.writeUInt32BE(crc32c(batch.subarray(AT.attributes)), AT.crc);
  return batch;
}

function compressed(batch: Buffer, codec: number, body: Buffer): Buffer {
  const whole = Buffer.concat([batch.subarray(0, AT.records), body]);
  whole.writeInt16BE(whole.readInt16BE(AT.attributes) | codec, AT.attributes);
  return sealed(whole);
}

function marker(offset: number, producerId: bigint, commit: boolean): Buffer {
  const key = Buffer.from([0, 0, 0, commit ? 1 : 0]);
  const batch = batchAt(offset, [{ key, value: Buffer.alloc(6), headers: [], timestampMs: 1_000 }], of(producerId));
  batch.writeInt16BE(0x30, AT.attributes);
  return sealed(batch);
}

/** Everything that a set gives, in fills of `capacity`. */
function readAll(set: RecordSet, capacity = 64): Seen[] {
  const batch = new RecordBatch(capacity);
  const seen: Seen[] = [];
  for (let count = set.fill(batch); count > 0; count = set.fill(batch)) {
    for (let i = 0; i < count; i++) {
      const { key, value } = { key: batch.key(i), value: batch.value(i) };
      const headers = batch.headers(i);
      seen.push({ key, value, headers, timestampMs: batch.timestampMs[i], offset: batch.offset[i] });
    }
  }
  return seen;
}

const setOf = (bytes: Buffer, from = 0, aborted: { producerId: bigint; firstOffset: number }[] = []) =>
  new RecordSet('payments', 3, bytes, from, aborted);
const texts = (seen: readonly Seen[]) => seen.map(({ value }) => value?.toString() ?? null);

const anyBytes = fc.option(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)));
const anyRecord: fc.Arbitrary<Content> = fc.record({
  key: anyBytes,
  value: anyBytes,
  headers: fc.array(
    fc.tuple(
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    ),
    { maxLength: 4 },
  ),
  timestampMs: fc.integer({ min: 0, max: 4_102_444_800_000 }),
});

describe('record batches', () => {
  it('come back as they were written, whatever the bytes, times and batch sizes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(anyRecord, { minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 2 ** 52 }),
        fc.integer({ min: 1, max: 30 }),
        (batches, first, capacity) => {
          let offset = first;
          const parts = batches.map((records) => {
            const bytes = batchAt(offset, records);
            offset += records.length;
            return bytes;
          });
          const bytes = Buffer.concat(parts);
          const expected = batches.flat().map((record, i) => ({ ...record, offset: first + i }));
          expect(readAll(setOf(bytes, first), capacity)).toEqual(expected);
          expect(endOfRecords(bytes)).toBe(offset);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('never take more bytes than the bound says', () => {
    fc.assert(
      fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 20 }), (records) => {
        const bound = records.reduce<number>((size, record) => size + boundOfRecord(record), AT.records);
        expect(encodeBatch(records, 0, records.length, plain).length).toBeLessThanOrEqual(bound);
      }),
    );
  });

  it.each(golden)('written by $writer are read', ({ bytes, records }) => {
    const seen = readAll(setOf(Buffer.from(bytes, 'base64')));
    expect(seen.map(({ key, value }) => [key?.toString() ?? null, value?.toString() ?? null])).toEqual(records);
  });

  it('leave out what lies before the offset asked for, though the batch comes whole', () => {
    const bytes = Buffer.concat([
      batchAt(
        10,
        ['a', 'b', 'c'].map((t) => content(t)),
      ),
      batchAt(13, [content('d')]),
    ]);
    expect(texts(readAll(setOf(bytes, 12)))).toEqual(['c', 'd']);
    expect(texts(readAll(setOf(bytes, 13)))).toEqual(['d']);
  });

  it('end before a batch that is cut off, and the position stays before it', () => {
    const whole = batchAt(0, [content('a')]);
    const bytes = Buffer.concat([whole, batchAt(1, [content('b')]).subarray(0, 66)]);
    const set = setOf(bytes);
    expect(texts(readAll(set))).toEqual(['a']);
    expect(set.position).toBe(1);
    expect(endOfRecords(bytes)).toBe(1);
    expect(endOfRecords(bytes.subarray(0, 40))).toBeNull();
  });

  it('move the position over compacted records and control records', () => {
    const compacted = batchAt(0, [content('a'), content('b')]);
    compacted.writeInt32BE(9, AT.lastOffsetDelta);
    const set = setOf(Buffer.concat([sealed(compacted), marker(10, 7n, true)]));
    expect(texts(readAll(set))).toEqual(['a', 'b']);
    expect(set.position).toBe(11);
  });

  it("give the broker's time where the topic says so", () => {
    const batch = batchAt(0, [content('a', 5), content('b', 6)]);
    batch.writeInt16BE(0x08, AT.attributes);
    batch.writeBigInt64BE(1_777n, AT.maxTimestamp);
    expect(readAll(setOf(sealed(batch))).map(({ timestampMs }) => timestampMs)).toEqual([1_777, 1_777]);
  });
});

describe('aborted Kafka transactions', () => {
  const log = Buffer.concat([
    batchAt(0, [content('a0')], of(1n)),
    batchAt(1, [content('b1')], of(2n)),
    batchAt(2, [content('plain2')]),
    batchAt(3, [content('a3')], of(1n)),
    marker(4, 1n, false),
    batchAt(5, [content('a5')], of(1n)),
    marker(6, 2n, true),
    marker(7, 1n, true),
    batchAt(8, [content('b8')], of(2n)),
    marker(9, 2n, false),
  ]);
  const aborted = [
    { producerId: 2n, firstOffset: 8 },
    { producerId: 1n, firstOffset: 0 },
  ];

  it('are left out, and nothing else, whatever order the broker names them in', () => {
    expect(texts(readAll(setOf(log, 0, aborted)))).toEqual(['b1', 'plain2', 'a5']);
    expect(texts(readAll(setOf(log, 0, [...aborted].reverse())))).toEqual(['b1', 'plain2', 'a5']);
  });

  it('are left out where they began before the answer', () => {
    expect(texts(readAll(setOf(log, 3, aborted)))).toEqual(['a5']);
  });

  it('are left out where they end behind the answer', () => {
    const cut = log.subarray(0, log.indexOf('a3') + 20);
    expect(texts(readAll(setOf(cut, 0, aborted)))).toEqual(['b1', 'plain2']);
  });

  it("end with their own producer's abort marker, not with another's", () => {
    const bytes = Buffer.concat([
      batchAt(0, [content('a0')], of(1n)),
      marker(1, 2n, false),
      batchAt(2, [content('a2')], of(1n)),
      marker(3, 1n, false),
      batchAt(4, [content('a4')], of(1n)),
    ]);
    expect(texts(readAll(setOf(bytes, 0, [{ producerId: 1n, firstOffset: 0 }])))).toEqual(['a4']);
  });
});

describe('compressed batches', () => {
  const records = Array.from({ length: 50 }, (_, i) => content(`payment ${i} ${'x'.repeat(i)}`));
  const batch = encodeBatch(records, 0, records.length, plain);
  const body = batch.subarray(AT.records);
  const xerial = (block: Buffer) => {
    const halves = [block.subarray(0, 700), block.subarray(700)].map((half) => compressSync(half) as Buffer);
    const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00, 0, 0, 0, 1, 0, 0, 0, 1]);
    const framed = halves.flatMap((half) => {
      const length = Buffer.alloc(4);
      length.writeInt32BE(half.length);
      return [length, half];
    });
    return Buffer.concat([header, ...framed]);
  };
  const codecs = [
    ['gzip', 1, gzipSync(body)],
    ['snappy', 2, compressSync(body) as Buffer],
    ['snappy framed as Java does', 2, xerial(body)],
    ['lz4', 3, compressFrameSync(body)],
    ['zstd', 4, zstdCompressSync(body)],
  ] as const;

  it.each(codecs)('of %s are read', (_, codec, packed) => {
    const seen = readAll(setOf(compressed(batch, codec, packed)), 7);
    expect(texts(seen)).toEqual(records.map(({ value }) => value?.toString()));
  });

  it('of several codecs, plain ones and gaps between them keep their order, one buffer a fill', () => {
    const parts = [...codecs, ['plain', 0, body] as const].map(([, codec, packed], i) => {
      const part = codec === 0 ? Buffer.from(batch) : compressed(batch, codec, packed);
      part.writeBigInt64BE(BigInt(i * 60), AT.baseOffset);
      return part;
    });
    const bytes = Buffer.concat([parts[0], marker(55, 9n, true), parts[1], parts[5], parts[2], marker(175, 9n, false)]);
    bytes.writeBigInt64BE(120n, parts[0].length * 1 + marker(55, 9n, true).length + parts[1].length);
    bytes.writeBigInt64BE(180n, bytes.length - marker(175, 9n, false).length - parts[2].length);
    bytes.writeBigInt64BE(240n, bytes.length - marker(175, 9n, false).length);
    const set = setOf(bytes);
    const into = new RecordBatch(1_000);
    const offsets: number[] = [];
    const fills: number[] = [];
    for (let count = set.fill(into); count > 0; count = set.fill(into)) {
      fills.push(count);
      offsets.push(...into.offset.subarray(0, count));
    }
    const from = (first: number) => Array.from({ length: 50 }, (_, i) => first + i);
    expect(offsets).toEqual([...from(0), ...from(60), ...from(120), ...from(180)]);
    // The first two inflate into one buffer; a plain batch stays in the answer's own.
    expect(fills).toEqual([100, 50, 50]);
    expect(set.position).toBe(241);
  });

  it.each(codecs)('of %s that are damaged are corrupt data, by place', (_, codec, packed) => {
    const damaged = Buffer.from(packed);
    damaged.fill(0xff, 4, damaged.length - 4);
    const bytes = compressed(batch, codec, damaged);
    bytes.writeBigInt64BE(77n, AT.baseOffset);
    expect(() => readAll(setOf(bytes))).toThrow(CorruptDataError);
    expect(() => readAll(setOf(bytes))).toThrow(/payments-3 at offset 77 cannot be inflated/);
  });

  it('of an unknown codec, or that would inflate without end, are corrupt data', () => {
    expect(() => readAll(setOf(compressed(batch, 6, body)))).toThrow(/compression type 6/);
    const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024));
    expect(() => readAll(setOf(compressed(batch, 1, bomb)))).toThrow(CorruptDataError);
    const claims = Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]), Buffer.alloc(10)]);
    expect(() => readAll(setOf(compressed(batch, 2, claims)))).toThrow(/more than 134217728 bytes/);
  });
});

describe('damage', () => {
  it('of any bit is noticed, unless it makes the batch longer than what came', () => {
    const batch = batchAt(40, [content('payment'), content('another')]);
    for (let bit = 8 * 8; bit < batch.length * 8; bit++) {
      // The leader epoch is the broker's own and outside the CRC.
      if (bit >= AT.leaderEpoch * 8 && bit < AT.magic * 8) continue;
      const damaged = Buffer.from(batch);
      damaged[bit >> 3] ^= 1 << (bit & 7);
      if (damaged.readInt32BE(AT.batchLength) > batch.length - 12) {
        expect(readAll(setOf(damaged))).toEqual([]);
        continue;
      }
      expect(() => readAll(setOf(damaged))).toThrow(CorruptDataError);
      expect(() => readAll(setOf(damaged))).toThrow(/payments-3 at offset 40/);
    }
  });

  it('that has a right CRC, lengths that point outside, never reads outside the batch', () => {
    const batch = batchAt(0, [content('payment')]);
    for (let at: number = AT.records; at < batch.length; at++) {
      for (const value of [0x7f, 0xff, 0x01, 0x00]) {
        const damaged = Buffer.from(batch);
        damaged[at] = value;
        try {
          for (const { key, value: bytes } of readAll(setOf(sealed(damaged)))) {
            expect((key?.length ?? 0) + (bytes?.length ?? 0)).toBeLessThan(batch.length);
          }
        } catch (error) {
          expect(error).toBeInstanceOf(CorruptDataError);
        }
      }
    }
  });

  it('by an old message format says so', () => {
    const old = batchAt(5, [content('a')]);
    old[AT.magic] = 1;
    expect(() => readAll(setOf(old))).toThrow(/payments-3 at offset 5 has message format 1/);
  });
});
