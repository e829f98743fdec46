/**
 * Owns the JoinGroup request with a subscription of our own making: kafka-ts's leaves out what a member owns.
 * Format: ConsumerProtocolSubscription, version 2, so Kafka's own tools can show it.
 */
import { API } from 'kafka-ts';
import type { Api } from 'kafka-ts/dist/utils/api.js';
import { Decoder } from 'kafka-ts/dist/utils/decoder.js';
import { Encoder } from 'kafka-ts/dist/utils/encoder.js';
import { atMost } from '../links.js';

export interface Subscription {
  readonly topic: string;
  readonly owned: readonly number[];
  readonly generation: number;
}

export interface JoinRequest {
  readonly group: string;
  readonly memberId: string;
  /** The name that a member keeps over restarts (KIP-345); null where it has none. */
  readonly instanceId: string | null;
  readonly sessionTimeoutMs: number;
  readonly rebalanceTimeoutMs: number;
  readonly subscription: Subscription;
  readonly reason: string;
}

export type JoinAnswer = Awaited<ReturnType<typeof API.JOIN_GROUP.response>>;

export const PROTOCOL_TYPE = 'consumer';
export const PROTOCOL_NAME = 'give-up-then-take';
const SUBSCRIPTION_VERSION = 2;

export function encodeSubscription({ topic, owned, generation }: Subscription): Buffer {
  return new Encoder()
    .writeInt16(SUBSCRIPTION_VERSION)
    .writeArray([topic], (encoder, name) => encoder.writeString(name))
    .writeBytes(null)
    .writeArray(owned.length === 0 ? [] : [owned], (encoder, partitions) => {
      encoder.writeString(topic).writeArray([...partitions], (inner, partition) => inner.writeInt32(partition));
    })
    .writeInt32(generation)
    .value();
}

/** What a member owns of `topic`. A member that says nothing of it (another version) owns nothing. */
export function decodeSubscription(bytes: Buffer, topic: string): { owned: number[]; generation: number } {
  const decoder = new Decoder(bytes);
  const version = decoder.readInt16();
  decoder.readArray((topics) => topics.readString());
  decoder.readBytes();
  if (version < SUBSCRIPTION_VERSION) return { owned: [], generation: -1 };
  const claims = decoder.readArray((claim) => ({
    topic: claim.readString(),
    partitions: claim.readArray((partitions) => partitions.readInt32()),
  }));
  const owned = claims.filter((claim) => claim.topic === topic).flatMap((claim) => claim.partitions);
  return { owned, generation: decoder.readInt32() };
}

function version(apiVersion: number, fallback?: Api<JoinRequest, JoinAnswer>): Api<JoinRequest, JoinAnswer> {
  const { request: _, fallback: __, ...likeTheirs } = atMost(API.JOIN_GROUP, apiVersion);
  return {
    ...likeTheirs,
    ...(fallback === undefined ? {} : { fallback }),
    request: (encoder, join) => {
      encoder
        .writeCompactString(join.group)
        .writeInt32(join.sessionTimeoutMs)
        .writeInt32(join.rebalanceTimeoutMs)
        .writeCompactString(join.memberId)
        .writeCompactString(join.instanceId)
        .writeCompactString(PROTOCOL_TYPE)
        .writeUVarInt(2)
        .writeCompactString(PROTOCOL_NAME)
        .writeCompactBytes(encodeSubscription(join.subscription))
        .writeTagBuffer();
      if (apiVersion >= 8) encoder.writeCompactString(join.reason);
      return encoder.writeTagBuffer();
    },
  };
}

/** Version 9, or 7 on brokers before 3.2. */
export const JOIN_GROUP = version(9, version(7));
