/**
 * Owns the check that a source is keyed as its reader trusts it to be: that each record lies in the partition that Kafka's
 * default partitioner gives its key, and that a row's own key (a card) always comes under the same record key. Every
 * record is checked. Neighbours: `frames.ts` asks it for each batch; `foreign-partitioner.ts` guesses whose fault it is.
 *
 * SK1 Placement alone proves nothing: a topic keyed by merchant is placed perfectly. What must hold is that one row key
 *     has one partition, so a row key seen under two record keys counts, whatever the record keys are made of.
 * SK2 A record that has no place among the partitions that this task counts, but has it among those that the source has
 *     now, is the first after partitions were added: the task ends before it, with everything before it committed.
 * SK3 The count is asked for after the record was read: whoever wrote it knew a count that is no newer.
 * SK4 Nothing is allocated for a record that is in order. Measured with `npm run -s measure:keys`: 17 ns a record for the
 *     place, 50 ns a row for the row key, keys of 20 bytes.
 */
import { StreamError } from '../errors.js';
import { murmur2 } from '../partitioning.js';
import type { StepBatch } from '../pipeline/batch.js';
import type { Clock, SourcePartition } from '../ports.js';
import type { RecordBatch } from '../records.js';
import { hash53 } from '../state/key-index.js';
import { foreignPartitioner } from './foreign-partitioner.js';

export interface SourceKeysOptions {
  /** Partitions of the source that this generation of the pipeline counts. */
  readonly partitions: number;
  /** More than this share of the last `window` records (or comparisons of row keys), 0 to 1, stops the task. */
  readonly misplacedShare: number;
  readonly misplacedWindow: number;
  /** How many partitions the source has now, asked anew. */
  partitionsNow(): Promise<number>;
}

/** Names of the counters in a task's figures. */
export const KEY_COUNTERS = {
  /** Records whose key hashes to another partition. */
  misplaced: 'keying.misplaced',
  /** Records without a key. */
  keyless: 'keying.keyless',
  /** Rows whose key was seen under another record key before. */
  inconsistent: 'keying.inconsistent',
} as const;

/**
 * Row keys remembered with the record key they came under: one place each, the newest keeps it. 384 KiB a task. What is
 * forgotten is not compared, and the share is taken of what is.
 */
const REMEMBERED = 32_768;

/** Where the check says what it saw before it stops anything. */
export interface KeyWarnings {
  readonly clock: Pick<Clock, 'monotonic'>;
  warn(message: string): void;
}

/** Records that are not in order are spoken of at the first, and then at most this often. */
const BETWEEN_WARNINGS_MS = 60_000;

/** Counts what is wrong, in windows that each begin at 0. */
class Window {
  /** Counted in this window so far. */
  seen = 0;
  wrong = 0;

  constructor(private readonly options: Pick<SourceKeysOptions, 'misplacedShare' | 'misplacedWindow'>) {}

  right(count: number): void {
    this.seen += count;
    if (this.seen < this.options.misplacedWindow) return;
    this.seen = 0;
    this.wrong = 0;
  }

  /** Whether the share has been passed. */
  wrongOne(): boolean {
    const { misplacedShare, misplacedWindow } = this.options;
    this.wrong += 1;
    if (this.wrong <= misplacedShare * misplacedWindow) {
      this.right(1);
      return false;
    }
    this.seen += 1;
    return true;
  }
}

export class SourceKeys {
  /** Why the task is to end, once what was handed out is committed; null while all is well. */
  stop: StreamError | null = null;
  /** The partitioner's hash of each record's key, of the batch looked at last. */
  private hashes = new Int32Array(0);
  private readonly rowKeys = new Float64Array(REMEMBERED);
  private readonly recordKeys = new Int32Array(REMEMBERED);
  /** Not in order since the last warning. */
  private untold = { misplaced: 0, keyless: 0, inconsistent: 0 };
  private warnedAtMs = Number.NEGATIVE_INFINITY;
  private readonly placed: Window;
  private readonly compared: Window;

  constructor(
    private readonly source: SourcePartition,
    private readonly options: SourceKeysOptions,
    private readonly count: (name: string, by: number) => void,
    private readonly warnings: KeyWarnings | null = null,
  ) {
    this.placed = new Window(options);
    this.compared = new Window(options);
  }

  /**
   * Looks at the places of a batch that has just been read. Null where all are right; else settles when it is known what
   * to do about it: `records` may have been cut before the record at which the task is to {@link stop}.
   */
  look(records: RecordBatch): Promise<void> | null {
    const { partitions } = this.options;
    // With one partition every key has the same place.
    if (partitions === 1) return null;
    if (this.hashes.length < records.count) this.hashes = new Int32Array(records.capacity);
    const { hashes, source } = this;
    const { bytes, keyStart, keyLength } = records;
    let wrong = 0;
    for (let i = 0; i < records.count; i++) {
      const length = keyLength[i];
      const hash = length < 0 ? 0 : murmur2(bytes, keyStart[i], length);
      hashes[i] = hash;
      if (length < 0 || (hash & 0x7fffffff) % partitions !== source.partition) wrong += 1;
    }
    if (wrong > 0) return this.judge(records);
    this.placed.right(records.count);
    return null;
  }

  /**
   * Compares the keys of decoded rows with the record keys that they came under before. False where the task is to
   * {@link stop} before this batch.
   */
  compare(batch: StepBatch): boolean {
    if (this.options.partitions === 1) return true;
    const { hashes, rowKeys, recordKeys } = this;
    const { keyLength } = batch.records;
    let inconsistent = 0;
    let passed = false;
    for (let row = 0; row < batch.count && !passed; row++) {
      const record = batch.recordIndex[row];
      if (keyLength[record] < 0) continue;
      const rowKey = hash53(batch.textBytes(row), batch.keyStart[row], batch.keyLength[row]);
      const place = (rowKey % 4_294_967_296) & (REMEMBERED - 1);
      const hash = hashes[record];
      if (rowKeys[place] === rowKey) {
        // Record keys of one hash are one to the partitioner.
        const isWrong = recordKeys[place] !== hash;
        if (isWrong) inconsistent += 1;
        if (isWrong) passed = this.compared.wrongOne();
        else this.compared.right(1);
      }
      rowKeys[place] = rowKey;
      recordKeys[place] = hash;
    }
    if (inconsistent > 0) this.count(KEY_COUNTERS.inconsistent, inconsistent);
    if (!passed) {
      if (inconsistent > 0) this.warn({ inconsistent });
      return true;
    }
    this.stop = this.notKeyed(
      batch.records,
      this.compared,
      'one and the same card comes under several keys, so its payments lie on several partitions: the records are keyed by something else than the card',
    );
    return false;
  }

  private async judge(records: RecordBatch): Promise<void> {
    const partitionsNow = await this.options.partitionsNow(); // SK3
    const added = partitionsNow > this.options.partitions ? this.firstAfterAdding(records, partitionsNow) : -1;
    if (added >= 0) {
      this.stop = partitionsAdded(this.source, this.options.partitions, partitionsNow, records.offset[added]);
      cut(records, added);
    }
    let misplaced = 0;
    let keyless = 0;
    let passed = false;
    for (let i = 0; i < records.count && !passed; i++) {
      const isKeyless = records.keyLength[i] < 0;
      const isWrong = isKeyless || this.placeOf(i, this.options.partitions) !== this.source.partition;
      if (isKeyless) keyless += 1;
      else if (isWrong) misplaced += 1;
      if (isWrong) passed = this.placed.wrongOne();
      else this.placed.right(1);
    }
    if (misplaced > 0) this.count(KEY_COUNTERS.misplaced, misplaced);
    if (keyless > 0) this.count(KEY_COUNTERS.keyless, keyless);
    if (!passed) {
      if (misplaced + keyless > 0) this.warn({ misplaced, keyless });
      return;
    }
    this.stop = this.notKeyed(records, this.placed, this.whatIsWrong(records, misplaced, keyless));
    cut(records, 0);
  }

  private warn({ misplaced = 0, keyless = 0, inconsistent = 0 }: Partial<typeof this.untold>): void {
    const { untold, warnings, source } = this;
    untold.misplaced += misplaced;
    untold.keyless += keyless;
    untold.inconsistent += inconsistent;
    if (warnings === null) return;
    const now = warnings.clock.monotonic();
    if (now - this.warnedAtMs < BETWEEN_WARNINGS_MS) return;
    this.warnedAtMs = now;
    this.untold = { misplaced: 0, keyless: 0, inconsistent: 0 };
    warnings.warn(
      `${source.topic}-${source.partition} is not all keyed by card: since this was said last, ${untold.keyless} records without a key, ` +
        `${untold.misplaced} on another partition than their key's, ${untold.inconsistent} cards under another key than before. ` +
        'The cards of these have their history in two places, so patterns can miss them (docs/KEYING.md)',
    );
  }

  /** SK2 */
  private firstAfterAdding(records: RecordBatch, partitionsNow: number): number {
    const { partition } = this.source;
    for (let i = 0; i < records.count; i++) {
      if (records.keyLength[i] < 0) continue;
      if (this.placeOf(i, this.options.partitions) !== partition && this.placeOf(i, partitionsNow) === partition)
        return i;
    }
    return -1;
  }

  private placeOf(index: number, partitions: number): number {
    return (this.hashes[index] & 0x7fffffff) % partitions;
  }

  private whatIsWrong(records: RecordBatch, misplaced: number, keyless: number): string {
    if (keyless >= misplaced) return 'records come without a key';
    const { partitions } = this.options;
    const wrong = Array.from({ length: records.count }, (_, i) => i).filter(
      (i) => records.keyLength[i] >= 0 && this.placeOf(i, partitions) !== this.source.partition,
    );
    const keys = wrong.map((i) => records.key(i) ?? Buffer.alloc(0));
    const partitioner = foreignPartitioner(keys, this.source.partition, partitions);
    return partitioner === null
      ? `keys lie on another partition than Kafka's default partitioner (murmur2) gives them: the first at offset ${records.offset[wrong[0]]}`
      : `the producer uses another partitioner than Kafka's default: ${partitioner}`;
  }

  private notKeyed(records: RecordBatch, { wrong, seen }: Window, what: string): StreamError {
    const { misplacedShare, misplacedWindow, partitions } = this.options;
    const { topic, partition } = this.source;
    return new StreamError(
      'source-not-keyed-by-card',
      `${topic}-${partition} of ${partitions} is not keyed by card: ${what}. ` +
        `${wrong} of the ${seen} looked at in this window were wrong, and ${misplacedShare * 100} % of ${misplacedWindow} is the limit (up to offset ${records.offset[Math.max(0, records.count - 1)]}). ` +
        'Key payments by card with the default partitioner, or set keying.mode to repartition, which keys them here ' +
        '(docs/KEYING.md); keying.misplacedShare raises the limit',
    );
  }
}

/** Why tasks end at the first record that was placed by a larger number of partitions. `offset`: that record, where known. */
export function partitionsAdded(
  { topic, partition }: SourcePartition,
  before: number,
  now: number,
  offset: number | null,
): StreamError {
  const where = offset === null ? '' : ` (first seen at offset ${offset} of partition ${partition})`;
  return new StreamError(
    'partitions-added',
    `${topic} has ${now} partitions, this pipeline keeps the state of ${before}${where}: cards have moved to other partitions. ` +
      'Everything before is committed and nothing is lost. Run `fraud rescale`, then start again (docs/KEYING.md)',
  );
}

/** Leaves the records before `index`. */
function cut(records: RecordBatch, index: number): void {
  records.nextOffset = records.offset[index];
  records.count = index;
}
