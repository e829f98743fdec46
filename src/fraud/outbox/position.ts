/**
 * Owns how the relay's position is written in its state log: which outbox, and the last sequence relayed for good.
 * Pure; `relay.ts` writes one with every batch, in the batch's own Kafka transaction.
 * Form: u8 version, u32 crc32 of the rest (little-endian), the rest as JSON text.
 */
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { CorruptDataError } from '../../stream/errors.js';

const VERSION = 1;
const HEAD_BYTES = 5;

const positionSchema = z.object({ outboxId: z.string().min(1), sequence: z.int().min(0) });
export type RelayPosition = Readonly<z.infer<typeof positionSchema>>;

export function encodePosition({ outboxId, sequence }: RelayPosition): Buffer {
  const body = Buffer.from(JSON.stringify({ outboxId, sequence }));
  const record = Buffer.allocUnsafe(HEAD_BYTES + body.length);
  record.writeUInt8(VERSION, 0);
  record.writeUInt32LE(crc32(body), 1);
  body.copy(record, HEAD_BYTES);
  return record;
}

/** `place` names the record in errors. Errors: {@link CorruptDataError}. Keeps nothing of `record`. */
export function decodePosition(record: Buffer, place: string): RelayPosition {
  const version = record.length > HEAD_BYTES ? record.readUInt8(0) : null;
  if (version !== VERSION) {
    throw new CorruptDataError(
      `${place} is no relay position of this version (found ${version ?? `${record.length} bytes`}, expected ${VERSION}); ` +
        'was it written by a newer release, or does the topic belong to something else?',
    );
  }
  const body = record.subarray(HEAD_BYTES);
  if (crc32(body) !== record.readUInt32LE(1)) throw new CorruptDataError(`${place} does not match its checksum`);
  const parsed = positionSchema.safeParse(JSON.parse(body.toString('utf8')));
  if (!parsed.success) throw new CorruptDataError(`${place} is no relay position: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
