/**
 * Owns the reading of dead letters from their topic: what was refused, why, and where it came from; and the masking of
 * what people are shown of it. Neighbours: `dead-letters.ts` lists, shows and replays; the form is written by
 * `stream/pipeline/dead-letters.ts`.
 */
import { StreamError } from '../stream/errors.js';
import { DEAD_LETTER_HEADERS, joinParts } from '../stream/pipeline/dead-letters.js';
import type { LogBackend, PartitionReader } from '../stream/ports.js';
import { RecordBatch } from '../stream/records.js';

/** One dead letter as it lies in its topic. */
export interface DeadLetter {
  readonly partition: number;
  readonly offset: number;
  readonly refusedAt: number;
  readonly code: string;
  readonly message: string;
  /** Null where the headers do not say it: someone else wrote this record. */
  readonly source: {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly timestampMs: number;
  } | null;
  readonly pipelineVersion: string;
  /** As they came, byte for byte. */
  readonly key: Buffer | null;
  readonly value: Buffer | null;
}

const BATCH_RECORDS = 512;
const STALLED_MS = 30_000;

/** All dead letters of a partition from `from` up to the end as it is now, in order. */
export async function* readDeadLetters(
  backend: LogBackend,
  topic: string,
  partition: number,
  from: number | 'earliest',
  signal: AbortSignal,
): AsyncGenerator<DeadLetter> {
  const reader = await backend.openReader({ topic, partition, from });
  try {
    const end = await reader.endOffset();
    const batch = new RecordBatch(BATCH_RECORDS);
    const assembly = new Assembly();
    while (reader.position < end && !signal.aborted) {
      await moveOn(reader, batch);
      for (let index = 0; index < batch.count && batch.offset[index] < end; index++) {
        const letter = assembly.add(deadLetterAt(batch, index, partition), headersAt(batch, index));
        if (letter !== null) yield letter;
      }
    }
  } finally {
    await reader.close();
  }
}

/** Joins the parts of large dead letters. Parts of several can lie between one another. */
class Assembly {
  private readonly open = new Map<string, { readonly first: DeadLetter; readonly parts: Buffer[] }>();

  /** The letter once it is whole, in the place of its first part; null until then. */
  add(letter: DeadLetter, headers: ReadonlyMap<string, string>): DeadLetter | null {
    const count = Number(headers.get(DEAD_LETTER_HEADERS.parts) ?? 0);
    if (count === 0 || letter.source === null || letter.value === null) return letter;
    const { topic, partition, offset } = letter.source;
    const id = `${topic} ${partition} ${offset}`;
    const part = Number(headers.get(DEAD_LETTER_HEADERS.part));
    if (part === 0) this.open.set(id, { first: letter, parts: [] });
    const begun = this.open.get(id);
    // The parts before lie before the place that reading began at: nothing whole can be made of the rest.
    if (begun === undefined || begun.parts.length !== part) return null;
    begun.parts.push(letter.value);
    if (begun.parts.length < count) return null;
    this.open.delete(id);
    const { key, value } = joinParts(begun.parts, headers);
    return { ...begun.first, key: key ?? begun.first.key, value };
  }
}

/** Fills the batch, or waits until the position has moved. */
async function moveOn(reader: PartitionReader, batch: RecordBatch): Promise<void> {
  const before = reader.position;
  if (reader.read(batch) > 0 || reader.position > before) return;
  await reader.whenReadable(STALLED_MS);
  if (reader.read(batch) > 0 || reader.position > before) return;
  throw new StreamError(
    'read-stalled',
    `${reader.topic}/${reader.partition} gave nothing at offset ${before} for ${STALLED_MS / 1_000} s; is the log reachable?`,
  );
}

function headersAt(batch: RecordBatch, index: number): ReadonlyMap<string, string> {
  return new Map(batch.headers(index).map(([name, value]) => [name, value.toString()]));
}

function deadLetterAt(batch: RecordBatch, index: number, partition: number): DeadLetter {
  const headers = headersAt(batch, index);
  const text = (name: keyof typeof DEAD_LETTER_HEADERS) => headers.get(DEAD_LETTER_HEADERS[name]) ?? '';
  const copy = (bytes: Buffer | null) => (bytes === null ? null : Buffer.from(bytes));
  const topic = text('topic');
  return {
    partition,
    offset: batch.offset[index],
    refusedAt: batch.timestampMs[index],
    code: text('code') || 'unknown',
    message: text('message'),
    source:
      topic === ''
        ? null
        : {
            topic,
            partition: Number(text('partition')),
            offset: Number(text('offset')),
            timestampMs: Number(text('timestamp')),
          },
    pipelineVersion: text('pipeline'),
    key: copy(batch.key(index)),
    value: copy(batch.value(index)),
  };
}

const SHOWN_BYTES = 4_096;
/** 12 to 19 digits, with single blanks or dashes between them: the length of card numbers (ISO/IEC 7812), and one shorter. */
const LONG_DIGITS = /\d(?:[ -]?\d){11,18}/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/**
 * Bytes as people may see them: digits of card numbers masked but the last four, control characters shown as escapes,
 * bytes that are no UTF-8 as hexadecimal.
 */
export function maskedText(bytes: Buffer | null): string {
  if (bytes === null) return 'null';
  const cut = bytes.length > SHOWN_BYTES ? ` … (${bytes.length} bytes)` : '';
  // A character may be cut in half at the end, which must not turn the whole into hexadecimal.
  const text = decodeUtf8(bytes.subarray(0, SHOWN_BYTES), cut !== '');
  // Hexadecimal of ASCII digits would give a card number away as well as the digits themselves.
  if (text === null) return `not UTF-8, ${bytes.length} bytes: ${hexadecimal(bytes.subarray(0, 64))}`;
  return (
    mask(text).replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`) + cut
  );
}

const mask = (text: string): string =>
  text.replace(LONG_DIGITS, (digits) => {
    const plain = digits.replace(/[ -]/g, '');
    return '*'.repeat(plain.length - 4) + plain.slice(-4);
  });

function decodeUtf8(bytes: Buffer, isCut: boolean): string | null {
  for (let missing = 0; missing < (isCut ? 4 : 1); missing++) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        bytes.subarray(0, bytes.length - missing),
      );
    } catch {
      // Not UTF-8 up to here; where the end was cut, it may be without its last bytes.
    }
  }
  return null;
}

function hexadecimal(bytes: Buffer): string {
  return [...bytes].map((byte) => (byte >= 0x30 && byte <= 0x39 ? '3*' : byte.toString(16).padStart(2, '0'))).join(' ');
}
