/**
 * Owns finding the frames of Kafka's protocol in a stream of bytes, and just enough of their headers to tell a request
 * by its kind and its answer by the correlation id. It never waits for a whole frame: of each it needs the first bytes.
 * Neighbour: `proxy.ts` cuts at what is found.
 */

/** By the numbers of Kafka's protocol. */
export const API_KEYS = {
  Produce: 0,
  Fetch: 1,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  InitProducerId: 22,
  AddPartitionsToTxn: 24,
  EndTxn: 26,
} as const;

export interface FoundFrame {
  /** Of the frame's first byte in the chunk; negative where it began in an earlier one. */
  readonly start: number;
  /** Behind the frame's last byte, counted like `start`; may lie beyond the chunk. */
  readonly end: number;
  /** The frame's first bytes behind its size, as many as were asked for. */
  readonly head: Buffer;
}

const SIZE_BYTES = 4;

export class FrameFinder {
  /** What is known of a frame's size and head while they have not arrived whole. */
  private beginning = Buffer.alloc(0);
  /** Bytes of a known frame that are still to come. */
  private left = 0;

  /** `headBytes`: wanted of each frame; a frame is found when they have arrived. Frames shorter than that are passed over. */
  constructor(private readonly headBytes: number) {}

  /** The frames whose heads are complete with this chunk. */
  find(chunk: Buffer): readonly FoundFrame[] {
    const found: FoundFrame[] = [];
    let at = 0;
    while (at < chunk.length) {
      const passed = Math.min(this.left, chunk.length - at);
      this.left -= passed;
      at += passed;
      if (at === chunk.length) break;
      const start = at - this.beginning.length;
      const wanted = SIZE_BYTES + this.headBytes - this.beginning.length;
      this.beginning = Buffer.concat([this.beginning, chunk.subarray(at, at + wanted)]);
      const size = this.beginning.length < SIZE_BYTES ? null : this.beginning.readUInt32BE(0);
      const complete = SIZE_BYTES + Math.min(this.headBytes, size ?? this.headBytes);
      if (size === null || this.beginning.length < complete) {
        at = chunk.length;
        break;
      }
      const end = start + SIZE_BYTES + size;
      if (size >= this.headBytes) found.push({ start, end, head: this.beginning.subarray(SIZE_BYTES, complete) });
      at = start + complete;
      this.left = end - at;
      this.beginning = Buffer.alloc(0);
    }
    return found;
  }
}
