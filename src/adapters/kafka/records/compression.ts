/**
 * Owns undoing the compression that producers put on record batches: gzip and zstd by Node, lz4 frames and snappy by
 * native libraries. Everything inflated is bounded, so a hostile batch cannot take the memory.
 * Neighbours: `decode.ts` names the place of a batch that cannot be inflated.
 */
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { decompressFrameSync } from 'lz4-napi';
import { uncompressSync } from 'snappy';

/** Most bytes that one batch may inflate to. A batch is at most the topic's max.message.bytes before. */
export const MAX_INFLATED_BYTES = 128 * 1024 * 1024;

const NONE = 0;
const GZIP = 1;
const SNAPPY = 2;
const LZ4 = 3;
const ZSTD = 4;

/** xerial's framing, which Java producers write: magic, version, lowest version, then length-prefixed blocks. */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const XERIAL_HEADER_BYTES = 16;

const LZ4_MAGIC = 0x184d2204;

/** `codec` is the low three bits of a batch's attributes. Throws a plain Error that says what is wrong. */
export function inflate(codec: number, bytes: Buffer): Buffer {
  switch (codec) {
    case NONE:
      return bytes;
    case GZIP:
      return gunzipSync(bytes, { maxOutputLength: MAX_INFLATED_BYTES });
    case SNAPPY:
      return inflateSnappy(bytes);
    case LZ4:
      return inflateLz4(bytes);
    case ZSTD:
      return zstdDecompressSync(bytes, { maxOutputLength: MAX_INFLATED_BYTES });
    default:
      throw new Error(`compression type ${codec} is not known`);
  }
}

function inflateSnappy(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC))
    return inflateSnappyBlock(bytes, MAX_INFLATED_BYTES);
  const blocks: Buffer[] = [];
  let left = MAX_INFLATED_BYTES;
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length; ) {
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < 0 || at + length > bytes.length) throw new Error('a snappy block is cut off');
    const block = inflateSnappyBlock(bytes.subarray(at, at + length), left);
    left -= block.length;
    blocks.push(block);
    at += length;
  }
  return blocks.length === 1 ? blocks[0] : Buffer.concat(blocks);
}

/** A raw snappy block begins with its inflated size, checked before memory is taken. */
function inflateSnappyBlock(block: Buffer, most: number): Buffer {
  let size = 0;
  for (let at = 0, shift = 0; ; at++, shift += 7) {
    if (at >= block.length || at > 4) throw new Error('a snappy block has no size');
    size += (block[at] & 0x7f) * 2 ** shift;
    if (block[at] < 0x80) break;
  }
  if (size > most) throw new Error(`it inflates to more than ${MAX_INFLATED_BYTES} bytes`);
  return uncompressSync(block, { asBuffer: true }) as Buffer;
}

/** An lz4 frame names its largest block; that times the blocks there are bounds the result before memory is taken. */
function inflateLz4(bytes: Buffer): Buffer {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== LZ4_MAGIC) throw new Error('it is not an lz4 frame');
  const flags = bytes[4];
  const blockBytes = 2 ** (8 + 2 * ((bytes[5] >> 4) & 0x07));
  const checksumBytes = (flags & 0x10) !== 0 ? 4 : 0;
  let at = 7 + ((flags & 0x08) !== 0 ? 8 : 0) + ((flags & 0x01) !== 0 ? 4 : 0);
  for (let blocks = 1; at + 4 <= bytes.length; blocks++) {
    const length = bytes.readUInt32LE(at) & 0x7fffffff;
    if (length === 0) break;
    if (blocks * blockBytes > MAX_INFLATED_BYTES)
      throw new Error(`it may inflate to more than ${MAX_INFLATED_BYTES} bytes`);
    at += 4 + length + checksumBytes;
  }
  return decompressFrameSync(bytes);
}
