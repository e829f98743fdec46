/** Frames are found in a stream however it is cut into chunks. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FrameFinder } from '../../../scripts/prove/kafka-frames.js';

const HEAD_BYTES = 8;

function frame(content: Uint8Array): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(content.length);
  return Buffer.concat([size, content]);
}

/** Where frames lie in the whole stream, as found chunk by chunk. */
function findIn(stream: Buffer, cuts: readonly number[]): { start: number; end: number; head: string }[] {
  const finder = new FrameFinder(HEAD_BYTES);
  const found: { start: number; end: number; head: string }[] = [];
  const edges = [0, ...cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b), stream.length];
  for (let index = 1; index < edges.length; index++) {
    const chunk = stream.subarray(edges[index - 1], edges[index]);
    for (const { start, end, head } of finder.find(chunk)) {
      found.push({ start: start + edges[index - 1], end: end + edges[index - 1], head: head.toString('hex') });
    }
  }
  return found;
}

describe('frames in a stream', () => {
  it('are found with their places and heads, wherever chunks end', () => {
    const contents = fc.array(fc.uint8Array({ minLength: 0, maxLength: 40 }), { maxLength: 12 });
    fc.assert(
      fc.property(contents, fc.array(fc.nat(), { maxLength: 20 }), (each, cuts) => {
        const frames = each.map(frame);
        let at = 0;
        const expected = frames.flatMap((bytes) => {
          const start = at;
          at += bytes.length;
          const head = bytes.subarray(4, 4 + HEAD_BYTES).toString('hex');
          return bytes.length >= 4 + HEAD_BYTES ? [{ start, end: at, head }] : [];
        });
        expect(findIn(Buffer.concat(frames), cuts)).toEqual(expected);
      }),
    );
  });
});
