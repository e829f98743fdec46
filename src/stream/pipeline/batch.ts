/**
 * Owns the batch that runs through a pipeline: rows decoded from a record batch. The core needs of a row its record,
 * its event time, its key's bytes and its slot; a domain extends the class by columns of its own.
 * Neighbours: sources fill it, the task assigns slots, steps read and write columns by row.
 */
import { RecordBatch } from '../records.js';

/** Rows 0..count-1, in the order of their records. Reused: nothing here may be kept beyond the batch. */
export class StepBatch {
  readonly records: RecordBatch;
  /** Decoded rows; records that could not be decoded became dead letters and have none. */
  count = 0;
  /** Index into `records` of each row. */
  readonly recordIndex: Int32Array;
  /** Event time of each row, ms since 1970. */
  readonly eventTimeMs: Float64Array;
  /** 1 where the row's event time lies before the watermark it met. Set by the task. */
  readonly late: Uint8Array;
  /**
   * Where a row's texts (the key among them) lie: 0 in the bytes of its record batch, 1 in `side`.
   * A decoder that finds its texts verbatim in the record leaves them there; any other copies them to `side`.
   */
  readonly inSide: Uint8Array;
  side: Buffer = Buffer.allocUnsafe(16 * 1024);
  sideLength = 0;
  /** The key's place in `textBytes(row)`. At most `MAX_KEY_BYTES` long. */
  readonly keyStart: Int32Array;
  readonly keyLength: Int32Array;
  /** The keyed state's slot of each row. Set by the task before keyed steps run. */
  readonly slot: Int32Array;

  constructor(readonly capacity: number) {
    this.records = new RecordBatch(capacity);
    this.recordIndex = new Int32Array(capacity);
    this.eventTimeMs = new Float64Array(capacity);
    this.late = new Uint8Array(capacity);
    this.inSide = new Uint8Array(capacity);
    this.keyStart = new Int32Array(capacity);
    this.keyLength = new Int32Array(capacity);
    this.slot = new Int32Array(capacity);
  }

  /** Empties the rows before a new decode. Subclasses with own per-batch leftovers extend it. */
  reset(): void {
    this.count = 0;
    this.sideLength = 0;
  }

  /** The buffer that holds a row's texts. */
  textBytes(row: number): Buffer {
    return this.inSide[row] === 1 ? this.side : this.records.bytes;
  }

  /** Copies a text to the side buffer, as UTF-8; returns its start there. Its length is `sideLength` minus that. */
  addSideText(text: string): number {
    const start = this.sideLength;
    const need = start + text.length * 3;
    if (need > this.side.length) {
      const grown = Buffer.allocUnsafe(Math.max(need, this.side.length * 2));
      this.side.copy(grown, 0, 0, start);
      this.side = grown;
    }
    this.sideLength = start + this.side.write(text, start, 'utf8');
    return start;
  }
}
