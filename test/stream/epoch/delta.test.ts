/** Owns the tests of state-log records: cut at any limit they come together again, and damage is never read as data. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeDelta, encodePointer, StateLogDecoder, type StateLogRecord } from '../../../src/stream/epoch/delta.js';
import { CorruptDataError } from '../../../src/stream/errors.js';
import { ByteWriter } from '../../../src/stream/state/byte-writer.js';
import { FRESH_START } from '../../../src/stream/state/stored-form.js';
import { card, cardSlot, erased, openCards, openMemoryStore, pay } from '../state/card-layout.js';

const HEAD_BYTES = 24;

/** Writes the checksum that the chunk should have. */
const sum = (chunk: Buffer) => chunk.writeUInt32LE(crc32(chunk.subarray(16), crc32(chunk.subarray(0, 12))), 12);

/** The records of an epoch in which `cards` cards paid, and what the cards hold then. */
async function delta(cards: number, maxRecordBytes: number, epoch = 5) {
  const { store } = await openMemoryStore();
  const state = openCards(store, 64);
  const truth = new Map<string, unknown>();
  for (let i = 0; i < cards; i++) {
    const slot = await cardSlot(state, `card-${i}`);
    pay(state, slot, epoch, i);
    truth.set(`card-${i}`, card(state, slot));
  }
  const head = {
    taskId: 'cards-0',
    epoch,
    from: 100,
    to: 130,
    maxEventTimeMs: 12.5,
    cursors: { rules: 7, 'risk-täble': 2 ** 40 },
  };
  return { head, truth, chunks: encodeDelta(new ByteWriter(8), head, erased(state), maxRecordBytes) };
}

const decode = (chunks: readonly Buffer[], decoder = new StateLogDecoder()) =>
  chunks.map((chunk, offset) => decoder.push(chunk, offset)).filter((record) => record !== null);

async function changesOf(record: StateLogRecord): Promise<Map<string, unknown>> {
  if (record.kind !== 'delta') throw new Error('not a delta');
  const { store } = await openMemoryStore();
  const state = openCards(store, 64);
  const cards = new Map<string, unknown>();
  for (let i = 0; i < record.changeCount; i++) {
    const { changes } = record;
    const length = changes.u8();
    const name = changes.bytes.toString('utf8', changes.position, changes.position + length);
    changes.position += length;
    const slot = await cardSlot(state, name);
    state.codec.read(changes, slot);
    cards.set(name, card(state, slot));
  }
  expect(record.changes.left).toBe(0);
  return cards;
}

describe('a delta', () => {
  it('is cut to fit any limit and decoded again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(20), fc.integer({ min: HEAD_BYTES + 1, max: 2000 }), async (cards, maxRecordBytes) => {
        const { head, truth, chunks } = await delta(cards, maxRecordBytes);
        for (const chunk of chunks) expect(chunk.length).toBeLessThanOrEqual(maxRecordBytes);
        const decoder = new StateLogDecoder();
        const records = decode([...chunks, ...chunks], decoder);
        expect(records).toHaveLength(2);
        for (const record of records) {
          expect(record).toMatchObject({ kind: 'delta', head, layoutVersion: 1 });
          expect(await changesOf(record)).toEqual(truth);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('of nothing at all is one record, without an event time if there was none', () => {
    return openMemoryStore().then(({ store }) => {
      const head = { taskId: 'cards-0', epoch: 0, from: 3, to: 3, maxEventTimeMs: null, cursors: {} };
      const chunks = encodeDelta(new ByteWriter(), head, erased(openCards(store, 4)), 1000);
      expect(decode(chunks)).toMatchObject([{ kind: 'delta', head, changeCount: 0 }]);
    });
  });

  it('does not change when the buffer it was read from is used again', async () => {
    const { truth, chunks } = await delta(9, 200);
    const decoder = new StateLogDecoder();
    let record: StateLogRecord | null = null;
    for (const chunk of chunks) {
      const lent = Buffer.from(chunk);
      record = decoder.push(lent, 0);
      lent.fill(0xdd);
    }
    expect(await changesOf(record as unknown as StateLogRecord)).toEqual(truth);
  });

  it('of which any bit is wrong, of the head or the body, is refused, and the place is named', async () => {
    const { chunks } = await delta(6, 150);
    fc.assert(
      fc.property(fc.nat(chunks.length - 1), fc.nat(10_000), fc.nat(7), fc.boolean(), (which, place, bit, inHead) => {
        const damaged = chunks.map((chunk) => Buffer.from(chunk));
        const chunk = damaged[which];
        // The magic and the form, bytes 0 to 4, are refused with words of their own.
        const at = inHead ? 5 + (place % (HEAD_BYTES - 5)) : HEAD_BYTES + (place % (chunk.length - HEAD_BYTES));
        chunk[at] ^= 1 << bit;
        expect(() => decode(damaged)).toThrow(new RegExp(`state log offset ${which}: checksum of chunk \\d+ does not`));
      }),
    );
  });

  it('of which a chunk is missing, doubled or out of its place is refused', async () => {
    const { chunks } = await delta(6, 90);
    expect(chunks.length).toBeGreaterThan(3);
    const [a, b, c] = chunks;
    for (const wrong of [
      [a, c],
      [a, a],
      [a, b, b],
      [a, b, a],
    ]) {
      expect(() => decode(wrong)).toThrow(CorruptDataError);
    }
  });

  it('whose beginning was truncated away is passed over, the next is read', async () => {
    const { head, chunks } = await delta(6, 150);
    const whole = await delta(3, 150);
    expect(decode([...chunks.slice(2), ...whole.chunks])).toMatchObject([{ head }]);
  });

  it('that claims more than its body has is refused as corrupt, not as a fault of ours', async () => {
    const [whole] = (await delta(2, 1000)).chunks;
    for (let length = HEAD_BYTES; length < HEAD_BYTES + 60; length++) {
      const short = Buffer.from(whole.subarray(0, length));
      sum(short);
      try {
        decode([short]);
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptDataError);
      }
    }
  });
});

describe('a record of a foreign form', () => {
  it('is refused, saying which form this build reads', async () => {
    const [record] = (await delta(1, 1000)).chunks;
    const changed = (at: number, value: number) => {
      const other = Buffer.from(record);
      other[at] = value;
      sum(other);
      return [other];
    };
    expect(() => decode(changed(0, 0))).toThrow('state log offset 0: not a state-log record');
    expect(() => decode([Buffer.from('{}')])).toThrow('not a state-log record');
    expect(() => decode([Buffer.alloc(0)])).toThrow('not a state-log record');
    expect(() => decode(changed(4, 9))).toThrow('form 9, this build reads form 2');
    expect(() => decode(changed(5, 9))).toThrow('a record of kind 9');
  });
});

describe('a checkpoint pointer', () => {
  const pointer = {
    snapshotId: 'chk-1',
    completedAtMs: 5,
    resume: { ...FRESH_START, epoch: 3, stateLogOffset: 9, cursors: { rules: 1 } },
  };

  it('is read as it was written, between deltas', async () => {
    const { chunks, head } = await delta(2, 60);
    const records = decode([...chunks, ...encodePointer(6, pointer, 60), ...chunks]);
    expect(records).toMatchObject([{ head }, { kind: 'pointer', pointer }, { head }]);
  });

  it('that is no JSON is refused', async () => {
    const [record] = encodePointer(6, pointer, 1000);
    record[HEAD_BYTES] = 0x20;
    sum(record);
    expect(() => decode([record])).toThrow('the checkpoint pointer cannot be read');
  });
});
