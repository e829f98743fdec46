/**
 * Owns the Fetch request for one partition over raw bytes: kafka-ts's own decoder makes UTF-8 text of keys and values,
 * which destroys binary ones. Version 13 fetches by topic id, so a topic deleted and made again under the same name is
 * noticed; brokers before 3.1 get version 12, by name.
 * Format: https://kafka.apache.org/protocol.html#The_Messages_Fetch
 */
import type { Api } from 'kafka-ts/dist/utils/api.js';
import type { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import type { Encoder } from 'kafka-ts/dist/utils/encoder.js';

export interface FetchRequest {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly leaderEpoch: number;
  readonly offset: number;
  readonly maxWaitMs: number;
  readonly maxBytes: number;
}

/** An aborted Kafka transaction whose records lie, or may lie, in the answer. */
export interface AbortedRange {
  readonly producerId: bigint;
  readonly firstOffset: number;
}

export interface FetchAnswer {
  /** Broker code of the request or the partition; 0 is none. */
  readonly errorCode: number;
  /** End of the committed log. */
  readonly lastStableOffset: number;
  readonly logStartOffset: number;
  readonly aborted: readonly AbortedRange[];
  /** Record batches as they lie on disk, the last one possibly cut off. A view into the answer's own buffer. */
  readonly records: Buffer;
}

const READ_COMMITTED = 1;
const NO_BYTES = Buffer.alloc(0);

function encodeRequest(encoder: Encoder, request: FetchRequest, byId: boolean): Encoder {
  encoder
    .writeInt32(-1)
    .writeInt32(request.maxWaitMs)
    .writeInt32(1)
    .writeInt32(request.maxBytes)
    .writeInt8(READ_COMMITTED)
    .writeInt32(0)
    .writeInt32(-1)
    .writeUVarInt(2);
  if (byId) encoder.writeUUID(request.topicId);
  else encoder.writeCompactString(request.topic);
  return encoder
    .writeUVarInt(2)
    .writeInt32(request.partition)
    .writeInt32(request.leaderEpoch)
    .writeInt64(BigInt(request.offset))
    .writeInt32(-1)
    .writeInt64(-1n)
    .writeInt32(request.maxBytes)
    .writeTagBuffer()
    .writeTagBuffer()
    .writeUVarInt(1)
    .writeCompactString('')
    .writeTagBuffer();
}

function decodeAnswer(decoder: Decoder, byId: boolean): FetchAnswer {
  decoder.readInt32();
  const requestError = decoder.readInt16();
  decoder.readInt32();
  let answer: FetchAnswer | null = null;
  for (let topics = decoder.readUVarInt() - 1; topics > 0; topics--) {
    if (byId) decoder.readUUID();
    else decoder.readCompactString();
    for (let partitions = decoder.readUVarInt() - 1; partitions > 0; partitions--) answer = decodePartition(decoder);
    decoder.readTagBuffer();
  }
  decoder.readTagBuffer();
  const empty = { lastStableOffset: -1, logStartOffset: -1, aborted: [], records: NO_BYTES };
  if (requestError !== 0 || answer === null) return { errorCode: requestError, ...empty };
  return answer;
}

function decodePartition(decoder: Decoder): FetchAnswer {
  decoder.readInt32();
  const errorCode = decoder.readInt16();
  decoder.readInt64();
  const lastStableOffset = Number(decoder.readInt64());
  const logStartOffset = Number(decoder.readInt64());
  const aborted: AbortedRange[] = [];
  for (let ranges = decoder.readUVarInt() - 1; ranges > 0; ranges--) {
    const producerId = decoder.readInt64();
    aborted.push({ producerId, firstOffset: Number(decoder.readInt64()) });
    decoder.readTagBuffer();
  }
  decoder.readInt32();
  const length = decoder.readUVarInt() - 1;
  const records = length > 0 ? decoder.read(length) : NO_BYTES;
  decoder.readTagBuffer();
  return { errorCode, lastStableOffset, logStartOffset, aborted, records };
}

const FETCH_BY_NAME: Api<FetchRequest, FetchAnswer> = {
  apiKey: 1,
  apiVersion: 12,
  requestHeaderVersion: 2,
  responseHeaderVersion: 1,
  request: (encoder, request) => encodeRequest(encoder, request, false),
  response: (decoder) => decodeAnswer(decoder, false),
};

export const FETCH: Api<FetchRequest, FetchAnswer> = {
  ...FETCH_BY_NAME,
  apiVersion: 13,
  fallback: FETCH_BY_NAME,
  request: (encoder, request) => encodeRequest(encoder, request, true),
  response: (decoder) => decodeAnswer(decoder, true),
};
