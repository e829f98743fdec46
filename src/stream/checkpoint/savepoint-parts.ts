/**
 * Owns the files of a savepoint: the keys and whole values of one task, cut into parts of some MiB. A value lies there
 * in its binary form (`state/value-codec.ts`), without epoch and version: the manifest tells both. Neighbours:
 * `savepoint.ts` writes through {@link PartWriter}, `savepoints.ts` reads with {@link readPart}.
 *
 * Part: u32 magic, u32 entries, then each: u16 key length, u32 value length, key, value. Little-endian.
 */
import { createHash } from 'node:crypto';
import { CorruptDataError } from '../errors.js';
import type { ObjectStore } from '../ports.js';
import { ByteReader, ByteWriter } from '../state/byte-writer.js';
import type { SavepointPart } from './savepoint-manifest.js';

const MAGIC = 0x53415650;
const HEAD_BYTES = 8;

/** One key's whole value. */
export interface SavepointEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Gathers entries into parts of at least `partBytes` and puts them one after the other. Memory: one part. */
export class PartWriter {
  readonly parts: SavepointPart[] = [];
  keys = 0;
  private readonly out = new ByteWriter();
  private entries = 0;

  constructor(
    private readonly objects: ObjectStore,
    private readonly nameOf: (part: number) => string,
    private readonly partBytes: number,
  ) {
    this.begin();
  }

  /** Null: there is still room in the part; else it is being put. */
  add(key: Uint8Array, value: Uint8Array): Promise<void> | null {
    const { out } = this;
    out.u16(key.length);
    out.u32(value.length);
    out.raw(key);
    out.raw(value);
    this.entries++;
    this.keys++;
    return out.length < this.partBytes ? null : this.put();
  }

  /** Puts what is left. */
  async finish(): Promise<void> {
    if (this.entries > 0) await this.put();
  }

  private async put(): Promise<void> {
    const { out, entries } = this;
    out.view.setUint32(4, entries, true);
    const bytes = Buffer.from(out.written());
    const name = this.nameOf(this.parts.length);
    this.parts.push({ name, sizeBytes: bytes.length, sha256: sha256Of(bytes), keys: entries });
    this.begin();
    await this.objects.put(name, bytes);
  }

  private begin(): void {
    this.entries = 0;
    this.out.clear();
    this.out.u32(MAGIC);
    this.out.u32(0);
  }
}

/** A part's entries; views into one buffer. Errors: {@link CorruptDataError} naming the object and what is wrong. */
export async function readPart(objects: ObjectStore, part: SavepointPart): Promise<SavepointEntry[]> {
  const bytes = await readBytes(objects, part);
  try {
    return decodeEntries(bytes, part.keys);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw unusable(objects, part, 'ends in the middle of an entry', { cause });
  }
}

async function readBytes(objects: ObjectStore, part: SavepointPart): Promise<Buffer> {
  const bytes = await objects.get(part.name);
  if (bytes === null) throw unusable(objects, part, 'is missing');
  if (bytes.length !== part.sizeBytes) {
    throw unusable(objects, part, `has ${bytes.length} bytes instead of ${part.sizeBytes}`);
  }
  if (sha256Of(bytes) !== part.sha256) throw unusable(objects, part, 'does not match its checksum');
  return bytes;
}

function decodeEntries(bytes: Buffer, keys: number): SavepointEntry[] {
  const from = new ByteReader(bytes);
  if (bytes.length < HEAD_BYTES || from.u32() !== MAGIC || from.u32() !== keys) {
    throw new RangeError('the part does not begin as one does');
  }
  const entries: SavepointEntry[] = [];
  for (let entry = 0; entry < keys; entry++) {
    const keyLength = from.u16();
    const valueLength = from.u32();
    const valueStart = from.position + keyLength;
    const end = valueStart + valueLength;
    if (end > bytes.length) throw new RangeError('the entry runs past the end');
    entries.push({ key: bytes.subarray(from.position, valueStart), value: bytes.subarray(valueStart, end) });
    from.position = end;
  }
  return entries;
}

function unusable(
  objects: ObjectStore,
  { name }: SavepointPart,
  what: string,
  options?: { cause: unknown },
): CorruptDataError {
  return new CorruptDataError(
    `${name} in ${objects.place} ${what}: the savepoint cannot be used; take another`,
    options,
  );
}

const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
