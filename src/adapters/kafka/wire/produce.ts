/**
 * Owns the Produce request over encoded record batches, and its answer with every partition's own result (kafka-ts's
 * throws on the first bad one). One batch a partition a request, as brokers demand.
 * Version 12 means transactions v2 (KIP-890: the broker adds partitions itself); version 11 at most means v1.
 * Format: https://kafka.apache.org/protocol.html#The_Messages_Produce
 */
import type { Api } from 'kafka-ts/dist/utils/api.js';
import type { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import type { Encoder } from 'kafka-ts/dist/utils/encoder.js';

export interface ProduceRequest {
  readonly transactionalId: string | null;
  readonly timeoutMs: number;
  readonly topics: readonly {
    readonly name: string;
    readonly partitions: readonly { readonly partition: number; readonly batch: Buffer }[];
  }[];
}

export interface ProducedPartition {
  readonly topic: string;
  readonly partition: number;
  readonly errorCode: number;
  readonly errorMessage: string | null;
  /** Offset of the batch's first record; -1 where it is not known. */
  readonly baseOffset: number;
}

const ALL_REPLICAS = -1;

function encodeRequest(encoder: Encoder, request: ProduceRequest): Encoder {
  encoder
    .writeCompactString(request.transactionalId)
    .writeInt16(ALL_REPLICAS)
    .writeInt32(request.timeoutMs)
    .writeUVarInt(request.topics.length + 1);
  for (const { name, partitions } of request.topics) {
    encoder.writeCompactString(name).writeUVarInt(partitions.length + 1);
    for (const { partition, batch } of partitions) {
      encoder
        .writeInt32(partition)
        .writeUVarInt(batch.length + 1)
        .write(batch)
        .writeTagBuffer();
    }
    encoder.writeTagBuffer();
  }
  return encoder.writeTagBuffer();
}

function decodeAnswer(decoder: Decoder): ProducedPartition[] {
  const produced: ProducedPartition[] = [];
  for (let topics = decoder.readUVarInt() - 1; topics > 0; topics--) {
    const topic = decoder.readCompactString() ?? '';
    for (let partitions = decoder.readUVarInt() - 1; partitions > 0; partitions--) {
      produced.push(decodePartition(decoder, topic));
    }
    decoder.readTagBuffer();
  }
  decoder.readInt32();
  decoder.readTagBuffer();
  return produced;
}

function decodePartition(decoder: Decoder, topic: string): ProducedPartition {
  const partition = decoder.readInt32();
  const errorCode = decoder.readInt16();
  const baseOffset = Number(decoder.readInt64());
  decoder.readInt64();
  decoder.readInt64();
  const recordErrors: string[] = [];
  for (let errors = decoder.readUVarInt() - 1; errors > 0; errors--) {
    const index = decoder.readInt32();
    recordErrors.push(`record ${index}: ${decoder.readCompactString() ?? 'refused'}`);
    decoder.readTagBuffer();
  }
  const message = decoder.readCompactString();
  decoder.readTagBuffer();
  const parts = [...(message === null ? [] : [message]), ...recordErrors.slice(0, 3)];
  return { topic, partition, errorCode, errorMessage: parts.length === 0 ? null : parts.join('; '), baseOffset };
}

function version(
  apiVersion: number,
  fallback?: Api<ProduceRequest, ProducedPartition[]>,
): Api<ProduceRequest, ProducedPartition[]> {
  return {
    apiKey: 0,
    apiVersion,
    requestHeaderVersion: 2,
    responseHeaderVersion: 1,
    ...(fallback === undefined ? {} : { fallback }),
    request: encodeRequest,
    response: decodeAnswer,
  };
}

/** For v1 transactions, and for writing outside transactions to any broker from 2.8 on. */
export const PRODUCE_V1 = version(11, version(9));
/** For v2 transactions; there is no older form. */
export const PRODUCE_V2 = version(12);
